"""Where the truth is known: what holds nothing adds nothing, and a digit is seen."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mmkeras import config, digits, explain, export, manifest, train
from mmkeras.explain import parts, shapley
from mmkeras.explain.probing import Probe
from mmkeras.explain.question import Question

ROWS = 40


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The CSV of a small `unique` lesson: each modality holds a third of the label."""
    return digits.write(
        tmp_path_factory.mktemp("unique") / "data", lesson="unique", rows=1200
    )


def trained_on(csv, folder):
    """A run on a CSV, with modality dropout of 0.2, and its rows."""
    settings = [f"data.manifest={csv}", "train.baselines=false", "train.epochs=8"]
    recipe = config.load(config.shipped("digits_unique.yaml"), settings)
    assert recipe.augment.modality_dropout == 0.2
    rows = manifest.read(recipe.data)
    return train.fit(recipe, rows, folder=folder, log=lambda _: None), rows


@pytest.fixture(scope="module")
def unique(lesson, tmp_path_factory):
    return trained_on(lesson, tmp_path_factory.mktemp("unique") / "run")


def probes(run, rows):
    for line, _ in rows.split("test").frame.head(ROWS).iterrows():
        one = dataclasses.replace(rows, frame=rows.frame.loc[[line]])
        given, _ = explain._decoded(run, export.raw_columns(run, one))
        output = run.model(given, training=False)["label"]
        yield Probe(run.model, given, Question("label", run.tasks["label"], output))


def mean_shares(run, rows):
    """{input: mean absolute Shapley value on test rows}."""
    names = list(run.decoders)
    found = [shapley.of_modalities(probe, names)[0] for probe in probes(run, rows)]
    return {name: np.mean([abs(one[name]) for one in found]) for name in names}


@pytest.mark.nightly
def test_what_each_modality_holds_is_told(unique):
    found = mean_shares(*unique)
    assert min(found.values()) > 0.1, found


@pytest.mark.nightly
def test_a_modality_that_holds_nothing_adds_nothing(lesson, tmp_path):
    frame = pd.read_csv(lesson, dtype=str, keep_default_na=False)
    rng = np.random.default_rng(0)
    for _, at in frame.groupby("split").groups.items():
        frame.loc[at, "text"] = rng.permutation(frame.loc[at, "text"].to_numpy())
    blank = lesson.with_name("blank.csv")
    frame.to_csv(blank, index=False)
    found = mean_shares(*trained_on(blank, tmp_path / "run"))
    assert found["text"] < 0.25 * max(found.values()), found


@pytest.mark.nightly
def test_the_digit_counts_and_not_the_margin(unique):
    run, rows = unique
    decoder = run.decoders["image"]
    found = [parts.image(probe, decoder, {}) for probe in probes(run, rows)]
    maps = np.stack([one["map"] for one in found])
    light = np.stack([one["pixels"].mean(axis=-1) for one in found])
    # The digits fill the height; what is blank are four columns on either side.
    margin = np.r_[0:4, 28:32]
    assert light[:, :, margin].mean() < 0.2 * light[:, :, 4:28].mean()
    # Blind to the digit it would be 1. A place of the map is 4 pixels wide, and what it
    # sees are 16, so that margins beside a digit count a little: 1.5 and not 10.
    ratio = maps[:, :, 4:28].mean() / maps[:, :, margin].mean()
    assert ratio > 1.2, ratio
