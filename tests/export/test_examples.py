"""`classify` and `regress`: tf.Example answered as `serving_default` answers."""

import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils, signature_def_utils

from mmkeras import export, proof, tasks
from mmkeras.export import examples


def example(**features):
    return proof._example(features)


def definitions(folder):
    content = (folder / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported[0]))


@pytest.fixture(scope="module")
def asked(trained, rows):
    """Nine raw test rows, {served name: list of bytes}."""
    columns = export.raw_columns(trained, rows.split("test"))
    return {name: values[:9] for name, values in columns.items()}


def test_classes_and_scores_are_those_of_serving_default(loaded, asked, trained):
    columns = {name: tf.constant(values) for name, values in asked.items()}
    wanted = loaded.signatures["serving_default"](**columns)
    whole = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[cell]))
                    for name, cell in zip(asked, row, strict=True)
                }
            )
        ).SerializeToString()
        for row in zip(*asked.values(), strict=True)
    ]
    told = loaded.signatures["classify"](inputs=tf.constant(whole))
    np.testing.assert_array_equal(told["scores"], wanted["probabilities"])
    labels = [label.encode() for label in trained.labels["label"]]
    assert told["classes"].numpy().tolist() == [labels] * 9


def test_a_feature_that_is_not_there_is_missing(loaded, asked):
    """It is what the empty string is, and does not hang on other rows."""
    classify = loaded.signatures["classify"]
    given = [{"text": asked["text"][0]}, {}, {"image_bytes": b"no picture"}]
    rows = tf.constant([example(**row) for row in given])
    scores = classify(inputs=rows)["scores"].numpy()
    nothing = {name: tf.constant([b""]) for name in asked}
    serve = loaded.signatures["serving_default"]
    text = serve(**nothing | {"text": tf.constant(asked["text"][:1])})
    np.testing.assert_allclose(scores[0], text["probabilities"][0], atol=1e-6)
    empty = serve(**nothing)["probabilities"][0]
    np.testing.assert_allclose(scores[1:], [empty, empty], atol=1e-6)


def test_the_methods_are_those_that_tensorflow_serving_asks_for(exported, priced):
    for folder, name, method in (
        (exported[0], "classify", "tensorflow/serving/classify"),
        (priced[1] / "1", "regress", "tensorflow/serving/regress"),
    ):
        found = definitions(folder)
        assert found[name].method_name == method
        assert found["serving_default"].method_name == "tensorflow/serving/predict"
        assert signature_def_utils.is_valid_signature(found[name])
        assert list(found[name].inputs) == ["inputs"]
        # What TensorFlow knows a SavedModel by is that of the file as it stands.
        known = tf.saved_model.experimental.read_fingerprint(str(folder)).singleprint()
        assert known == fingerprinting_utils.singleprint_from_saved_model_proto(
            str(folder)
        )


def test_a_number_is_told_by_regress(priced):
    call = tf.saved_model.load(str(priced[1] / "1")).signatures["regress"]
    rows = tf.constant([example(text=b"2.5"), example(), example(text=b"-7")])
    (told,) = call(inputs=rows).values()
    assert told.numpy().tolist() == [2.5, -1, -7] and told.shape == [3]


def request(priced, **changed):
    """What the proof is asked of `priced`."""
    run, folder = priced
    return {
        "model": str(folder / "1"),
        "signatures": {"regress": {}},
        "examples": {"regress": {**examples.promised(run)["regress"], **changed}},
        "expected": {"value": [2.5, -1.0]},
    }


def test_the_proof_compares_numbers_and_methods(priced):
    call = tf.saved_model.load(str(priced[1] / "1")).signatures
    columns, told = {"text": [b"2.5", b""]}, {}
    asked = request(priced)
    assert proof._compare_examples(call, columns, asked, told) == []
    assert told == {"regress": 0} and proof.graph_faults(asked) == []
    asked["expected"]["value"][1] = -1.5
    proof._compare_examples(call, columns, asked, told)
    assert told["regress"] == pytest.approx(0.5 / 1.5)
    wrong = request(priced, method="tensorflow/serving/classify")
    assert proof.graph_faults(wrong) == [
        "regress is tensorflow/serving/regress, promised was "
        "tensorflow/serving/classify"
    ]


def test_the_proof_reads_the_classes():
    def classify(inputs):
        return {"classes": tf.tile([["a", "b"]], [tf.size(inputs), 1])}

    asked = {"method": "", "numbers": {}, "classes": ["a", "b"]}
    for classes, faults in (
        (["a", "b"], []),
        (["b", "a"], ["classify tells other classes than ['b', 'a']"]),
    ):
        each = {"examples": {"classify": {**asked, "classes": classes}}, "expected": {}}
        found = proof._compare_examples(
            {"classify": classify}, {"text": [b"x", b"y"]}, each, {}
        )
        assert found == faults


def test_which_targets_can_be_asked_so():
    made = {
        "kind": tasks.TASKS["classification"](["x", "y"]),
        "marks": tasks.TASKS["multilabel"](["x", "y"]),
        "price": tasks.TASKS["regression"]({"mean": 0, "scale": 1}),
    }
    assert examples.targets(made) == {
        "kind_classify": ("kind", "classify"),
        "price_regress": ("price", "regress"),
    }
    assert examples.targets({"price": made["price"]}) == {
        "regress": ("price", "regress")
    }
    # No method is written where there is none.
    examples.write_methods(types.SimpleNamespace(tasks={}), "nowhere")
