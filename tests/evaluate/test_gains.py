"""What fusion and each modality are worth: against numbers made by hand."""

import numpy as np
import pytest

from mmkeras import dataset, evaluate, tasks
from mmkeras.evaluate import advising, asking, gains, groups, judging
from mmkeras.manifest import ManifestError


@pytest.fixture(scope="module")
def seen(trained, rows):
    part, loaded, _ = judging.readable(trained, rows.split("test"), print)
    return judging.see(trained, part, loaded, print)


@pytest.fixture(scope="module")
def judged(trained):
    return trained.read_json(trained.metrics_json)["test"]


def accuracy(seen, outputs):
    return float(np.mean(outputs.argmax(1) == seen.truths["label"][0].argmax(1)))


def test_a_modality_left_out_is_absent_in_every_row(trained, seen, judged):
    arrays = {key: value.numpy() for key, value in seen.loaded.arrays.items()}
    for name, told in judged["gain"]["left_out"].items():
        blanked = {**arrays, f"{name}_present": np.zeros(len(seen.rows), bool)}
        again = dataset.Rows(blanked, {}, {})
        outputs = evaluate.predict(trained.model, again, len(seen.rows))["label"]
        assert told["score"] == pytest.approx(accuracy(seen, outputs))
        assert told["drop"] == pytest.approx(judged["accuracy"] - told["score"])
        assert told["interval"][0] <= told["drop"] <= told["interval"][1]


def test_shuffled_rows_hold_the_input_of_another_whole(trained, seen):
    """What belongs to an input moves together; the rest of the row stays."""
    asked = asking.Asked(trained.model, trained.decoders)
    tensors = seen.loaded.take(np.arange(len(seen.rows)))
    change = asking.exchanged(asked, "audio")
    moved = change.make(tensors, np.random.default_rng(3), np.arange(len(seen.rows)))
    assert set(moved) == {"audio", "audio_samples", "audio_present"}
    order = np.random.default_rng(3).permutation(len(seen.rows))
    for key, tensor in moved.items():
        np.testing.assert_array_equal(tensor, tensors[key].numpy()[order])


def test_rows_come_back_in_their_order(trained, seen):
    same = {"as they are": asking.Change(lambda tensors, random, numbers: {})}
    asked = asking.Asked(trained.model, trained.decoders)
    found = asking.changed(asked, seen.loaded, len(seen.rows), same)
    np.testing.assert_allclose(
        found["as they are"]["label"], seen.outputs["fusion"]["label"], atol=1e-5
    )


def test_paired_draws_are_of_the_same_rows():
    """Two models wrong on the same rows differ by nothing, whatever is drawn."""
    task = tasks.TASKS["classification"](["a", "b"])
    truth = np.eye(2, dtype="float32")[np.arange(40) % 2]
    one = truth * 0.8 + 0.1
    one[:10] = 1 - one[:10]
    other = np.where(one > 0.5, 0.6, 0.4).astype("float32")
    better = one.copy()
    better[:10] = truth[:10]
    asked = {"one": (task, one), "other": (task, other), "better": (task, better)}
    found = gains.paired(asked, truth, 200)
    same = {"score": 0.75, "difference": 0.0, "interval": [0.0, 0.0]}
    assert found["other"] == same
    assert found["better"]["difference"] == -0.25
    low, high = found["better"]["interval"]
    assert -0.45 < low < -0.3 and -0.2 < high < -0.05


def gain(difference, interval, **more):
    over = {"difference": difference, "interval": interval}
    return {"score": "accuracy", "best_single": "image", "over_single": over, **more}


def told(difference, interval, fused=0.9, rows=100, **more):
    single = {"accuracy": fused - difference}
    judged = {"rows": rows, "accuracy": fused, "baselines": {"image": single}}
    return evaluate.verdict({**judged, "gain": gain(difference, interval, **more)})


def test_the_verdict_has_the_interval():
    assert told(0.1, [0.04, 0.15]) == (
        "Fusion helped: 90.0 % against 80.0 % of image alone, +10.0 points "
        "(95 % interval +4.0 to +15.0)."
    )
    assert told(-0.1, [-0.15, -0.04]).startswith("Fusion did not help: 90.0 % against")


def test_an_interval_with_zero_shows_nothing_and_says_how_many_rows_would():
    """The width of an interval falls with the root of the rows: (5 / 1) ^ 2."""
    assert told(0.01, [-0.04, 0.06]) == (
        "Fusion is not shown to help: 90.0 % against 89.0 % of image alone, +1.0 "
        "points (95 % interval -4.0 to +6.0, which includes 0). A difference of this "
        "size would show on about 2,500 rows, these are 100: judge on more."
    )


def test_advice_follows_from_the_numbers():
    nothing = gain(-0.01, [-0.05, 0.04])
    assert advising.advice(nothing, 100) == [
        "Try another fusion.kind, or more training rows."
    ]
    late = {"over_late_fusion": {"difference": -0.05, "interval": [-0.08, -0.02]}}
    assert "try fusion.kind late" in advising.advice(nothing | late, 100)[0]
    drops = {"image": {"drop": 0.3}, "text": {"drop": 0.0}, "audio": {"drop": -0.1}}
    unused = advising.advice(nothing | {"left_out": drops}, 100)
    assert unused == [
        "Without text and audio the score is hardly lower: the fusion leans on the "
        "others. Try train.balance: blending, or augment.modality_dropout."
    ]
    weak = advising.advice(nothing, 100, ["text", "image"])
    assert weak[0].startswith("Rows that have only text are told worse")


def test_a_gain_that_is_required(judged):
    enough = {"gain": gain(0.1, [0.04, 0.15])}
    assert evaluate.shortfalls(enough, 0) == evaluate.shortfalls(enough, 3.9) == []
    (sentence,) = evaluate.shortfalls(enough, 4)
    assert sentence == (
        "the 95 % interval of the gain of fusion over image alone begins at +4.0 "
        "points of accuracy, not above 4"
    )
    (none,) = evaluate.shortfalls({"label.gain": {"score": "accuracy"}}, 0)
    assert none == "label: there is no gain over a single modality to look at"


def test_subsets_are_the_rows_with_the_same_inputs(trained, seen, judged):
    frame = seen.rows.frame
    found = judged["subsets"]
    assert sum(part["rows"] for part in found.values()) == judged["rows"]
    for name, part in found.items():
        here = np.ones(len(frame), bool)
        for each in trained.decoders:
            here &= (frame[each] != "").to_numpy() == (each in name.split(" + "))
        assert part["rows"] == here.sum() > 0
        right = seen.outputs["fusion"]["label"].argmax(1) == seen.truths["label"][
            0
        ].argmax(1)
        assert part["accuracy"] == pytest.approx(right[here].mean())
        assert bool(part["intervals"]) == (part["rows"] >= groups.FEW)
        if part["intervals"]:
            numbers = {key for key, value in part.items() if isinstance(value, float)}
            assert set(part["intervals"]) == numbers >= {"accuracy", "macro_f1"}


def test_slices_of_words_and_of_numbers(seen):
    frame = seen.rows.frame.assign(
        price=[str(number) for number in range(len(seen.rows) - 1)] + [""]
    )
    object.__setattr__(changed := seen.rows.split("test"), "frame", frame)
    wider = judging.Seen(changed, *list(vars(seen).values())[1:])
    found = groups.slices(wider, ["digit_text", "price"])
    assert sum(part["rows"] for part in found["digit_text"].values()) == len(frame)
    assert set(found["digit_text"]) <= set(map(str, range(10)))
    quarters = found["price"]
    assert [quarters["(empty)"]["rows"], len(quarters)] == [1, 5]
    assert {part["rows"] for part in quarters.values()} == {1, 11}
    with pytest.raises(ManifestError, match="--slice prise: .* no such column. Col"):
        groups.check(wider.rows, ["prise"])


def test_many_words_are_the_frequent_ones_and_the_rest(seen):
    words = [f"w{number % 25}" for number in range(len(seen.rows))]
    frame = seen.rows.frame.assign(word=words)
    object.__setattr__(changed := seen.rows.split("test"), "frame", frame)
    wider = judging.Seen(changed, *list(vars(seen).values())[1:])
    found = groups.slices(wider, ["word"])["word"]
    assert len(found) == 21 and sum(p["rows"] for p in found.values()) == len(frame)
    assert found["(5 others)"]["rows"] >= 5
