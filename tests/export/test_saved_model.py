"""A run as a SavedModel: what it answers, and that nothing half made is left."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import cli, dataset, export
from mmkeras.export import beside

# What TensorFlow Serving does: load the graph into a session, feed strings by name.
SERVING = """
import base64, json, sys
import tensorflow.compat.v1 as tf
folder, asked = sys.argv[1:]
asked = json.load(open(asked))
columns = {k: [base64.b64decode(x) for x in v] for k, v in asked.items()}
with tf.Session(graph=tf.Graph()) as session:
    meta = tf.saved_model.load(session, ["serve"], folder)
    signature = meta.signature_def["serving_default"]
    feed = {signature.inputs[k].name: v for k, v in columns.items()}
    fetch = {k: v.name for k, v in signature.outputs.items()}
    answers = session.run(fetch, feed)
    named = {k: v.tolist() for k, v in answers.items() if v.dtype != object}
    named["label"] = [x.decode() for x in answers["label"]]
    named["mmkeras"] = "mmkeras" in sys.modules or "keras" in sys.modules
print(json.dumps(named))
"""


@pytest.fixture(scope="module")
def serve(exported):
    """A function of raw columns, as the exported model answers them."""
    loaded = tf.saved_model.load(str(exported[0]))
    call = loaded.signatures["serving_default"]

    def ask(columns):
        asked = {name: tf.constant(v, tf.string) for name, v in columns.items()}
        return {key: value.numpy() for key, value in call(**asked).items()}

    return ask


@pytest.fixture(scope="module")
def columns(trained, rows):
    """The raw test rows."""
    return export.raw_columns(trained, rows.split("test"))


@pytest.fixture(scope="module")
def expected(trained, rows):
    """The trained model's probabilities of the test rows."""
    test = rows.split("test")
    loaded, _ = dataset.load(test, trained.decoders)
    return trained.model.predict(dataset.ordered(loaded, len(test), 9), verbose=0)[
        "label"
    ]


def part(columns, start, stop, **changed):
    return {name: v[start:stop] for name, v in columns.items()} | changed


def test_the_version_is_the_next_and_nothing_else_is_left(exported):
    path, found = exported
    assert path.name == "4"
    files = beside.contents("tiny", {"text": [b""]})
    assert {each.name for each in path.parent.iterdir()} == {"3", "4", *files}
    assert found["rows"] == 45 and found["max_difference"] <= export.TOLERANCE
    assert found["faults"] == [] and len(found["answers"]) == 3
    assert set(found["differences"]) == {
        "trained",
        "a row alone",
        "a session",
        "serve_tensors",
        "serve_features",
        "classify",
        "beside strange rows",
    }
    assert export.newest(path.parent) == export.newest(path) == path


def test_the_export_tells_its_labels_and_inputs(exported, trained):
    labels, inputs = export.assets(exported[0])
    assert labels == {"label": [str(digit) for digit in range(10)]} == trained.labels
    assert inputs == {
        "text": ["text"],
        "image": ["image_bytes"],
        "audio": ["audio_bytes"],
    }
    assert list(inputs) == list(trained.recipe.data.inputs)
    with pytest.raises(
        FileNotFoundError, match="not an export of mmkeras: no .*labels"
    ):
        export.assets(exported[0].parent / "3")


def test_raw_bytes_are_answered_as_in_training(serve, columns, expected, trained):
    answers = serve(columns)
    told = {"label", "probability", "probabilities", "abstained"}
    names = told | {"present", "error"}
    assert set(answers) == names
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(answers["probability"], expected.max(1), atol=1e-5)
    told = [label.decode() for label in answers["label"]]
    assert told == [trained.labels["label"][at] for at in expected.argmax(1)]
    given = [[bool(v[at]) for v in columns.values()] for at in range(len(expected))]
    assert answers["present"].tolist() == given
    assert set(answers["error"]) == {b""}


def test_a_session_answers_alike_as_in_tensorflow_serving(
    exported, columns, expected, tmp_path
):
    asked = tmp_path / "asked.json"
    content = {k: [base64.b64encode(x).decode() for x in v] for k, v in columns.items()}
    asked.write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVING, str(exported[0]), str(asked)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    assert answers["label"] == [str(at) for at in expected.argmax(1)]


def test_one_row_alone_is_answered_as_among_others(serve, columns):
    together = serve(columns)
    for at in range(5):
        alone = serve(part(columns, at, at + 1))
        for key in ("label", "present", "error"):
            np.testing.assert_array_equal(alone[key][0], together[key][at])
        np.testing.assert_allclose(
            alone["probabilities"][0], together["probabilities"][at], atol=1e-6
        )


def test_an_empty_string_is_missing_not_an_error(serve, columns):
    nothing = serve({name: [b""] for name in columns})
    assert nothing["present"].tolist() == [[False, False, False]]
    assert nothing["error"].tolist() == [b""]
    assert nothing["probabilities"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("image_bytes", b"no picture", b"image: "),
        ("image_bytes", b"\x89PNG\r\n\x1a\ncut", b"image: "),
        ("audio_bytes", b"RIFF\x00\x00", b"audio: "),
    ],
)
def test_a_bad_file_spoils_its_own_row_only(serve, columns, name, raw, reason):
    """As if that input were missing, with the reason; the neighbours bit for bit."""
    six = part(columns, 0, 6)
    bad, gone = list(six[name]), list(six[name])
    bad[2], gone[2] = raw, b""
    answers, wanted = serve({**six, name: bad}), serve({**six, name: gone})
    for key in ("label", "probability", "probabilities", "present"):
        np.testing.assert_array_equal(answers[key], wanted[key])
    assert answers["error"][2].startswith(reason) and len(answers["error"][2]) > 15
    assert answers["error"].tolist().count(b"") == 5


def test_two_bad_files_are_both_told(serve):
    row = {"text": [b"one"], "image_bytes": [b"x"], "audio_bytes": [b"y"]}
    error = serve(row)["error"][0].decode()
    assert re.fullmatch(r"image: .+\. audio: .+\.", error)


def test_columns_may_come_in_any_order(trained, columns, expected):
    two = part(columns, 0, 2)
    answers = export.answer(trained, dict(reversed(two.items())))
    np.testing.assert_allclose(answers["probabilities"], expected[:2], atol=1e-5)


def test_a_failed_proof_leaves_nothing(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    folder = tmp_path / "served"
    code = cli.main(["export", str(trained.folder), str(folder)])
    assert code == cli.REFUSED
    shown = capsys.readouterr()
    assert re.search(r"export: served and trained answers differ by .*-1\n", shown.err)
    assert shown.out == "" and list(folder.iterdir()) == []


def test_two_targets_answer_by_their_names(two_targets, tmp_path):
    run, rows = two_targets
    path, found = export.saved_model(
        run, tmp_path, rows.split("test"), log=lambda _: None
    )
    assert {"label_classify", "parity_classify"} <= set(found["differences"])
    first = found["answers"][0]
    ends = ("label", "probability", "probabilities", "abstained")
    names = {f"{target}_{end}" for target in run.labels for end in ends}
    assert set(first) == names | {"present", "error"}
    assert first["parity_label"] in ("even", "odd")
    assert len(first["parity_probabilities"]) == 2
    assert first["label_abstained"] is first["parity_abstained"] is False
    labels, inputs = export.assets(path)
    assert list(labels) == ["label", "parity"] and list(inputs) == ["text", "image"]


def test_newest_counts_numbers_not_names(tmp_path):
    for name in ("9", "10", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # not whole
    assert export.newest(tmp_path).name == "10"
    assert export.newest(tmp_path / "nowhere") is None
