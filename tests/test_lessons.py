"""The lessons hold what they promise, at a smaller size and with a fixed seed."""

import numpy as np
import pytest

from mmkeras import config, digits, manifest


def trained(lesson, folder, rows, *overrides):
    """A run of the lesson's own recipe, and its rows."""
    from mmkeras import train

    name = {"redundant": "digits.yaml"}.get(lesson, f"digits_{lesson}.yaml")
    csv = digits.write(folder / "data", lesson=lesson, rows=rows, seed=0)
    recipe = config.load(config.shipped(name), [f"data.manifest={csv}", *overrides])
    found = manifest.read(recipe.data)
    return train.fit(recipe, found, folder=folder / "run"), found


def accuracies(run, rows):
    """Test accuracy of each modality alone, late fusion and the fusion, [0, 1]."""
    from mmkeras import evaluate

    judged = evaluate.judge(run, rows.split("test"))
    alone = {name: one["accuracy"] for name, one in judged["baselines"].items()}
    assert set(alone) == {"text", "image", "audio", "late_fusion"}
    return alone, judged["accuracy"]


def mean_shares(run, rows):
    """Mean Shapley values of the true label's probability over rows, {input: share}."""
    from mmkeras import dataset
    from mmkeras.explain import shapley

    loaded, _ = dataset.load(rows, run.decoders)
    tensors = loaded.take(np.arange(len(rows)))
    true = run.tasks["label"].target(rows.frame["label"]).argmax(axis=1)
    worth = np.zeros((2, 2, 2))
    for subset in np.ndindex(worth.shape):
        seen = {
            f"{name}_present": np.full(len(rows), bool(here))
            for name, here in zip(run.decoders, subset, strict=True)
        }
        told = run.model.predict_on_batch({**tensors, **seen})["label"]
        worth[subset] = told[np.arange(len(rows)), true].mean()
    return dict(zip(run.decoders, shapley.values(worth), strict=True))


@pytest.mark.nightly
def test_redundant_fusion_beats_the_best_modality(tmp_path):
    alone, fused = accuracies(*trained("redundant", tmp_path, 800, "train.epochs=8"))
    del alone["late_fusion"]
    assert fused >= max(alone.values()) + 0.03
    assert max(alone.values()) > 0.5, "each modality alone tells something"


@pytest.mark.nightly
def test_synergy_is_chance_alone_and_learned_together(tmp_path):
    run, rows = trained("synergy", tmp_path, 4000, "train.patience=6")
    alone, fused = accuracies(run, rows)
    for name, accuracy in alone.items():
        assert accuracy == pytest.approx(0.10, abs=0.04), name
    assert fused >= 0.93
    # By construction: picture and sound without the sign leave two labels, one where
    # the sound is 0 or 5, so are worth 0.6; without either nothing is above 0.1. That
    # gives the text 0.4 / 3, picture and sound 0.5 / 6 + 0.9 / 3 each.
    shares = mean_shares(run, rows.split("test"))
    assert shares["text"] == pytest.approx(0.13, abs=0.05), shares
    assert shares["image"] == pytest.approx(0.38, abs=0.05), shares
    assert shares["audio"] == pytest.approx(0.38, abs=0.05), shares
