"""The mean of two models explained: its parts are the means of theirs."""

from types import SimpleNamespace

import numpy as np
import pytest

from mmkeras import explain, model

INPUTS = {
    "text": {"kind": "text", "length": 6},
    "photo": {"kind": "image", "size": 16},
}
MORE = {
    "sound": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.4},
    "who": {"kind": "tabular", "numbers": ["age"], "categories": ["city"]},
}
FIRST = {
    "text": {"kind": "bag", "units": 8},
    "photo": {"filters": 4, "units": 8},
}
SECOND = {
    "text": {"kind": "bag", "units": 16},
    "photo": {"filters": 8, "num_blocks": 2, "units": 8},
}


def ensemble(runs, folder, members):
    return SimpleNamespace(
        recipe=runs[0].recipe,
        decoders=runs[0].decoders,
        tasks=runs[0].tasks,
        model=model.mean([run.model for run in runs]),
        folder=folder,
        members_json=None,
        read_json=lambda path: dict.fromkeys(members),
    )


@pytest.fixture(scope="module")
def told(untrained, png, tmp_path_factory):
    """(the ensemble, its explanation, those of its two runs)."""
    folder = tmp_path_factory.mktemp("mean")
    runs = [
        untrained(folder, INPUTS, FIRST, fusion="gated"),
        untrained(folder, INPUTS, SECOND, fusion="cross_attention"),
    ]
    both = ensemble(runs, folder, ["calm", "wild"])
    columns = {"text": [b"one seven one"], "photo_bytes": [png(16)]}
    return both, *(explain.raw(run, columns, label="dog") for run in [both, *runs])


def test_shapley_values_are_the_means_of_the_models(told):
    _, mean, *each = told
    total = sum(mean.shapley.values())
    assert total == pytest.approx(mean.value - mean.base, abs=1e-6)
    # Shapley values are linear in the game, and no temperature bends this mean.
    for name, share in mean.shapley.items():
        own = np.mean([one.shapley[name] for one in each])
        assert share == pytest.approx(own, abs=1e-6) and share != 0


def require_means_of_attributions(told, name, listed):
    mean, *each = told
    attributions = [
        [one["attribution"] for one in found.parts[name][listed]]
        for found in (mean, *each)
    ]
    np.testing.assert_allclose(
        attributions[0], np.mean(attributions[1:], axis=0), atol=1e-4
    )
    part = mean.parts[name]
    total, difference = sum(attributions[0]), part["end"] - part["start"]
    assert total == pytest.approx(difference, abs=max(0.01 * abs(difference), 1e-4))


def test_integrated_gradients_are_the_means_of_the_models(told):
    require_means_of_attributions(told[1:], "text", "tokens")


def test_maps_are_the_means_of_the_models_maps(told):
    _, mean, *each = told
    maps = np.mean([one.parts["photo"]["map"] for one in each], axis=0)
    found = mean.parts["photo"]
    np.testing.assert_allclose(found["map"], maps / max(maps.max(), 1e-30), atol=1e-5)
    assert [how["grid"] for how in found["looked_at"]] == [[4, 4], [8, 8]]


@pytest.mark.slow
def test_sounds_and_tables_are_the_means_too(untrained, wav, tmp_path):
    branches = [{"sound": {"num_layers": layers, "units": 8}} for layers in (2, 3)]
    runs = [untrained(tmp_path, MORE, each) for each in branches]
    columns = {"age": [b"9"], "city": [b"b"], "sound_bytes": [wav()]}
    asked = [ensemble(runs, tmp_path, "ab"), *runs]
    mean, *each = (explain.raw(run, columns, label="dog") for run in asked)
    require_means_of_attributions((mean, *each), "who", "columns")
    saliency = np.mean([one.parts["sound"]["saliency"] for one in each], axis=0)
    np.testing.assert_allclose(mean.parts["sound"]["saliency"], saliency, atol=1e-6)


def test_each_models_fusion_is_told_under_its_name(told):
    both, mean, *each = told
    assert [(one["model"], one["kind"]) for one in mean.fusion] == [
        ("calm", "gated"),
        ("wild", "cross_attention"),
    ]
    for found, one in zip(mean.fusion, each, strict=True):
        (alone,) = one.fusion
        assert alone["model"] == ""
        for own, shown in zip(alone["readings"], found["readings"], strict=True):
            assert shown["inputs"] == pytest.approx(own["inputs"], abs=1e-6)
    page, picture = explain.write(both, mean)
    text = page.read_text(encoding="utf-8")
    assert "<h3>calm</h3>" in text and "<h3>wild</h3>" in text
    assert "The mean of 2 maps, each scaled to 1: Grad-CAM on 4 x 4" in text
    assert picture.is_file()


def test_models_that_hear_other_bands_have_no_mean(untrained, wav, tmp_path):
    inputs = {"sound": MORE["sound"]}
    runs = [
        untrained(tmp_path, inputs, {"sound": {"num_mels": bands, "units": 8}})
        for bands in (40, 20)
    ]
    found = explain.raw(ensemble(runs, tmp_path, "ab"), {"sound_bytes": [wav()]})
    assert "hear other bands or frames" in found.parts["sound"]["left_out"]


def test_an_ensemble_of_ensembles_counts_every_model_for_what_it_does(
    untrained, tmp_path
):
    runs = [
        untrained(tmp_path, {"text": INPUTS["text"]}, {"text": {"kind": "bag"}})
        for _ in range(3)
    ]
    pair = ensemble(runs[:2], tmp_path, "ab")
    both = ensemble([pair, runs[2]], tmp_path, ["pair", "c"])
    columns = {"text": [b"one two"]}
    ours = explain.raw(both, columns, label="cat")
    each = [explain.raw(run, columns, label="cat").value for run in runs]
    expected = each[0] / 4 + each[1] / 4 + each[2] / 2
    assert ours.value == pytest.approx(expected, abs=1e-6)
    output = both.model(explain._decoded(both, columns)[0])["label"]
    assert ours.value == pytest.approx(float(output[0, 0]), abs=1e-6)
    assert len(ours.parts["text"]["tokens"]) == 2
