"""Runs of random weights, and bytes to ask them."""

import io
import wave
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, modalities, model, tasks

LABELS = ["cat", "dog", "owl"]


def _untrained(folder, inputs, branches, *, task="classification", fusion="concat"):
    """A run of random weights, the same each time: what an explanation asks."""
    tree = {
        "name": "random",
        "data": {"manifest": "none.csv", "inputs": inputs, "targets": {"label": task}},
        "branches": branches,
        "fusion": {"kind": fusion},
    }
    keras.utils.set_random_seed(0)
    recipe = config.parse(tree)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    for name, decoder in decoders.items():
        if recipe.data.inputs[name]["kind"] == "tabular":
            decoder.learn([("1", "a"), ("2", "a"), ("9", "b"), ("4", "b")])
        elif not decoder.is_file:
            decoder.learn(["one seven", "a seven", "two"])
    labels = {"mean": 1.0, "scale": 2.0} if task == "regression" else LABELS
    decisions = None
    if task == "verification":
        enrolled = np.random.default_rng(0).normal(size=(3, 64))
        enrolled /= np.linalg.norm(enrolled, axis=1, keepdims=True)
        told = dict(zip(LABELS, enrolled.tolist(), strict=True))
        decisions = {"label": {"threshold": -1.0, "enrolled": told}}
    made = tasks.make(recipe.data.targets, {"label": labels}, decisions)
    return SimpleNamespace(
        recipe=recipe,
        decoders=decoders,
        tasks=made,
        model=model.build(recipe, decoders, made),
        folder=folder,
    )


def _png(size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), "uint8")
    return tf.io.encode_png(pixels).numpy()


def _wav(seconds=0.25, rate_hz=8000):
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate_hz, 0, "NONE", ""))
        out.writeframes((8000 * np.sin(2 * np.pi * 700 * times)).astype("<i2"))
    return file.getvalue()


@pytest.fixture(scope="session")
def untrained():
    """Function (folder, inputs, branches, task, fusion) -> such a run."""
    return _untrained


@pytest.fixture(scope="session")
def png():
    """Function (size, seed) -> bytes of a picture."""
    return _png


@pytest.fixture(scope="session")
def wav():
    """Function (seconds, rate_hz) -> bytes of a sound."""
    return _wav
