"""What a train row counts: by its class, by a column, and by the focal loss."""

import keras
import numpy as np
import pytest

from mmkeras import config, manifest, train
from mmkeras.config import RecipeError
from mmkeras.tasks.classification import Classification


def of_rows(folder, *overrides, weights=("", "2", "0.5")):
    lines = ["text,label,w,split"]
    lines += [f"a {n},x,{weights[n % 3]},train" for n in range(12)]
    lines += [f"b {n},y,{weights[n % 3]},train" for n in range(4)]
    lines += ["a,x,7,valid", "b,y,7,valid"]
    (folder / "rows.csv").write_text("\n".join(lines))
    tree = {
        "name": "rows",
        "data": {
            "manifest": str(folder / "rows.csv"),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
    }
    recipe = config.parse(tree, overrides)
    return recipe, manifest.read(recipe.data)


def prepared(*given, **options):
    recipe, rows = of_rows(*given, **options)
    return train.prepare(recipe, rows, log=lambda _: None)


def test_without_a_key_every_row_counts_one(tmp_path):
    assert prepared(tmp_path).weights is None


def test_balanced_classes_count_the_same_together(tmp_path):
    found = prepared(tmp_path, "train.class_weight=balanced").weights
    weights = found["train"]["label"]
    np.testing.assert_allclose(weights, [16 / (2 * 12)] * 12 + [16 / (2 * 4)] * 4)
    assert weights[:12].sum() == pytest.approx(weights[12:].sum())
    np.testing.assert_array_equal(found["valid"]["label"], [1, 1])


def test_a_column_says_what_a_train_row_counts(tmp_path):
    found = prepared(tmp_path, "data.weight=w").weights
    np.testing.assert_array_equal(found["train"]["label"][:4], [1, 2, 0.5, 1])
    np.testing.assert_array_equal(found["valid"]["label"], [1, 1])
    both = prepared(tmp_path, "data.weight=w", "train.class_weight=balanced").weights
    np.testing.assert_allclose(both["train"]["label"][12:14], [2, 4])


def test_rare_classes_come_as_often_as_the_commonest(tmp_path):
    plain = prepared(tmp_path)
    assert plain.draws is None
    assert plain.rows_an_epoch == 16
    found = prepared(tmp_path, "train.oversample=balanced")
    assert found.rows_an_epoch == len(found.draws) == 24
    assert sorted(found.draws[found.draws < 12]) == list(range(12))
    assert sorted(found.draws[found.draws >= 12]) == sorted([12, 13, 14, 15] * 3)
    assert len(found.targets["train"]["label"]) == 16
    batches = train.fitting.dataset.shuffled(
        *found.epoch(found.rows["train"]), batch_size=8, seed=0
    )
    epochs = list(batches.take(6).as_numpy_iterator())
    for epoch in (epochs[:3], epochs[3:]):
        taught = np.concatenate([targets["label"] for _, targets in epoch])
        np.testing.assert_array_equal(taught.sum(0), [12, 12])
    words = [inputs["text"][:, 0] for inputs, _ in epochs[:3]]  # `a` and `b`
    _, often = np.unique(np.concatenate(words), return_counts=True)
    np.testing.assert_array_equal(often, [12, 12])
    assert found.epoch_ids == [plain.epoch_ids[row] for row in found.draws]


def test_an_oversampled_epoch_has_more_steps(tmp_path):
    # Three steps in a call: 24 rows are three steps of eight, 16 are two.
    keys = ["train.epochs=1", "train.batch_size=8", "train.steps_per_execution=3"]
    recipe, rows = of_rows(tmp_path, *keys, "train.oversample=balanced")
    made = train.fit(recipe, rows, folder=tmp_path / "run", log=lambda _: None)
    assert made.finished
    recipe, rows = of_rows(tmp_path, *keys)
    with pytest.raises(RecipeError, match="3 does not divide the 2 steps of an epoch"):
        train.fit(recipe, rows, folder=tmp_path / "again", log=lambda _: None)


def test_weights_that_are_none_refuse_their_rows(tmp_path):
    found = prepared(tmp_path, "data.weight=w", weights=("1", "-2", "much"))
    assert len(found.manifest.split("train")) == 6
    told = {row.reason for row in found.manifest.rejected}
    assert "`-2` is no weight: write 0 or more, as 1 or 0.5" in told
    with pytest.raises(manifest.ManifestError, match="no column `q`.*data.weight"):
        prepared(tmp_path, "data.weight=q")


def test_rare_classes_are_not_evened_out_twice(tmp_path):
    with pytest.raises(RecipeError, match="class_weight is balanced already: drop one"):
        of_rows(tmp_path, "train.class_weight=balanced", "train.oversample=balanced")


def test_classes_of_a_number_are_refused():
    data = {
        "manifest": "a.csv",
        "inputs": {"t": "text"},
        "targets": {"y": "regression"},
    }
    with pytest.raises(
        RecipeError, match="balanced, but no target is a classification"
    ):
        config.parse({"name": "n", "data": data, "train": {"class_weight": "balanced"}})


def test_the_focal_loss_is_the_papers(rng):
    truth = np.eye(3, dtype="float32")[rng.integers(0, 3, 50)]
    told = rng.dirichlet([1, 1, 1], 50).astype("float32")
    right = (truth * told).sum(1)
    for gamma in (0.0, 2.0):
        loss = Classification(["a", "b", "c"], focal=gamma).loss()
        loss.reduction = None
        found = keras.ops.convert_to_numpy(loss(truth, told))
        expected = -((1 - right) ** gamma) * np.log(np.clip(right, 1e-7, 1 - 1e-7))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
