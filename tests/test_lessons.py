"""The lessons hold what they promise, at a smaller size and with a fixed seed."""

import pytest

from mmkeras import config, digits, manifest


def accuracies(lesson, folder, rows, *overrides):
    """Test accuracy of each modality alone, late fusion and the fusion, [0, 1]."""
    from mmkeras import evaluate, train

    name = {"redundant": "digits.yaml"}.get(lesson, f"digits_{lesson}.yaml")
    csv = digits.write(folder / "data", lesson=lesson, rows=rows, seed=0)
    recipe = config.load(config.shipped(name), [f"data.manifest={csv}", *overrides])
    found = manifest.read(recipe.data)
    run = train.fit(recipe, found, folder=folder / "run")
    judged = evaluate.judge(run, found.split("test"))
    alone = {name: one["accuracy"] for name, one in judged["baselines"].items()}
    assert set(alone) == {"text", "image", "audio", "late_fusion"}
    return alone, judged["accuracy"]


@pytest.mark.slow
def test_redundant_fusion_beats_the_best_modality(tmp_path):
    alone, fused = accuracies("redundant", tmp_path, 800, "train.epochs=8")
    del alone["late_fusion"]
    assert fused >= max(alone.values()) + 0.03
    assert max(alone.values()) > 0.5, "each modality alone tells something"


@pytest.mark.slow
def test_synergy_is_chance_alone_and_learned_together(tmp_path):
    alone, fused = accuracies("synergy", tmp_path, 4000, "train.patience=6")
    for name, accuracy in alone.items():
        assert accuracy == pytest.approx(0.10, abs=0.04), name
    assert fused >= 0.93
