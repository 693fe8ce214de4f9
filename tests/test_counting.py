"""What a train row counts: by its class, by a column, and by the focal loss."""

import keras
import numpy as np
import pytest

from mmkeras import config, manifest, train
from mmkeras.config import RecipeError
from mmkeras.tasks.classification import Classification


def prepared(folder, *overrides, weights=("", "2", "0.5")):
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
    rows = manifest.read(recipe.data)
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


def test_weights_that_are_none_refuse_their_rows(tmp_path):
    found = prepared(tmp_path, "data.weight=w", weights=("1", "-2", "much"))
    assert len(found.manifest.split("train")) == 6
    told = {row.reason for row in found.manifest.rejected}
    assert "`-2` is no weight: write 0 or more, as 1 or 0.5" in told
    with pytest.raises(manifest.ManifestError, match="no column `q`.*data.weight"):
        prepared(tmp_path, "data.weight=q")


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
