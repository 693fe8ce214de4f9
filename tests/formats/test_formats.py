"""Other formats answer as the trained model does, or are refused with the reason."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras
from mmkeras import cli, export, formats, layers
from mmkeras.formats import graph, litert, making, writing


def quiet(_):
    pass


@pytest.fixture(scope="module")
def decoded(trained, rows):
    """Sixteen test rows of `trained`, {key: array}."""
    return writing._decoded(trained, rows.split("test"), 16, quiet)[0]


@pytest.fixture(scope="module")
def probabilities(trained, decoded):
    """What is served of them."""
    outputs = trained.model.predict(decoded, verbose=0)
    return trained.tasks["label"].serve(tf.constant(outputs["label"]))["probabilities"]


def test_the_function_holds_its_weights_and_gives_what_is_served(
    trained, decoded, probabilities
):
    concrete = graph.numbers(trained)
    variables = [
        each for each, _ in concrete.graph.captures if each.dtype == tf.resource
    ]
    assert variables == []
    told = concrete(*(tf.constant(decoded[s.name]) for s in graph.specs(trained)))
    assert set(told) == {"abstained", "probabilities"}
    assert told["abstained"].dtype == tf.bool and not told["abstained"].numpy().any()
    np.testing.assert_allclose(told["probabilities"], probabilities, 0, 1e-5)


def test_litert_answers_as_the_trained_model(trained, decoded, probabilities, tmp_path):
    """One row a call, and every row: missing inputs are among them."""
    assert not np.all(decoded["image_present"])
    assert litert.make(trained, tmp_path, {}) == {"litert": "model.tflite"}
    answers = litert.loaded(trained, tmp_path / "model.tflite")(decoded)
    wanted = {"probabilities": probabilities.numpy(), "abstained": np.zeros(16, bool)}
    measured = making.compared(answers, wanted)
    assert measured["rows"] == 16 and measured["agreement"] == 1
    assert measured["max_difference"] < 1e-5
    assert making.refusal("litert", measured) == ""


def test_spectra_without_transforms_are_the_same(rng):
    waves = rng.normal(0, 0.3, (3, 4000)).astype("float32")
    for layer in (
        layers.LogMel(8000),
        layers.LogMel(16_000, hop_ms=7, window_ms=31),
        layers.MFCC(8000),
        layers.PCEN(8000),
    ):
        network = keras.Sequential([keras.Input((4000,)), layer])
        wanted = network(waves).numpy()
        with graph.without_transforms(network):
            got = tf.function(lambda x, network=network: network(x))
            ops = {
                node.type
                for node in got.get_concrete_function(waves).graph.get_operations()
            }
            np.testing.assert_allclose(got(waves), wanted, 1e-4, 2e-3)
        assert "RFFT" not in ops
        np.testing.assert_array_equal(network(waves), wanted)


def test_recurrent_layers_are_written_out_and_back(trained):
    kinds = keras.layers.LSTM
    (layer,) = (each for each in graph.flat(trained.model) if isinstance(each, kinds))
    with graph.without_loops(trained.model):
        assert layer.unroll
        made = graph.numbers(trained, batch=1).graph
        assert not {"While", "StatelessWhile"} & {
            op.type for op in made.get_operations()
        }
    assert not layer.unroll


def test_names_inside_spectra_are_found(trained):
    pattern = graph.spectral(trained.model)
    assert pattern.search("audio_branch_1/log_mel_1/Tensordot")
    assert not pattern.search("audio_branch_1/audio_conv0_1/Relu")
    assert not pattern.search("audio_branch_1/log_mel_head/MatMul")


def test_a_keras_file_is_read_in_safe_mode(trained, monkeypatch):
    asked, plain = {}, keras.saving.load_model
    note = lambda path, **options: asked.update(options) or plain(path)  # noqa: E731
    monkeypatch.setattr(keras.saving, "load_model", note)
    found = mmkeras.load_model(trained.model_file)
    assert asked == {"safe_mode": True}
    assert found.count_params() == trained.model.count_params()
    named = mmkeras.load_model(trained.folder)
    assert named.count_params() == found.count_params()


@pytest.mark.parametrize(
    ("measured", "what", "words"),
    [
        ({"max_difference": 2e-4}, "onnx", "differ from the trained model's by 0.0002"),
        ({"max_difference": float("nan")}, "onnx", "differ from"),
        ({"max_difference": 5e-5}, "onnx", ""),
        ({"max_difference": 0.3, "agreement": 0.97}, "litert int8", ""),
        (
            {"max_difference": 0.3, "agreement": 0.9, "rows": 50},
            "litert int8",
            "the class of the trained model on 90.0% of 50 rows, less than 95%",
        ),
    ],
)
def test_what_is_refused(measured, what, words):
    told = making.refusal(what, measured)
    assert (words in told) and bool(words) == bool(told)


def test_answers_that_cannot_be_compared_are_told():
    wanted = {"probabilities": np.eye(2, dtype="float32")}
    with pytest.raises(ValueError, match=r"it gives \['x'\], expected were \['prob"):
        making.compared({"x": wanted["probabilities"]}, wanted)
    with pytest.raises(ValueError, match="not finite or has the shape"):
        making.compared({"probabilities": np.full((2, 2), np.nan)}, wanted)
    half = making.compared({"probabilities": np.eye(2)[::-1]}, wanted)
    assert half == {"rows": 2, "max_difference": 1.0, "agreement": 0.0}
    wanted["abstained"] = np.array([True, False])
    bold = making.compared({**wanted, "abstained": np.zeros(2, bool)}, wanted)
    assert bold == {"rows": 2, "max_difference": 0.0, "agreement": 0.5}


def test_accuracy_is_that_of_the_report(trained, rows):
    """Of the same rows, from what is served and from the raw outputs."""
    test = rows.split("test")
    tensors, asked = writing._decoded(trained, test, len(test), quiet)
    outputs = trained.model.predict(tensors, verbose=0)
    answers = export.answers(trained.tasks, outputs)
    answers = {"probabilities": answers["probabilities"].numpy()}
    truth = writing._truth(trained, asked)
    wanted = json.loads(trained.metrics_json.read_text())["test"]["accuracy"]
    assert making.accuracy(answers, truth) == pytest.approx(wanted)
    assert making.accuracy(outputs, truth) == pytest.approx(wanted)


def test_rows_without_a_class_count_nowhere():
    told = {"a": np.eye(4)[[0, 1, 2, 3]], "b": np.eye(4)[[0, 0, 0, 0]]}
    truth = {"a": np.array([0, 1, 3, -1]), "b": np.array([-1, 0, 1, 2])}
    assert making.accuracy(told, {"a": truth["a"]}) == pytest.approx(2 / 3)
    assert making.accuracy(told, truth) == pytest.approx(1 / 3)
    nothing = {"b": np.full(4, -1)}
    assert making.accuracy(told, nothing) is making.accuracy(told, {}) is None


def test_unknown_formats_and_missing_packages(trained, tmp_path, monkeypatch, capsys):
    command = ["export", str(trained.folder), str(tmp_path)]
    assert cli.main([*command, "--format", "savedmodel,onyx"]) == cli.USAGE
    told = capsys.readouterr().err
    assert "no format `onyx`" in told and "(did you mean `onnx`?)" in told
    monkeypatch.setattr(writing.making.MAKERS["onnx"], "PACKAGES", ("no_such_package",))
    assert cli.main([*command, "--format", "onnx"]) == cli.MISSING
    assert (
        "needs no_such_package: pip install 'mmkeras[onnx]'" in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "its converter broke down (SIGSEGV)"),
        ("raise ValueError('no such operation')", "ValueError: no such operation"),
        ("raise SystemExit(5)", "its converter ended with 5"),
    ],
)
def test_why_a_converter_failed_is_told(code, words):
    """Those of LiteRT may take their process with them."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert writing._reason(done) == words


@pytest.mark.slow
def test_every_format_is_made_and_told(trained, tmp_path, capsys):
    """By the command line, each in a process of its own."""
    names = [name for name in formats.FORMATS if not lacking(name)]
    for name in set(formats.FORMATS) - set(names):
        print(f"{name}: a package is not installed")
    command = ["export", str(trained.folder), str(tmp_path), "--format"]
    assert cli.main([*command, ",".join(names), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["formats"]
    assert told == json.loads((tmp_path / "formats" / "formats.json").read_text())
    assert told["refused"] == {}
    assert told["inputs"]["image"] == ["float32", 16, 16, 3]
    made = {each["what"]: each for each in told["files"]}
    assert set(made) == {*names, "litert int8"}
    for what, each in made.items():
        path = tmp_path / "formats" / each["file"]
        assert making.size(path) == each["bytes"]
        assert each["agreement"] >= (0.95 if what == "litert int8" else 1)
        assert 0 < each["trained_accuracy"] <= 1
        if each["agreement"] == 1:
            assert each["accuracy"] == each["trained_accuracy"]
        assert what == "litert int8" or each["max_difference"] < 1e-4
    assert in_int8(tmp_path / "formats" / "model.tflite") == []
    eight = in_int8(tmp_path / "formats" / "model_int8.tflite")
    assert any("/audio_conv0" in name for name in eight)
    assert any("/text_lstm" in name for name in eight)
    pattern = graph.spectral(trained.model)
    assert [name for name in eight if pattern.search(name)] == []
    shutil.rmtree(tmp_path / "formats")


def in_int8(path):
    """Names of the tensors of a LiteRT file that are in eight bits."""
    every = tf.lite.Interpreter(model_path=str(path)).get_tensor_details()
    return [each["name"] for each in every if each["dtype"] == np.int8]


def lacking(name):
    try:
        formats.check([name])
    except ImportError:
        return True
    return False
