"""Calibration: by hand, and where the truth is known."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from mmkeras.scores import calibration, classes, ranking


def test_the_error_is_that_counted_by_hand():
    """Three bins: 0.1 is too sure, 0.7 twice half right, 1.0 right."""
    confidence = np.array([0.1, 0.7, 0.72, 1.0])
    right = np.array([False, True, False, True])
    by_hand = (abs(0 - 0.1) + abs((1 + 0) - (0.7 + 0.72)) + abs(1 - 1)) / 4
    assert calibration.bins(confidence).tolist() == [1, 10, 10, 14]
    found = calibration.error(confidence, right, np.ones((1, 4)))
    assert found[0] == pytest.approx(by_hand, abs=1e-12)
    twice = calibration.error(confidence, right, np.array([[2.0, 0, 0, 2]]))
    assert twice[0] == pytest.approx(2 * 0.1 / 4, abs=1e-12)
    told = calibration.reliability(confidence, right)
    assert [each["rows"] for each in told] == [1, 2, 1]
    assert told[1] == pytest.approx({"rows": 2, "confidence": 0.71, "right": 0.5})


def test_edges_of_bins():
    edges = np.arange(16) / 15
    assert calibration.bins(edges).tolist() == [0, *range(15)]


def test_the_temperature_that_spoilt_the_logits_is_found(rng):
    logits = 2 * rng.standard_normal((20_000, 4))
    true = np.array([rng.choice(4, p=p) for p in softmax(logits, axis=1)])

    def loss(temperature):
        shares = softmax(3 * logits / temperature, axis=1)  # three times too sure
        return metrics.log_loss(true, shares)

    found = calibration.temperature(loss, len(true))
    assert found["temperature"] == pytest.approx(3, rel=0.03)
    assert found["calibration"].startswith("log loss of 20000 valid rows")


def test_what_cannot_be_calibrated_says_why():
    few = calibration.temperature(lambda at: at, 49)
    assert few == {
        "temperature": 1.0,
        "calibration": "left out: 49 valid rows with a label, fewer than 50",
    }
    endless = calibration.temperature(lambda at: at, 50)
    assert endless["temperature"] == 1.0
    assert "has no least value for temperatures between 0.1 and 10" in str(endless)


def test_abstaining_takes_the_most_rows_that_keep_the_precision():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    for precision, below, answered in ((1, 0.75, 2), (0.75, 0.55, 4), (0.6, 0.25, 5)):
        found = calibration.abstaining(confidence, right, precision)
        assert found == pytest.approx(below)
        assert (confidence >= found).sum() == answered
    assert calibration.abstaining(confidence, ~right, 0.9) == 2.0
    ties = calibration.abstaining(np.full(4, 0.5), np.array([1, 1, 1, 0]), 0.9)
    assert ties == 2.0


def test_brier_and_areas_are_scikit_learns(rng):
    true = rng.integers(0, 2, 80)
    values = np.round(rng.random(80), 1)  # with ties
    shares = np.stack([1 - values, values], axis=1)
    found = classes.measured(true, shares.argmax(1), shares)
    brier = metrics.brier_score_loss(true, values)
    assert found["brier"] == pytest.approx(2 * brier)  # over both classes
    ones = np.ones((1, 80))
    area, average = ranking.Ranked(true == 1, values).both(ones)
    assert area[0] == pytest.approx(metrics.roc_auc_score(true, values))
    assert average[0] == pytest.approx(metrics.average_precision_score(true, values))


@pytest.mark.parametrize(("count", "k"), [(2, None), (3, 2), (5, 2), (6, 5), (151, 5)])
def test_top_k(count, k):
    assert classes.top(count) == k
    shares = np.full((1, count), 1 / count)
    found = classes.measured(np.array([0]), np.array([0]), shares)
    assert (f"top_{k}_accuracy" in found) == (k is not None)
    assert sum("top" in key for key in found) == (k is not None)
