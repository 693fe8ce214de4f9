"""The three signatures: the same model, asked from three sides."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, dataset, export, modalities, model, tasks
from mmkeras.export import signatures


@pytest.fixture(scope="module")
def loaded(exported):
    """The signatures of the exported model, {name: function}."""
    return tf.saved_model.load(str(exported[0])).signatures


@pytest.fixture(scope="module")
def first(trained, rows):
    """Twelve test rows, raw and decoded, {name: tensor} each."""
    test = rows.split("test")
    raw = export.raw_columns(trained, test)
    held, _ = dataset.load(test, trained.decoders)
    (decoded,) = dataset.ordered(held, 12, 12)
    return {name: tf.constant(values[:12]) for name, values in raw.items()}, decoded


def test_decoded_tensors_are_answered_as_raw_strings(loaded, first):
    raw, decoded = first
    takes = loaded["serve_tensors"].structured_input_signature[1]
    assert set(takes) == set(decoded)
    assert takes["text"].dtype == tf.int32 and takes["text"].shape == [None, 8]
    assert takes["image"].dtype == tf.float32
    assert takes["audio_present"].dtype == tf.bool
    answers, wanted = (
        loaded["serve_tensors"](**decoded),
        loaded["serving_default"](**raw),
    )
    assert set(answers) == {"label", "probability", "probabilities", "abstained"}
    np.testing.assert_array_equal(answers["label"], wanted["label"])
    np.testing.assert_allclose(
        answers["probabilities"], wanted["probabilities"], atol=1e-6
    )


def test_features_are_the_output_of_the_fusion(loaded, first, trained):
    raw, decoded = first
    network = trained.model
    fused = keras.Model(network.input, network.get_layer("fusion").output)(decoded)
    (told,) = loaded["serve_features"](**raw).values()
    assert told.shape == (12, 16) and told.dtype == tf.float32
    np.testing.assert_allclose(told, fused, atol=1e-5)


def untrained(recipe, *overrides):
    """What stands for a run: decoders, tasks and a model with random weights."""
    recipe = config.parse(recipe.model_dump(by_alias=True), overrides)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    decoders["text"].learn(["one two three"])
    made = tasks.make(recipe.data.targets, {"label": ["no", "yes", "perhaps"]})
    network = model.build(recipe, decoders, made)
    return types.SimpleNamespace(
        recipe=recipe, decoders=decoders, tasks=made, model=network
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["fusion={kind: gated, units: 16}"],
        ["train.balance=blending"],
        ["branches.image={kind: vgg16, weights: null}", "data.inputs.image.size=32"],
        ["fusion={kind: late, units: 4}"],
    ],
    ids=["plain", "balanced", "backbone", "late"],
)
def test_features_are_what_the_heads_read(recipe, rows, overrides):
    """The layers behind the fusion, fed with the features, give the answer."""
    run = untrained(recipe, *overrides)
    held, _ = dataset.load(rows.split("test"), run.decoders)
    (tensors,) = dataset.ordered(held, 5, 5)
    features = signatures.features_model(run)(tensors)
    core, _ = model.parts(run.model)
    read = {"fused": core.get_layer("fusion").output}
    given = {"fused": features}
    if isinstance(read["fused"], list):  # side by side in the order of the recipe
        names = ["text", "image", "audio"]
        read = {name: core.get_layer(f"label_{name}_logits").input for name in names}
        given = dict(zip(names, tf.split(features, 3, axis=1), strict=True))
    present = [key for key in core.input if key.endswith("_present")]
    heads = keras.Model(
        [*read.values(), *(core.input[key] for key in present)], core.output["label"]
    )
    told = heads([*given.values(), *(tensors[key] for key in present)])
    wanted = run.model(tensors)["label"]
    np.testing.assert_allclose(told, wanted, atol=1e-6)


def test_half_precision_gives_whole_features(recipe):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = untrained(recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    assert run.model.get_layer("fusion").output.dtype == "bfloat16"
    assert signatures.features_model(run).output.dtype == "float32"
