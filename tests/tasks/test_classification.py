"""One label of several: order, targets, scores and the served answer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from mmkeras.manifest import ManifestError
from mmkeras.tasks import TASKS, make

Classification = TASKS["classification"]
LABELS = ["bird", "cat", "dog"]


@pytest.fixture
def judged(rng):
    """(truth, probabilities) of 60 rows, right about every second time."""
    truth = np.eye(3, dtype="float32")[rng.integers(0, 3, 60)]
    logits = rng.standard_normal((60, 3)) + 1.2 * truth
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probabilities.astype("float32")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10", "9", "-1", "9"], ["-1", "9", "10"]),
        (["2.5", "10", "+1"], ["+1", "2.5", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["dog", "Bird", "cat", "dog"], ["Bird", "cat", "dog"]),
        (["狗", "猫"], ["狗", "猫"]),
    ],
)
def test_numbers_stand_as_numbers_and_words_in_the_alphabet(values, expected):
    assert Classification.labels_of(values) == expected
    assert Classification.labels_of(values[::-1]) == expected


@pytest.mark.parametrize("labels", [[], ["only"]])
def test_one_label_is_nothing_to_tell_apart(labels):
    with pytest.raises(ValueError, match="needs two labels or more, the usable rows"):
        Classification(labels)
    with pytest.raises(ManifestError) as caught:
        make({"species": {"kind": "classification"}}, {"species": labels})
    assert str(caught.value).startswith("target `species`: classification needs two")
    assert str(labels) in str(caught.value)


def test_target_and_decode_are_each_others_inverse():
    task = Classification(LABELS)
    values = ["dog", "bird", "cat", "dog"]
    target = task.target(values)
    assert target.dtype == np.float32 and target.shape == (4, 3)
    np.testing.assert_array_equal(target[0], [0, 0, 1])
    assert task.decode(target) == values
    assert task.target([]).shape == (0, 3)
    with pytest.raises(KeyError, match="fish"):
        task.target(["fish"])


def test_scores_are_scikit_learns(judged):
    truth, probabilities = judged
    scores = Classification(LABELS).scores(truth, probabilities)
    true, called = truth.argmax(1), probabilities.argmax(1)
    report = metrics.classification_report(
        true, called, target_names=LABELS, output_dict=True
    )
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(true, called))
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    # The mean of minus the logarithm, written out.
    right = probabilities.astype("float64")[np.arange(60), true]
    assert scores["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-6)
    np.testing.assert_array_equal(
        scores["confusion"], metrics.confusion_matrix(true, called)
    )
    for label in LABELS:
        ours, theirs = scores["per_class"][label], report[label]
        assert ours["precision"] == pytest.approx(theirs["precision"])
        assert ours["recall"] == pytest.approx(theirs["recall"])
        assert ours["f1"] == pytest.approx(theirs["f1-score"])
        assert ours["rows"] == theirs["support"]


def test_a_class_that_never_occurs_does_not_count():
    task = Classification(LABELS)
    truth = task.target(["bird", "cat", "cat"])
    scores = task.scores(truth, truth)
    assert scores["accuracy"] == scores["macro_f1"] == 1.0
    assert scores["per_class"]["dog"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "rows": 0,
    }
    assert scores["confusion"] == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_sure_and_wrong_is_a_large_number_and_not_infinite():
    truth = Classification(["a", "b"]).target(["a", "b"])
    scores = Classification(["a", "b"]).scores(truth, 1 - truth)
    assert scores["accuracy"] == 0.0 and 10 < scores["log_loss"] < 1000


def test_label_smoothing_is_the_loss_of_smoothed_targets(judged):
    truth, probabilities = judged
    plain = Classification(LABELS).loss()(truth, probabilities)
    expected = -(truth * np.log(probabilities)).sum(axis=1).mean()
    np.testing.assert_allclose(plain, expected, rtol=1e-5)
    smoothed = Classification(LABELS, label_smoothing=0.3).loss()(truth, probabilities)
    targets = 0.7 * truth + 0.1
    expected = -(targets * np.log(probabilities)).sum(axis=1).mean()
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5)
    assert abs(float(plain) - float(smoothed)) > 0.01


@pytest.mark.parametrize("labels", [["no", "yes"], LABELS, ["狗", "naïve", "a b"]])
def test_served_strings_are_the_decoded_ones(labels, rng):
    task = Classification(labels)
    probabilities = rng.dirichlet(np.ones(len(labels)), 20).astype("float32")
    served = tf.function(task.serve)(tf.constant(probabilities))
    told = [label.decode("utf-8") for label in served["label"].numpy()]
    assert told == task.decode(probabilities) and len(set(told)) > 1
    np.testing.assert_array_equal(served["probability"], probabilities.max(axis=1))
    np.testing.assert_array_equal(served["probabilities"], probabilities)


def test_the_head_gives_probabilities_in_float32(rng):
    task = Classification(["no", "yes"])
    fused = keras.Input((4,), dtype="bfloat16")
    network = keras.Model(fused, task.head(fused, "it"))
    out = network(rng.standard_normal((5, 4)).astype("float32") * 100)
    assert out.dtype == "float32" and out.shape == (5, 2)
    np.testing.assert_allclose(np.sum(out, axis=1), 1, rtol=1e-6)
    assert network.layers[-1].name == "it"


def test_two_classes_are_learnt(rng):
    task = Classification(["no", "yes"])
    features = rng.standard_normal((64, 3)).astype("float32")
    values = ["yes" if row[0] > 0 else "no" for row in features]
    fused = keras.Input((3,))
    network = keras.Model(fused, {"it": task.head(fused, "it")})
    network.compile(
        keras.optimizers.Adam(0.1),
        loss={"it": task.loss()},
        metrics={"it": task.metrics()},
    )
    seen = network.fit(features, {"it": task.target(values)}, epochs=15, verbose=0)
    assert seen.history["accuracy"][-1] > 0.95
    scores = task.scores(
        task.target(values), network.predict(features, verbose=0)["it"]
    )
    assert scores["accuracy"] > 0.95


def test_a_threshold_tells_what_is_outside(rng):
    """Rows outside look like nothing: their probabilities are spread."""
    labels = ["bird", "cat", "oos"]
    truth = np.eye(3, dtype="float32")[rng.integers(0, 3, 300)]
    logits = 4.0 * truth + rng.standard_normal((300, 3))
    logits[truth[:, 2] == 1] = 0.3 * rng.standard_normal((int(truth[:, 2].sum()), 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = probabilities.astype("float32")
    judged = {"valid": (truth, probabilities)}
    plain = Classification(labels, outside="oos", refused=0.02)
    task = Classification(labels, plain.choose(judged), outside="oos")
    before, after = (one.scores(truth, probabilities) for one in (plain, task))
    kept = after["inside_accuracy"] / before["inside_accuracy"]
    assert 0.97 < kept < 1 and kept == pytest.approx(0.98, abs=0.006)
    assert after["outside_recall"] > before["outside_recall"] + 0.3
    none = Classification(labels, outside="oos", refused=0.0).choose(judged)
    spared = Classification(labels, none, outside="oos").scores(truth, probabilities)
    assert spared["inside_accuracy"] == before["inside_accuracy"]
    assert spared["outside_recall"] >= before["outside_recall"]
    served = tf.function(task.serve)(tf.constant(probabilities))
    assert [t.decode() for t in served["label"].numpy()] == task.decode(probabilities)


def test_the_label_outside_must_be_there():
    with pytest.raises(ValueError, match="no label `oss` .did you mean `oos`"):
        Classification(["cat", "oos"], outside="oss")
