"""Intervals: their draws, their coverage, against the closed form."""

import numpy as np
import pytest
from scipy import stats

from mmkeras.scores import resampling


def test_a_draw_has_as_many_rows_as_there_are():
    found = np.concatenate(list(resampling.counts(30, 50)))
    assert found.shape == (50, 30) and (found.sum(axis=1) == 30).all()
    assert found.min() == 0 and found.max() > 1


def test_the_same_seed_draws_the_same_whatever_is_held_at_once(monkeypatch):
    whole = np.concatenate(list(resampling.counts(30, 50)))
    monkeypatch.setattr(resampling, "CELLS", 7 * 30)
    parts = list(resampling.counts(30, 50))
    assert len(parts) == 8
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    other = np.concatenate(list(resampling.counts(30, 50, seed=1)))
    assert (other != whole).any()


def test_the_interval_of_a_mean_is_that_of_the_normal_law(rng):
    values = rng.standard_normal(2000)
    found = resampling.intervals(
        lambda counts: {"mean": resampling.mean(counts, values)}, 2000, 4000
    )["mean"]
    error = values.std() / np.sqrt(2000)
    expected = stats.norm.interval(0.95, values.mean(), error)
    np.testing.assert_allclose(found, expected, atol=0.1 * error)


def test_nineteen_of_twenty_intervals_hold_the_truth(rng):
    held = 0
    for _ in range(200):
        right = rng.random(150) < 0.8
        low, high = resampling.intervals(
            lambda counts, right=right: {"it": resampling.mean(counts, right)}, 150, 400
        )["it"]
        held += low <= 0.8 <= high
    assert 180 <= held <= 199


def test_a_mean_among_no_rows_is_nan_and_has_no_interval():
    counts = np.array([[2.0, 0.0], [0.0, 2.0]])
    found = resampling.mean(counts, np.array([3.0, 5.0]), np.array([True, False]))
    assert found[0] == 3 and np.isnan(found[1])
    assert resampling.interval([np.nan]) is None
    assert resampling.interval([np.nan, 1.0]) == [1.0, 1.0]
    assert resampling.divided(np.ones(1), 0.0, 7.0) == pytest.approx(7)
