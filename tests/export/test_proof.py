"""The proof: each promise that is broken is told, in words."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mmkeras import export, proof, tasks
from mmkeras.export import proving, strange

TEXT = {"takes": {"text": "string (None,)"}, "gives": ["error", "probabilities"]}
# Two rows, and one that is strange, base64.
TWO = {"columns": {"text": ["YQ==", "Yg=="]}}
STRANGE = {"what": "a long row", "row": {"text": "bG9uZw=="}, "error": ""}


def by_hand(folder, answer):
    """A SavedModel of one text input; `answer` gives the probabilities."""

    def serve(text):
        return {"probabilities": answer(text), "error": tf.zeros_like(text)}

    spec = tf.TensorSpec([None], tf.string, name="text")
    made = tf.function(serve, [spec]).get_concrete_function()
    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": made})
    return {"model": str(folder), "signatures": {"serving_default": TEXT}}


def halves(text):
    return tf.fill([tf.size(text), 2], 0.5)


def prove_here(request):
    """What the proof finds, apart from mmkeras, which is here in a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "mmkeras")
        return proof.prove(request)


def prove_apart(request, tmp_path):
    """The proof as a process of its own, as `export` runs it."""
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-I", proof.__file__, str(asked)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def python(text):
    return tf.py_function(lambda each: halves(each), [text], tf.float32)


def disk(text):
    tf.debugging.Assert(tf.size(tf.io.read_file(text[0])) > 0, [text])
    return halves(text)


def hidden(text):
    """The operation stands in a branch of a function in a function."""
    inner = tf.function(lambda: tf.map_fn(tf.io.read_file, text))
    files = tf.cond(tf.size(text) > 5, inner, lambda: text)
    return tf.strings.to_number(tf.stack([files, files], axis=1))


def log(text):
    with tf.control_dependencies([tf.print(text)]):
        return halves(text)


@pytest.mark.parametrize(
    ("answer", "op", "reason"),
    [
        (python, "EagerPyFunc", "which only a Python process can run"),
        (disk, "ReadFile", "which reads or writes the server's disk"),
        (hidden, "ReadFile", "which reads or writes the server's disk"),
        (log, "PrintV2", "which writes to the server's log, or to any file"),
    ],
    ids=["python", "disk", "hidden", "log"],
)
def test_what_a_server_must_not_run_is_refused(tmp_path, answer, op, reason):
    found = prove_here(by_hand(tmp_path / "model", answer))
    assert found["faults"] == [f"the graph holds {op}, {reason}"]


def test_what_saves_and_restores_weights_is_no_fault(exported, trained):
    """Every SavedModel has it, but no signature reaches it."""
    content = (exported[0] / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    ops = {node.op for each in graph.library.function for node in each.node_def}
    assert ops & set(proof.FORBIDDEN) == {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}
    names = ("serving_default", "serve_tensors", "serve_features")
    request = {"model": str(exported[0]), "signatures": dict.fromkeys(names)}
    assert proof.graph_faults(request) == []


def test_every_forbidden_operation_is_one():
    """A name that TensorFlow does not know would forbid nothing."""
    known = proof.op_def_registry.get
    assert [op for op in proof.FORBIDDEN if not known(op)] == []


def test_an_operation_that_nobody_has_is_refused(tmp_path):
    request = by_hand(tmp_path / "model", halves)
    file = tmp_path / "model" / "saved_model.pb"
    held = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    function = held.meta_graphs[0].graph_def.library.function[0]
    function.node_def.add(name="odd", op="FromSomePackage")
    file.write_bytes(held.SerializeToString())
    assert prove_here(request)["faults"] == [
        "the graph holds FromSomePackage, which neither TensorFlow nor a named package "
        "has"
    ]


def test_other_signatures_than_promised_are_refused(tmp_path):
    request = by_hand(tmp_path / "model", halves)
    wanted = {"takes": {"text": "int32 (None, 8)"}, "gives": ["label"]}
    request["signatures"] = {"serving_default": wanted}
    assert prove_here(request)["faults"] == [
        "serving_default takes {'text': 'string (None,)'}, promised were "
        "{'text': 'int32 (None, 8)'}",
        "serving_default gives ['error', 'probabilities'], promised were ['label']",
    ]


def test_a_signature_that_is_not_there_is_refused(tmp_path):
    request = by_hand(tmp_path / "model", halves)
    request["signatures"] = {"serve_tensors": TEXT}
    assert prove_here(request)["faults"] == [
        "there is no signature serve_tensors, only ['serving_default']"
    ]


def test_the_proof_measures_the_difference(tmp_path):
    request = by_hand(tmp_path / "model", halves) | TWO
    request["expected"] = {"probabilities": [[0.5, 0.5], [0.25, 0.5]]}
    found = prove_apart(request, tmp_path)
    assert (found["rows"], found["max_difference"]) == (2, 0.25)
    assert found["faults"] == []
    assert found["differences"] == {"trained": 0.25, "a row alone": 0, "a session": 0}


def test_a_row_that_hangs_on_its_neighbours_is_measured(tmp_path):
    def share(text):
        return halves(text) / tf.cast(tf.size(text), tf.float32)

    request = by_hand(tmp_path / "model", share) | TWO | {"strange": [STRANGE]}
    request["expected"] = {"probabilities": [[0.25, 0.25]] * 2}
    found = prove_here(request)
    assert found["differences"] == {
        "trained": 0,
        "a row alone": 0.25,
        "a session": 0,
        "beside strange rows": pytest.approx(0.25 - 1 / 6),
    }
    with pytest.raises(export.ProofError, match=r"differ by 0.25 \(a row alone\)"):
        proving._judge(found, 1e-5)


def test_a_strange_row_must_be_told_and_must_not_take_the_memory(tmp_path):
    def greedy(text):
        long = tf.reduce_any(text == "long")
        many = tf.where(long, 200 * 2**20, 1)  # 800 MB of float32
        ones = tf.fill([many], tf.strings.to_number("1"))
        return halves(text) * ones[0]

    request = by_hand(tmp_path / "model", greedy) | {"strange": [STRANGE]}
    found = prove_apart(request, tmp_path)
    assert found["growth_mb"] > 700
    (fault,) = found["faults"]
    assert fault.startswith("strange rows took ") and "more than 500" in fault
    told = proof._strange_faults(
        STRANGE | {"error": "text: too long."},
        {"error": b"", "probabilities": np.array([0.5, np.inf])},
    )
    assert told == [
        "a long row gives probabilities that is not finite",
        "a long row gives the error ``, not `text: too long.`",
    ]


@pytest.mark.parametrize("both", [True, False])
def test_what_is_no_number_passes_no_proof(both):
    served = {"probabilities": np.full((2, 2), np.nan)}
    trained = {"probabilities": [[np.nan if both else 0.5] * 2] * 2}
    assert proof._value_faults(served, trained) == [
        "probabilities is not finite in all rows"
    ]
    assert proof._value_faults(served, {"probabilities": [[0.5], [0.5]]}) == [
        "probabilities has the shape (2, 2), in training (2, 1)"
    ]


def test_another_text_is_refused_but_where_rounding_decides():
    served = {"label": np.array([b"no", b"yes"], object)}
    wanted = {"label": {"texts": ["no", "no"], "sure": [True, False]}}
    assert proof._text_faults(served, wanted) == []
    wanted["label"]["sure"] = [True, True]
    assert proof._text_faults(served, wanted) == [
        "label of row 1 is `yes`, in training `no`"
    ]


def test_ties_are_not_sure():
    one = tasks.TASKS["classification"](["a", "b", "c"])
    outputs = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.4, 0.4 - 5e-6, 0.2]])
    assert proving.sure(one.decode, outputs.astype("float32")).tolist() == [
        True,
        False,
        False,
    ]
    many = tasks.TASKS["multilabel"](["a", "b"])
    outputs = np.array([[0.5, 0.1], [0.6, 0.1], [0.6, 0.499999]], "float32")
    assert proving.sure(many.decode, outputs).tolist() == [False, True, False]


def test_strange_rows_claim_what_they_say(trained):
    """The picture is refused by its header; the sound has as much as it really has."""
    rows = strange.rows(trained)
    assert set(rows["an enormous row"]) == {"text", "image_bytes", "audio_bytes"}
    assert len(strange.huge_png()) < 100 and len(strange.huge_wav()) < 100
    columns = {
        name: [row[name] for row in rows.values()] for name in rows["a malformed row"]
    }
    answers = export.answer(trained, columns)
    nothing, malformed, enormous = (each.decode() for each in answers["error"])
    assert nothing == ""
    assert "image: " in malformed and "audio: " in malformed
    assert "100000 x 100000" in enormous.replace(",", "") or "image: " in enormous
    assert answers["present"].tolist()[2] == [True, False, True]
