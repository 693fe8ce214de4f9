"""Files of a server: TensorFlow Serving's own formats, read back as it reads them."""

import json
import sys
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf import wrappers_pb2 as wrappers

from mmkeras import cli, export
from mmkeras.export import beside, writing

COLUMNS = {
    "text": [b"one", b"", b"it \xff"],
    "image_bytes": [b"\x89PNG", b"", b"longer"],
}
# Of tensorflow/serving's session_bundle_config.proto, which tensorflow-serving-api does
# not hold, as little as monitoring_config.proto: (name, number, type).
INT64, BOOL, STRING, MESSAGE = 3, 8, 9, 11
BATCHING = [
    ("max_batch_size", 1, "Int64Value"),
    ("batch_timeout_micros", 2, "Int64Value"),
    ("max_enqueued_batches", 3, "Int64Value"),
    ("num_batch_threads", 4, "Int64Value"),
]


def official():
    """The messages BatchingParameters and MonitoringConfig."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="official", syntax="proto3"
    )
    file.dependency.append(wrappers.DESCRIPTOR.name)
    batching = file.message_type.add(name="BatchingParameters")
    for name, number, kind in BATCHING:
        made = batching.field.add(name=name, number=number, type=MESSAGE, label=1)
        made.type_name = f".google.protobuf.{kind}"
    batching.field.add(name="allowed_batch_sizes", number=6, type=INT64, label=3)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=BOOL, label=1)
    prometheus.field.add(name="path", number=2, type=STRING, label=1)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=MESSAGE,
        label=1,
        type_name=".official.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"official.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    )


@pytest.fixture
def files():
    return beside.contents("pets", COLUMNS)


def test_the_configurations_are_what_a_server_reads(files):
    server = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    batching, monitoring = official()
    read = text_format.Parse(files["models.config"], server.ModelServerConfig())
    (model,) = read.model_config_list.config
    assert (model.name, model.base_path) == ("pets", "/models/pets")
    assert model.model_platform == "tensorflow"
    read = text_format.Parse(files["batching.config"], batching())
    assert tuple(read.allowed_batch_sizes) == beside.BATCH_SIZES
    # A server does not start where these two are not equal.
    assert read.max_batch_size.value == read.allowed_batch_sizes[-1] == 64
    assert read.batch_timeout_micros.value == beside.BATCH_TIMEOUT_US
    read = text_format.Parse(files["monitoring.config"], monitoring())
    assert read.prometheus_config.enable
    assert read.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_compose_mounts_the_folder_and_names_files_that_are_there(files):
    service = yaml.safe_load(files["compose.yaml"])["services"]["serving"]
    assert service["image"] == "tensorflow/serving"
    assert service["volumes"] == [".:/models/pets:ro"]
    assert service["ports"] == ["8500:8500", "8501:8501"]
    named = [each.split("=/models/pets/") for each in service["command"] if "/" in each]
    assert {file for _, file in named} == {f for f in files if f.endswith(".config")}
    assert f"Serving {beside.LEAST_SERVER} or newer" in files["compose.yaml"]
    assert f"TensorFlow {tf.__version__}" in files["compose.yaml"]
    assert "$" not in "".join(files.values())


def test_the_example_is_the_fullest_row_and_of_those_the_smallest(files):
    assert json.loads(files["request.json"]) == {
        "instances": [{"text": "one", "image_bytes": {"b64": "iVBORw=="}}]
    }
    odd = beside.contents("pets", {"text": [b"it \xff"], "image_bytes": [b""]})
    assert json.loads(odd["request.json"])["instances"] == [
        {"text": {"b64": "aXQg/w=="}, "image_bytes": ""}
    ]


def test_the_example_is_answered_by_the_development_server(exported):
    pytest.importorskip("uvicorn")
    from mmkeras.serving import models, server

    folder = exported[0].parent
    versions = models.Versions(folder, name="tiny", log=lambda _: None)
    assert list(versions._served) == [4], "what stands beside is no version"
    with server.Server(versions, port=0, grpc_port=None) as running:
        request = urllib.request.Request(
            f"{running.url}/v1/models/tiny:predict",
            (folder / "request.json").read_bytes(),
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            (told,) = json.loads(response.read())["predictions"]
    assert told["present"] == [True, True, True] and told["error"] == ""
    assert sum(told["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_warm_up_requests_are_answered_by_the_model(exported, trained, rows):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    file = exported[0] / "assets.extra" / "tf_serving_warmup_requests"
    serve = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    raw = export.raw_columns(trained, rows.split("test"))
    sizes = []
    for record in tf.data.TFRecordDataset(str(file)):
        log = logs.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "tiny"
        assert request.model_spec.signature_name == "serving_default"
        columns = {key: tf.make_ndarray(one) for key, one in request.inputs.items()}
        answers = serve(**{key: tf.constant(one) for key, one in columns.items()})
        assert set(answers["error"].numpy()) == {b""}
        sizes.append(len(answers["label"]))
        for name, values in columns.items():
            wanted = [raw[name][at % 45] for at in range(len(values))]
            assert values.tolist() == wanted, "real rows, in turn"
    assert tuple(sizes) == beside.BATCH_SIZES


def test_warm_up_requests_stay_small():
    photos = {"image_bytes": [b"x" * 3 * 2**20] * 9}
    batch = writing._batch(photos, 64)["image_bytes"]
    assert len(batch) == 64 and sum(map(bool, batch)) == 2
    assert sum(map(len, batch)) <= writing.WARM_UP_BYTES


def test_without_the_package_there_is_a_line_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    lines = []
    (tmp_path / "assets.extra").mkdir()
    writing.warm_up(tmp_path, "pets", COLUMNS, lines.append)
    assert list((tmp_path / "assets.extra").iterdir()) == []
    (line,) = lines
    assert "pip install 'mmkeras[serving]'" in line


def test_a_later_export_replaces_what_stands_beside(tmp_path, files):
    work = tmp_path / ".export-x"
    work.mkdir()
    beside.write(tmp_path, work, files)
    beside.write(tmp_path, work, beside.contents("birds", COLUMNS))
    assert "/models/birds" in (tmp_path / "models.config").read_text()
    assert "pets" not in (tmp_path / "compose.yaml").read_text()
    assert list(work.iterdir()) == []
    assert export.newest(tmp_path) is None


def test_the_command_line_names_the_model(trained, monkeypatch, capsys, tmp_path):
    asked = {}

    def saved_model(run, folder, rows, *, name, log):
        asked["name"] = name
        return tmp_path / "1", {"rows": 3, "max_difference": np.float64(1e-8)}

    monkeypatch.setattr(export, "saved_model", saved_model)
    command = ["export", str(trained.folder), str(tmp_path)]
    assert cli.main([*command, "--name", "birds"]) == 0
    assert asked == {"name": "birds"}
    assert f"docker compose -f {tmp_path}/compose.yaml up" in capsys.readouterr().out
    assert cli.main([*command, "--name", "a/b"]) == cli.USAGE
    assert "--name: a model cannot be called `a/b`" in capsys.readouterr().err


def test_two_exports_at_a_time_take_two_numbers(tmp_path):
    """Both saw version 3; neither is lost, and none is half of both."""
    places = []
    for name in ("one", "other"):
        target = tmp_path / name / "4"
        target.mkdir(parents=True)
        (target / "saved_model.pb").write_text(name)
        places.append(writing.placed(target, tmp_path))
    assert places == [tmp_path / "4", tmp_path / "5"]
    held = [(path / "saved_model.pb").read_text() for path in places]
    assert held == ["one", "other"]


def test_a_file_in_the_place_of_the_folder(capsys, tmp_path):
    (tmp_path / "served").write_text("")
    command = ["export", "nowhere", str(tmp_path / "served")]
    assert cli.main(command) == cli.USAGE
    told = "served is a file: DIR is a folder, in which versions stand"
    assert told in capsys.readouterr().err
