"""Every shipped recipe's training step compiles with XLA at static shapes, as TPUs ask.

A TPU cannot be run here; a step that XLA compiles on the CPU, all shapes known, is the
nearest proof.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from mmkeras import config, features, modalities, tasks, train
from mmkeras.train.compiling import build, model_to_fit

RECIPES = Path(__file__).parent.parent.parent / "pipelines" / "recipes"
ROWS = 4
LEARNT = {
    "classification": ["a", "b", "oos"],
    "multilabel": ["a", "b", "c"],
    "regression": {"mean": 0.0, "scale": 1.0},
    "verification": ["a", "b"],
}


# Smaller than shipped: XLA compiles the same operations in less time.
SMALL = {
    "length": 4,
    "size": 32,
    "clip_seconds": 0.1,
    "units": 8,
    "hidden": 8,
    "filters": 4,
    "embedding_dim": 8,
}


def small(recipe, bert):
    """The recipe with small layers, and backbones of random weights, not of files."""

    def shrunk(choice):
        own = {key: SMALL.get(key, value) for key, value in choice.items()}
        return {**own, "weights": None} if "weights" in own else own

    inputs = {name: shrunk(each) for name, each in recipe.data.inputs.items()}
    branches = {name: shrunk(each) for name, each in recipe.branches.items()}
    for each in branches.values():
        if "preset" in each:
            each["preset"] = bert
    data = recipe.data.model_copy(update={"inputs": inputs})
    parts = {"data": data, "branches": branches, "fusion": shrunk(recipe.fusion)}
    return recipe.model_copy(update=parts)


def batch(decoders, made, rng):
    """Made-up rows as decoders and tasks give them, (inputs, targets)."""
    inputs = {}
    for decoder in decoders.values():
        for key, spec in decoder.specs.items():
            shape, kind = (ROWS, *spec.shape), spec.dtype.as_numpy_dtype
            values = np.ones(shape) if spec.dtype.is_bool else rng.random(shape)
            inputs[key] = values.astype(kind)
    values = {"regression": "1.5", "multilabel": "a"}
    cells = {
        name: [values.get(type(task).__name__.lower(), "a")] * ROWS
        for name, task in made.items()
    }
    return inputs, {name: tasks.truth(made[name], cells[name])[0] for name in made}


OFTEN = ("digits", "visual_questions_bert")
TRIED = [
    pytest.param(
        path,
        marks=pytest.mark.slow if path.stem in OFTEN else pytest.mark.nightly,
        id=path.stem,
    )
    for path in sorted(RECIPES.glob("*.yaml"))
]


@pytest.mark.parametrize("path", TRIED)
def test_the_training_step_compiles(path, tiny_bert, rng):
    recipe = small(config.load(path, ["train.jit_compile=true"]), tiny_bert)
    keras.utils.set_random_seed(0)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    texts = {name: each for name, each in decoders.items() if not each.is_file}
    modalities.learn(texts, recipe.branches, lambda name: ["one two", "three"])
    targets = recipe.data.targets
    labels = {name: LEARNT[choice["kind"]] for name, choice in targets.items()}
    made = tasks.make(targets, labels)
    network = build(recipe, decoders, made)
    fitted = model_to_fit(recipe, made, *features.on_features(network, {}))
    train.compile_model(recipe, fitted, made, 1)
    assert fitted.jit_compile is True
    inputs, truth = batch(decoders, made, rng)
    before = fitted.get_weights()
    weights = {name: np.ones(ROWS, "float32") for name in truth}
    logs = fitted.train_on_batch(inputs, truth, weights, return_dict=True)
    assert np.isfinite(logs["loss"])
    pairs = zip(fitted.get_weights(), before, strict=True)
    assert any((one != two).any() for one, two in pairs), "a step was made"
