"""Modality balance: shares by what generalises, heads that stay behind."""

import csv

import numpy as np
import pytest

from mmkeras import config, export, manifest, run, train
from mmkeras.train import blending


def test_what_generalises_counts_and_what_overfits_does_not():
    first = {"text": (2.0, 2.0), "image": (2.0, 2.0), "fused": (2.0, 2.0)}
    now = {"text": (0.2, 1.8), "image": (1.0, 1.2), "fused": (0.5, 1.0)}
    text, image, fused = blending.shares(first, now)
    assert text + image + fused == pytest.approx(1)
    # G / O^2: 0.2 / 1.6^2, 0.8 / 0.2^2, 1 / 0.5^2; the first is below the floor.
    assert image / fused == pytest.approx(20 / 4)
    assert text == pytest.approx(0.05 / 3, rel=0.05) and text < fused < image


def test_a_part_that_won_nothing_keeps_the_least_and_no_gain_is_equal_shares():
    first = {"text": (2.0, 2.0), "fused": (2.0, 2.0)}
    worse = blending.shares(first, {"text": (1.0, 2.5), "fused": (1.0, 1.5)})
    assert worse[0] == pytest.approx(0.025 / 1.025) and worse.sum() == pytest.approx(1)
    equal = blending.shares(first, {"text": (1.0, 2.5), "fused": (1.0, 2.1)})
    np.testing.assert_allclose(equal, [0.5, 0.5])


def test_a_gap_that_shrank_does_not_divide_by_zero():
    first = {"text": (1.0, 2.0), "fused": (1.0, 2.0)}
    found = blending.shares(first, {"text": (1.0, 1.5), "fused": (1.0, 1.9)})
    np.testing.assert_allclose(found, [5 / 6, 1 / 6], rtol=1e-6)


@pytest.fixture(scope="module")
def blended(recipe, tmp_path_factory):
    """A run of text and audio with blending; its rows."""
    overrides = ["train.balance=blending", "train.epochs=4", "train.baselines=false"]
    tree = config.parse(recipe.model_dump(by_alias=True), overrides)
    tree = tree.model_dump(by_alias=True)
    del tree["data"]["inputs"]["image"], tree["branches"]["image"]
    whole = config.parse(tree)
    rows = manifest.read(whole.data).head(90)
    folder = tmp_path_factory.mktemp("run") / "blended"
    return train.fit(whole, rows, folder=folder, log=lambda _: None), rows


def test_losses_and_shares_are_logged_a_modality(blended):
    with open(blended[0].history_csv, newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    assert len(epochs) == 4
    for epoch in epochs:
        shares = [float(epoch[f"{part}_share"]) for part in ("text", "audio", "fused")]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        for part in ("text", "audio", "fused"):
            assert np.isfinite(float(epoch[f"val_{part}_loss"]))
        assert epoch["val_loss"] == epoch["val_fused_loss"]
    assert float(epochs[0]["text_share"]) == pytest.approx(1 / 3, abs=1e-4)
    values = {epoch["text_share"] for epoch in epochs}
    assert len(values) > 1, "the shares move"


def test_the_heads_of_single_modalities_stay_behind(blended, tmp_path):
    made, rows = blended
    opened = run.open_folder(made.folder)
    assert list(opened.model.output) == ["label"]
    _, found = export.saved_model(opened, tmp_path, rows.split("test"))
    assert found["max_difference"] < 1e-5


def test_rows_without_a_modality_do_not_count_in_its_loss(blended):
    """The loss of a batch is the mean over the rows that have the input."""
    import keras

    from mmkeras import features, model

    made, _ = blended
    inputs, outputs = features.on_features(made.model, set())
    task = made.tasks["label"]
    watched = blending.Blended(
        inputs, outputs, {"label": task.loss()}, {"label": 1.0}, ["text"]
    )
    watched.compile("sgd", loss={"label": task.loss()})
    count = 6
    given = {
        key: np.zeros((count, *tensor.shape[1:]), tensor.dtype)
        for key, tensor in inputs.items()
    }
    given["text"][:] = np.arange(count)[:, None] + 1
    given["text_present"][:] = [True, True, False, False, True, False]
    truth = {"label": task.target(["1", "2", "3", "4", "5", "6"])}
    y = {"label": keras.ops.convert_to_tensor(truth["label"])}
    told = watched({k: keras.ops.convert_to_tensor(v) for k, v in given.items()})
    watched.compute_loss(given, y, told, training=True)
    alone = np.array(told[model.head_name("label", "text")])
    rows = -np.log(np.sum(alone * truth["label"], axis=1))
    expected = rows[given["text_present"]].mean()
    assert float(watched.parts["text"].result()) == pytest.approx(expected, rel=1e-4)
