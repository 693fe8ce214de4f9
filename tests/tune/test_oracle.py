import json
import math

import pytest

from mmkeras import config, space
from mmkeras.tune import oracle

DIGITS = config.shipped("digits.yaml")
RANGES = ["train.learning_rate={log: [1e-5, 1e-1]}", "fusion.units={between: [8, 128]}"]


def plan(given, **options):
    return space.Plan(DIGITS, (), space.read(DIGITS, [], given), **options)


def asked(wanted, epochs=9, score=lambda values: 0.5):
    """[(values, epochs)] of a search in which every trial gives a score."""
    found = []

    def attempt(values, epochs):
        found.append((values, epochs))
        return score(values)

    oracle.ask(wanted, epochs, attempt)
    return found


def near(values):
    """Best at a rate of 1e-3 and 64 units: 0; less the farther away."""
    rate = math.log10(json.loads(values["train.learning_rate"])) + 3
    return -(rate**2) - (json.loads(values["fusion.units"]) / 64 - 1) ** 2


def test_a_grid_asks_for_everything_once():
    found = asked(plan(["fusion.kind=[concat, late]", "fusion.units=[8, 16, 32]"]))
    pairs = [tuple(values.values()) for values, _ in found]
    kinds, units = ('"concat"', '"late"'), ("8", "16", "32")
    assert sorted(pairs) == sorted((kind, unit) for kind in kinds for unit in units)


@pytest.mark.parametrize("method", ["random", "bayesian"])
def test_values_stay_in_their_ranges_and_the_same_seed_asks_the_same(method):
    wanted = plan(RANGES, method=method, trials=6)
    found = asked(wanted, score=near)
    assert len(found) == 6 and found == asked(wanted, score=near)
    for values, epochs in found:
        config.load(DIGITS, [f"{key}={text}" for key, text in values.items()])
        assert 1e-5 <= json.loads(values["train.learning_rate"]) <= 1e-1
        units = json.loads(values["fusion.units"])
        assert isinstance(units, int) and 8 <= units <= 128
        assert epochs is None


def test_bayesian_search_comes_nearer_than_random():
    best = {
        method: max(
            near(values)
            for values, _ in asked(plan(RANGES, method=method, trials=14), score=near)
        )
        for method in ("random", "bayesian")
    }
    assert best["bayesian"] >= best["random"]
    assert best["bayesian"] > -0.05


def test_hyperband_gives_more_epochs_to_what_did_well():
    found = asked(plan(RANGES, method="hyperband"), epochs=9, score=near)
    rounds = {epochs: [v for v, own in found if own == epochs] for _, epochs in found}
    assert sorted(rounds) == [1, 3, 9]
    first = sorted(map(near, rounds[1]))
    again = [near(values) for values in rounds[3] if values in rounds[1]]
    assert again and min(again) >= first[len(first) // 2]


def test_a_failed_trial_does_not_end_the_search():
    found = asked(
        plan(["fusion.units=[8, 16, 32, 64, 128]"]),
        score=lambda values: None if values["fusion.units"] != "128" else 0.9,
    )
    assert len(found) == 5


def test_an_error_of_ours_comes_through():
    def attempt(values, epochs):
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        oracle.ask(plan(["fusion.units=[8, 16]"]), 1, attempt)
