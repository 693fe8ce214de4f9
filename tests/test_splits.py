"""Splits that are drawn; `test_manifest.py` tests them on whole manifests."""

import pandas as pd
import pytest

from mmkeras import splits


@pytest.fixture
def frame():
    """A hundred rows of two labels, one three times as often."""
    return pd.DataFrame({"label": ["a", "a", "a", "b"] * 25})


def taught(frame):
    return [(label,) for label in frame["label"]]


def test_every_row_gets_a_split_and_each_label_its_shares(frame):
    found = splits.stratified(taught(frame), (0.8, 0.1, 0.1), seed=0)
    assert [(found == name).sum() for name in splits.SPLITS] == [80, 10, 10]
    assert (found[frame["label"] == "b"] == "train").sum() == pytest.approx(20, abs=1)


def test_the_seed_decides(frame):
    draw = lambda seed: splits.stratified(taught(frame), (0.5, 0.5, 0), seed)  # noqa: E731
    assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()


def test_fill_makes_what_is_not_there_and_tells_what_nobody_asked_for(frame):
    made = frame.copy()
    assert splits.fill(made, "fold", taught(made), (0.8, 0.1, 0.1), 0) == []
    assert set(made["fold"]) == set(splits.SPLITS)
    given = frame.assign(fold=["train"] * 80 + ["test"] * 20)
    (told,) = splits.fill(given, "fold", taught(given), (0.8, 0.1, 0.1), 0)
    assert told == "no row is `valid`: 8 of 80 train rows are taken for it"
    assert given["fold"].value_counts().to_dict() == {
        "train": 72,
        "test": 20,
        "valid": 8,
    }
    kept = frame.assign(fold="train")
    assert splits.fill(kept, "fold", taught(kept), (0, 0, 1), 0) == []
    assert set(kept["fold"]) == {"train"}


def test_rows_that_teach_several_labels_leave_none_of_them_out():
    rows = [("a", "b"), ("b",), ("c", "a"), (), ("b", "c")] * 8
    found = splits.stratified(rows, (0.5, 0.25, 0.25), seed=0)
    train = {
        label
        for row, split in zip(rows, found, strict=True)
        for label in row
        if split == "train"
    }
    assert train == {"a", "b", "c"}
    assert [(found == name).sum() for name in splits.SPLITS] == [20, 10, 10]
