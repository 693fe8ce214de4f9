"""Splits that are drawn; `test_manifest.py` tests them on whole manifests."""

import pandas as pd
import pytest

from mmkeras import splits
from mmkeras.recipe import Data


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


# --------------------------------------------------------------------------- groups


def grouped_rows(groups, size, rng):
    """(labels, groups) of groups of about `size` rows, two labels, one in four."""
    names, labels = [], []
    for number in range(groups):
        rows = int(rng.integers(1, 2 * size))
        names += [f"g{number}"] * rows
        labels += [("b",) if each < 0.25 else ("a",) for each in rng.random(rows)]
    return labels, names


@pytest.mark.parametrize("count", [30, 200, 6000])
def test_no_group_is_torn_and_the_shares_are_kept(count, rng):
    labels, names = grouped_rows(count, 6, rng)
    found = splits.grouped(labels, names, (0.7, 0.1, 0.2), seed=0)
    table = pd.DataFrame({"group": names, "split": found, "label": labels})
    assert (table.groupby("group")["split"].nunique() == 1).all()
    shares = table["split"].value_counts(normalize=True)
    off = 0.06 if count < 100 else 0.02
    assert shares["train"] == pytest.approx(0.7, abs=off)
    assert shares["test"] == pytest.approx(0.2, abs=off)
    told = table.groupby("split")["label"].agg(lambda part: (part == ("b",)).mean())
    assert told.to_numpy() == pytest.approx((table["label"] == ("b",)).mean(), abs=off)


def test_groups_follow_the_seed_and_not_the_rows_order(rng):
    labels, names = grouped_rows(40, 5, rng)
    draw = lambda seed: splits.grouped(labels, names, (0.8, 0.1, 0.1), seed)  # noqa: E731
    assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()


def test_few_groups_make_three_splits_or_are_refused():
    labels, names = [("a",)] * 9, list("aaabbbccc")
    assert set(splits.grouped(labels, names, (0.8, 0.1, 0.1), 0)) == set(splits.SPLITS)
    with pytest.raises(
        ValueError, match="2 groups cannot be dealt to 3 splits. Name a"
    ):
        splits.grouped(labels, list("aaabbbbbb"), (0.8, 0.1, 0.1), 0)
    two = splits.grouped(labels, list("aaabbbbbb"), (0.5, 0.5, 0), 0)
    assert set(two) == {"train", "valid"}


def test_valid_is_taken_from_train_by_whole_groups(rng):
    labels, names = grouped_rows(50, 4, rng)
    made = pd.DataFrame({"label": labels, "who": names, "fold": "train"})
    groups = splits.groups_of(made, "who")
    (told,) = splits.fill(made, "fold", labels, (0.8, 0.1, 0.1), 0, groups)
    assert "train rows are taken for it" in told
    assert (made.groupby("who")["fold"].nunique() == 1).all()
    assert (made["fold"] == "valid").mean() == pytest.approx(0.1, abs=0.05)
    one = made.assign(who="same", fold="train")
    told = splits.fill(one, "fold", labels, (0.8, 0.1, 0.1), 0, ["same"] * len(one))
    assert told == ["no row is `valid`, and all train rows are of one group"]


def test_torn_groups_are_named_with_lines():
    frame = pd.DataFrame(
        {
            "who": ["a", "b", "a", "", ""],
            "split": ["train", "train", "test"] * 1 + ["train", "test"],
        },
        index=[2, 3, 4, 5, 6],
    )
    (told,) = splits.torn(frame, "split", "who")
    assert told.startswith(
        "who `a` stands in several splits: train (line 2), test (line 4)"
    )
    assert splits.torn(frame, "split", None) == []


def test_a_group_of_the_manifest_keeps_together(tmp_path):
    from mmkeras import config, manifest

    lines = [f"w{n},{'xy'[n % 2]},s{n % 20}" for n in range(200)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,speaker", *lines]))
    tree = {
        "manifest": str(tmp_path / "rows.csv"),
        "inputs": {"text": "text"},
        "targets": {"label": "classification"},
    }

    def read(**keys):
        return manifest.read(config.parse({"name": "r", "data": tree | keys}).data)

    rows = read(group="speaker")
    by_group = rows.frame.groupby("speaker")["split"].nunique()
    assert (by_group == 1).all() and rows.warnings == ()
    assert rows.frame["split"].value_counts().to_dict() == {
        "train": 160,
        "valid": 20,
        "test": 20,
    }
    apart = read().frame.groupby("speaker")["split"].nunique()
    assert (apart > 1).any(), "without the key, groups are torn"
    with pytest.raises(manifest.ManifestError, match="no column `who`.*data.group"):
        read(group="who")
    with pytest.raises(config.RecipeError, match="a target: each of its labels"):
        read(group="label")


# ---------------------------------------------------------------------------- folds


def folded(table, fold, folds=4, **options):
    """The splits of one fold, by scikit-learn's splitters; what was told."""
    made = table.copy()
    data = Data(manifest="x", inputs={}, targets={}, folds=folds, fold=fold, **options)
    groups = splits.groups_of(made, data.group)
    told = splits.hold_out(made, "split", made["label"].tolist(), data, 0, groups)
    return made["split"], told


def test_each_row_is_tested_in_one_fold_and_each_label_has_its_share(frame):
    table = frame.assign(label=[(each,) for each in frame["label"]])
    held = [folded(table, fold)[0] for fold in (1, 2, 3, 4)]
    tested = pd.DataFrame([one == "test" for one in held])
    assert (tested.sum() == 1).all() and tested.sum(axis=1).tolist() == [25] * 4
    for one in held:
        counts = table["label"][one == "test"].value_counts()
        assert counts[("b",)] in (6, 7)
        # Of the 75 others a ninth: the valid share beside that of train.
        assert one.value_counts().to_dict()["valid"] == pytest.approx(75 / 9, abs=1)


def test_folds_are_those_of_scikit_learn(frame):
    from sklearn.model_selection import StratifiedKFold

    table = frame.assign(label=[(each,) for each in frame["label"]])
    dealer = StratifiedKFold(4, shuffle=True, random_state=0)
    for fold, (_, test) in enumerate(dealer.split(frame, frame["label"]), start=1):
        found = folded(table, fold)[0]
        assert found.index[found == "test"].tolist() == test.tolist()


def test_folds_keep_groups_whole_and_leave_test_rows_out(rng):
    labels, names = grouped_rows(40, 5, rng)
    table = pd.DataFrame({"label": labels, "who": names})
    table["split"] = ["test" if name in ("g0", "g1") else "train" for name in names]
    seen = []
    for fold in (1, 2, 3, 4):
        found, (told,) = folded(table, fold, group="who")
        kept = found == splits.KEPT
        assert told == f"{kept.sum()} rows are `test` in the file: they are in no fold"
        assert set(table["who"][kept]) == {"g0", "g1"}
        assert (found.groupby(table["who"]).nunique() == 1).all()
        seen += table["who"][found == "test"].unique().tolist()
    assert sorted(seen) == sorted(set(names) - {"g0", "g1"})
    with pytest.raises(
        ValueError, match="38 groups of `who` cannot be dealt to 39 folds.*38 or less"
    ):
        folded(table, 1, folds=39, group="who")
