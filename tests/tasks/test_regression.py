"""A number: its unit, its loss, its scores."""

import keras
import numpy as np
import pytest
from sklearn import metrics

from mmkeras.tasks import TASKS

Regression = TASKS["regression"]


@pytest.fixture
def judged(rng):
    """(truth, outputs) of 50 rows in thousands."""
    truth = rng.normal(5000, 1000, (50, 1)).astype("float32")
    return truth, truth + rng.normal(0, 300, (50, 1)).astype("float32")


def test_scale_and_mean_are_learnt_and_the_output_has_the_unit(rng):
    labels = Regression.labels_of(["100", "200", "300"])
    assert labels == {"mean": 200.0, "scale": pytest.approx(81.6497, rel=1e-5)}
    fused = keras.Input((4,))
    model = keras.Model(fused, Regression(labels).head(fused, "price"))
    deviations = keras.Model(fused, model.get_layer("price_deviations").output)
    inputs = rng.standard_normal((5, 4)).astype("float32")
    expected = 200 + 81.6497 * deviations.predict(inputs, verbose=0)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, rtol=1e-5)


def test_a_column_of_one_number_has_a_scale_all_the_same():
    assert Regression.labels_of(["7", "7"]) == {"mean": 7.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("error", "expected"), [("squared", 4.0), ("absolute", 2.0), ("huber", 1.5)]
)
def test_errors_are_counted_in_standard_deviations(error, expected):
    task = Regression({"mean": 0, "scale": 10}, error=error)
    loss = task.loss().call(np.array([[50.0]]), np.array([[70.0]]))
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


def test_scores_are_scikit_learns(judged):
    truth, outputs = judged
    scores = Regression({"mean": 5000, "scale": 1000}).scores(truth, outputs)
    assert scores["r2"] == pytest.approx(metrics.r2_score(truth, outputs))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(truth, outputs))
    mean_square = metrics.mean_squared_error(truth, outputs)
    assert scores["rmse"] == pytest.approx(mean_square**0.5)
    off = np.abs(truth - outputs)
    assert scores["error_quantiles"]["0.9"] == pytest.approx(np.quantile(off, 0.9))
    np.testing.assert_allclose(scores["points"], np.hstack([truth, outputs]))
