"""Several labels of a row: thresholds, the served text, the scores."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from mmkeras.manifest import ManifestError
from mmkeras.tasks import TASKS, learn, make

Multilabel = TASKS["multilabel"]
LABELS = ["even", "prime", "round"]


@pytest.fixture
def judged(rng):
    """(truth, probabilities) of 200 rows; what is there is likelier, but below 0.5."""
    truth = (rng.random((200, 3)) < 0.3).astype("float32")
    return truth, (0.2 * truth + 0.2 * rng.random((200, 3))).astype("float32")


def test_cells_are_sets_in_any_order_and_may_be_empty():
    task = Multilabel(LABELS)
    expected = [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    cells = ["even|round", " round | even ", "", "prime|"]
    np.testing.assert_array_equal(task.target(cells), expected)
    assert task.decode(np.array(expected)) == ["even|round", "even|round", "", "prime"]


def test_labels_are_learnt_one_by_one():
    choice = {"kind": "multilabel", "separator": ";"}
    assert learn({"tags": choice}, {"tags": ["b;a", "", "c"]}) == {
        "tags": ["a", "b", "c"]
    }
    with pytest.raises(
        ManifestError, match="target `tags`: every cell of the train rows is empty"
    ):
        learn({"tags": choice}, {"tags": ["", ""]})


def test_thresholds_are_those_of_the_best_f1_on_the_rows(judged):
    truth, outputs = judged
    task = Multilabel(LABELS)
    assert task.scores(truth, outputs)["macro_f1"] == 0.0  # nothing reaches 0.5
    decision = task.choose({"valid": judged})
    tuned = Multilabel(LABELS, decision)
    found = tuned.scores(truth, outputs)
    for place, label in enumerate(LABELS):
        tried = [
            metrics.f1_score(truth[:, place], outputs[:, place] >= step)
            for step in np.linspace(0, 1, 500)
        ]
        assert found["per_class"][label]["f1"] >= max(tried) - 1e-9
    assert found["macro_f1"] > 0.8


def test_a_label_that_no_row_has_keeps_a_half():
    truth = np.array([[1, 0], [0, 0]], "float32")
    chosen = Multilabel(["a", "b"]).choose({"valid": (truth, truth * 0.9)})
    assert chosen["thresholds"]["b"] == 0.5
    made = make(
        {"t": {"kind": "multilabel", "separator": "|"}},
        {"t": ["a", "b"]},
        {"t": chosen},
    )
    np.testing.assert_allclose(made["t"].thresholds, [0.45, 0.5], atol=0.01)


@pytest.mark.parametrize("separator", ["|", " und ", "、"])
def test_the_served_text_names_the_labels_as_a_cell_does(separator, rng):
    task = Multilabel(["狗", "naïve", "a b"], separator=separator)
    outputs = rng.random((40, 3)).astype("float32")
    served = tf.function(task.serve)(tf.constant(outputs))["labels"].numpy()
    told = [text.decode("utf-8") for text in served]
    assert told == task.decode(outputs) and "" in told
    np.testing.assert_array_equal(task.target(told), outputs >= 0.5)


def test_scores_are_scikit_learns(judged):
    truth, outputs = judged
    task = Multilabel(LABELS, {"thresholds": dict.fromkeys(LABELS, 0.25)})
    scores, called = task.scores(truth, outputs), outputs >= 0.25
    for average in ("macro", "micro"):
        expected = metrics.f1_score(truth, called, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    assert scores["exact"] == pytest.approx(metrics.accuracy_score(truth, called))
    precision = metrics.average_precision_score(truth, outputs)
    assert scores["average_precision"] == pytest.approx(precision)
