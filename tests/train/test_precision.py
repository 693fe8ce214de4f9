"""Mixed precision: half where it is fast, float32 where it must be, in a file too."""

import keras
import numpy as np
import pytest

from mmkeras import config, dataset, families, run, train
from mmkeras.train.compiling import build, compile_model


def changed(recipe, *overrides):
    """The shared recipe with some keys changed."""
    return config.parse(recipe.model_dump(by_alias=True), overrides)


@pytest.fixture(scope="module")
def prepared(recipe, rows):
    return train.prepare(recipe, rows.head(40), log=lambda _: None)


def policies(network):
    """The precision of each layer, in order."""
    return [
        (type(each).__name__, each.dtype_policy.name) for each in layers_of(network)
    ]


def layers_of(network):
    holders = keras.Model, keras.layers.InputLayer  # compute nothing themselves
    return [one for one in network._flatten_layers() if not isinstance(one, holders)]


@pytest.mark.parametrize("kind", families.kinds("fusion"))
def test_a_file_computes_as_the_model_that_was_saved(kind, recipe, prepared, tmp_path):
    own = changed(recipe, "train.precision=mixed_bfloat16", f"fusion={{kind: {kind}}}")
    network = build(own, prepared.decoders, prepared.tasks)
    assert keras.config.dtype_policy().name == "float32", "as it was before"
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert policies(loaded) == policies(network)
    assert {output.dtype for output in network.output.values()} == {"float32"}
    inputs = next(iter(dataset.ordered(prepared.rows["train"], 8, 8)))
    one, two = (each(inputs)["label"].numpy() for each in (network, loaded))
    np.testing.assert_array_equal(one, two)


def test_spectrograms_and_heads_stay_float32_and_the_rest_does_not(recipe, prepared):
    for name, half in (("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")):
        own = changed(recipe, f"train.precision={name}")
        network = build(own, prepared.decoders, prepared.tasks)
        kinds = {}
        for layer in layers_of(network):
            kinds.setdefault(type(layer).__name__, set()).add(layer.compute_dtype)
        assert kinds["LogMel"] == {"float32"} and kinds["Softmax"] == {"float32"}
        assert kinds["Conv2D"] == kinds["LSTM"] == kinds["Pool"] == {half}
        assert {weight.dtype for weight in network.trainable_weights} == {"float32"}
    plain = build(recipe, prepared.decoders, prepared.tasks)
    assert {each.compute_dtype for each in layers_of(plain)} == {"float32"}


def test_float16_scales_its_loss(recipe, prepared):
    for name, scaled in (("mixed_float16", True), ("mixed_bfloat16", False)):
        own = changed(recipe, f"train.precision={name}")
        network = build(own, prepared.decoders, prepared.tasks)
        fitted = train.compiling.model_to_fit(
            own, prepared.tasks, network.input, network(network.input)
        )
        compile_model(own, fitted, prepared.tasks, 3)
        kind = keras.optimizers.LossScaleOptimizer
        assert isinstance(fitted.optimizer, kind) == scaled


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_run_learns_and_its_export_is_proved(name, recipe, rows, tmp_path):
    from mmkeras import export

    own = changed(recipe, f"train.precision={name}", "train.baselines=false")
    made = train.fit(own, rows, folder=tmp_path / "run", log=lambda _: None)
    losses = [
        float(line.split(",")[2]) for line in open(made.history_csv).readlines()[1:]
    ]
    assert losses[-1] < losses[0]
    opened = run.open_folder(made.folder)
    test = rows.split("test")
    _, found = export.saved_model(opened, tmp_path / "export", test, log=lambda _: None)
    assert found["max_difference"] < export.HALF[name]
