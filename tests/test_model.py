"""The whole model: its inputs by name, missing modalities, every key of a recipe."""

import json

import keras
import numpy as np
import pytest

from mmkeras import config, modalities, model, tasks

LABELS = {"label": [str(digit) for digit in range(10)], "more": ["no", "yes"]}
WORDS = ["one two three four five six"]


def recipe_of(recipe, *overrides):
    """The shared recipe with some keys changed."""
    return config.parse(recipe.model_dump(by_alias=True), overrides)


def parts(recipe, only=None):
    """(decoders, tasks) of a recipe, vocabulary learnt."""
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    for decoder in decoders.values():
        if not decoder.is_file:
            decoder.learn(WORDS)
    decoders = {name: decoders[name] for name in only or decoders}
    return decoders, tasks.make(recipe.data.targets, LABELS)


def built(recipe, *overrides, only=None):
    """A model of these keys, always from the same seed."""
    recipe = recipe_of(recipe, *overrides)
    keras.utils.set_random_seed(0)
    return model.build(recipe, *parts(recipe, only))


def batch(recipe, rows=6, seed=0):
    """Random rows for the tensors of a recipe; all is there."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, decoder in parts(recipe)[0].items():
        for key, spec in decoder.specs.items():
            shape = (rows, *spec.shape)
            if spec.dtype.is_bool:
                made[key] = np.ones(shape, bool)
            elif spec.dtype.is_integer:
                made[key] = rng.integers(1, 7, shape).astype("int32")
            else:
                made[key] = rng.uniform(0, 1, shape).astype("float32")
        if f"{name}_samples" in made:
            made[f"{name}_samples"][:] = made[name].shape[1]
    return made


def targets(recipe, rows=6):
    made = {}
    for name in recipe.data.targets:
        count = len(LABELS[name])
        made[name] = np.eye(count, dtype="float32")[np.arange(rows) % count]
    return made


def compiled(network, **options):
    names = list(network.output)
    network.compile(
        "adam", loss=dict.fromkeys(names, "categorical_crossentropy"), **options
    )
    return network


@pytest.fixture(scope="module")
def network(recipe):
    return built(recipe)


def test_inputs_and_outputs_bear_the_manifests_names(network, recipe):
    specs = {
        key: spec
        for decoder in parts(recipe)[0].values()
        for key, spec in decoder.specs.items()
    }
    assert set(network.input) == {
        "text",
        "text_present",
        "image",
        "image_present",
        "audio",
        "audio_samples",
        "audio_present",
    }
    assert set(network.input) == set(specs)
    for key, tensor in network.input.items():
        assert tensor.shape == (None, *specs[key].shape), key
        assert tensor.dtype == specs[key].dtype.name, key
    assert set(network.output) == {"label"}
    assert network.output["label"].shape == (None, 10)


@pytest.mark.parametrize("missing", ["text", "image", "audio"])
def test_what_stands_where_nothing_is_does_not_matter(network, recipe, missing):
    rows = batch(recipe)
    rows[f"{missing}_present"][[1, 4]] = False
    clean = np.array(network(rows)["label"])
    poisoned = {key: value.copy() for key, value in rows.items()}
    poisoned[missing][[1, 4]] = 5 if missing == "text" else 777.0
    if missing == "audio":
        poisoned["audio_samples"][[1, 4]] = 3
    np.testing.assert_array_equal(network(poisoned)["label"], clean)
    # Where it is there it does matter: the test above would hold for a deaf model.
    poisoned[missing][0] = poisoned[missing][1]
    assert np.abs(np.array(network(poisoned)["label"])[0] - clean[0]).max() > 1e-6
    # Absence is seen too.
    whole = np.array(network(batch(recipe))["label"])
    assert np.abs(whole[1] - clean[1]).max() > 1e-6
    np.testing.assert_allclose(whole[0], clean[0], rtol=1e-4, atol=1e-6)


def test_a_row_of_nothing_still_has_an_answer(network, recipe):
    rows = batch(recipe)
    for name in recipe.data.inputs:
        rows[f"{name}_present"][:] = False
    out = np.array(network(rows)["label"])
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(out, np.repeat(out[:1], len(out), axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", ["text", "image", "audio"])
def test_each_modality_alone_is_a_model(recipe, name):
    alone = built(recipe, only=[name])
    assert {key.split("_")[0] for key in alone.input} == {name}
    rows = {key: value for key, value in batch(recipe).items() if key in alone.input}
    out = np.array(alone(rows)["label"])
    assert out.shape == (6, 10) and len(np.unique(out.round(6), axis=0)) > 1


SIZES = {
    "fusion.units=12": "fusion",
    "fusion.hidden=12": "fusion",
    "fusion.dropout=0.6": "fusion",
    "branches.text.units=6": "text_branch",
    "branches.text.embedding_dim=6": "text_branch",
    "branches.text.dropout=0.6": "text_branch",
    "branches.image.filters=6": "image_branch",
    "branches.image.num_blocks=1": "image_branch",
    "branches.image.units=6": "image_branch",
    "branches.image.dropout=0.6": "image_branch",
    "branches.image.whole=true": "image_branch",
    "branches.audio.units=6": "audio_branch",
    "branches.audio.num_layers=1": "audio_branch",
    "branches.audio.num_mels=20": "audio_branch",
    "branches.audio.hop_ms=20": "audio_branch",
    "branches.audio.features=mfcc": "audio_branch",
    "branches.audio.dropout=0.6": "audio_branch",
    "data.inputs.text.length=9": "text_branch",
    "data.inputs.image.size=20": "image_branch",
    "data.inputs.audio.clip_seconds=0.4": "audio_branch",
}


@pytest.mark.parametrize("override", SIZES)
def test_every_key_changes_its_own_part(recipe, network, override):
    changed = built(recipe, override)
    assert _told(changed, SIZES[override]) != _told(network, SIZES[override])


def _told(network, name):
    """A layer's configuration; Keras' own numbering of names taken out."""
    return keras.saving.serialize_keras_object(network.get_layer(name))["config"]


def test_every_key_of_the_tiny_recipe_is_tried(recipe):
    tried = {override.partition("=")[0] for override in SIZES}
    keys = {f"fusion.{key}" for key in recipe.fusion if key != "kind"}
    for name, options in recipe.branches.items():
        keys |= {f"branches.{name}.{key}" for key in options if key != "kind"}
    # Used by `features: mfcc` only.
    assert keys - tried == {"branches.audio.num_mfcc"}


def test_num_mfcc_counts_where_mfcc_is_asked_for(recipe):
    few, many = (
        built(recipe, "branches.audio.features=mfcc", f"branches.audio.num_mfcc={n}")
        for n in (5, 9)
    )
    assert few.count_params() < many.count_params()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["fusion={kind: attention, units: 10, num_heads: 4}"],
            "fusion: .*4 heads do not divide 10 units",
        ),
        (
            ["branches.text={kind: transformer, units: 9, num_heads: 2}"],
            "branches.text: .*2 heads do not divide 9 units",
        ),
        (
            ["branches.image.num_blocks=7"],
            "branches.image: .*7 blocks leave nothing of a picture of 16",
        ),
    ],
)
def test_options_that_do_not_fit_name_their_section(recipe, overrides, message):
    with pytest.raises(config.RecipeError, match=f"^{message}"):
        built(recipe, *overrides)


def test_a_target_called_like_a_layer_is_refused_in_words(recipe):
    tree = recipe.model_dump(by_alias=True)
    tree["data"]["targets"] = {"fusion": "classification"}
    recipe = config.parse(tree)
    decoders = parts(recipe_of(recipe, "data.targets={label: classification}"))[0]
    made = tasks.make(recipe.data.targets, {"fusion": ["a", "b"]})
    with pytest.raises(config.RecipeError, match='data: .*"fusion" is used 2 times'):
        model.build(recipe, decoders, made)


def test_save_and_load_agree(network, recipe, tmp_path):
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    rows = batch(recipe)
    rows["image_present"][2] = False
    np.testing.assert_array_equal(again(rows)["label"], network(rows)["label"])
    assert list(again.input) == list(network.input)


def test_a_step_compiles_with_xla(recipe):
    network = compiled(built(recipe), jit_compile=True)
    rows, wanted = batch(recipe), targets(recipe)
    losses = [network.train_on_batch(rows, wanted) for _ in range(3)]
    assert np.isfinite(losses).all() and losses[2] < losses[0]
    plain = built(recipe)
    assert network.jit_compile is True
    compiled(plain, jit_compile=False)
    np.testing.assert_allclose(plain.train_on_batch(rows, wanted), losses[0], rtol=0.2)


def test_half_precision_stays_finite(recipe):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = compiled(built(recipe), jit_compile=False)
        rows, wanted = batch(recipe), targets(recipe)
        rows["audio_present"][0] = False
        losses = [network.train_on_batch(rows, wanted) for _ in range(2)]
        out = network(rows)["label"]
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(losses).all() and out.dtype == "float32"
    np.testing.assert_allclose(np.sum(out, axis=1), 1, rtol=1e-5)


def test_two_targets_have_a_head_each(recipe):
    network = built(recipe, "data.targets.more=classification")
    assert {name: out.shape[1] for name, out in network.output.items()} == {
        "label": 10,
        "more": 2,
    }
    assert network.get_layer("label_logits").input is network.get_layer("fusion").output
    assert network.get_layer("more_logits").input is network.get_layer("fusion").output


def test_two_inputs_of_one_kind_have_a_branch_each(recipe):
    tree = recipe.model_dump(by_alias=True)
    tree["data"]["inputs"] = {
        "front": {"kind": "image", "size": 16},
        "back": {"kind": "image", "size": 20},
    }
    small = {"kind": "cnn", "filters": 4, "num_blocks": 2, "units": 8}
    tree["branches"] = {"front": small, "back": small}
    recipe = config.parse(tree)
    network = built(recipe)
    rows = batch(recipe)
    one = np.array(network(rows)["label"])
    rows["front"] = rows["front"] * 0
    assert set(network.input) == {"front", "front_present", "back", "back_present"}
    assert np.abs(np.array(network(rows)["label"]) - one).max() > 1e-6


def sums(parts):
    return tuple(
        sum(part[key] for part in parts) for key in ("parameters", "trainable")
    )


def counted(network):
    """(parameters, trainable ones), as Keras tells."""
    trainable = sum(int(np.prod(each.shape)) for each in network.trainable_weights)
    return network.count_params(), trainable


VGG = "branches.image={kind: vgg16, weights: null, units: 8%s}"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["fusion=late"],
        ["fusion=bottleneck", "data.targets.more=classification"],
        ["fusion=late", "train.balance=blending", "data.targets.more=classification"],
        ["data.inputs.image.size=32", VGG % ""],
        ["data.inputs.image.size=32", VGG % ", trainable: 0.25"],
        ["data.inputs.image.size=32", VGG % ", trainable: true", "fusion=gated"],
    ],
    ids=lambda overrides: " ".join(overrides) or "tiny",
)
def test_the_parts_of_an_outline_add_up_to_the_network(recipe, overrides):
    network = built(recipe, *overrides)
    parts = model.outline(network, recipe_of(recipe, *overrides))
    assert sums(parts) == counted(network)
    assert json.loads(json.dumps(parts)) == parts
    heads = [part["name"] for part in parts if part["part"] == "head"]
    assert heads == list(network.output)


def test_an_outline_follows_the_data(recipe):
    network = built(recipe)
    parts = model.outline(network, recipe)
    told = [(part["part"], part["name"], part["kind"], part["shape"]) for part in parts]
    assert told == [
        ("input", "text", "text", [8]),
        ("branch", "text", "lstm", [8, 8]),
        ("input", "image", "image", [16, 16, 3]),
        ("branch", "image", "cnn", [16, 8]),
        ("input", "audio", "audio", [2400]),
        ("branch", "audio", "cnn", [8, 8]),
        ("fusion", "", "concat", [16]),
        ("head", "label", "classification", [10]),
    ]
    assert parts[4]["tensors"] == {
        "audio": [2400],
        "audio_present": [],
        "audio_samples": [],
    }
    assert parts[-1]["parameters"] == 16 * 10 + 10
    branch = network.get_layer("text_branch").count_params()
    assert parts[1]["parameters"] == branch + 8  # the token of what is missing
    plain = model.outline(network)
    assert [part["kind"] for part in plain if part["kind"]] == ["concat"]
    assert sums(plain) == sums(parts)


@pytest.mark.parametrize(("trainable", "share"), [("false", 0), ("0.25", 0.48)])
def test_an_outline_tells_what_of_a_backbone_is_frozen(recipe, trainable, share):
    size = "data.inputs.image.size=64"
    network = built(recipe, size, VGG % f", trainable: {trainable}")
    parts = model.outline(network, recipe_of(recipe, size, VGG % ""))
    (backbone,) = [part for part in parts if part["part"] == "backbone"]
    assert (backbone["name"], backbone["kind"]) == ("image", "vgg16")
    assert backbone["shape"] == [2, 2, 512]
    assert backbone["parameters"] == 14_714_688  # keras.applications, without its top
    assert backbone["trainable"] / backbone["parameters"] == pytest.approx(
        share, abs=0.01
    )
    at = parts.index(backbone)
    assert (parts[at + 1]["part"], parts[at + 1]["shape"]) == ("branch", [4, 8])
    assert parts[at + 1]["parameters"] > 512 * 8


def test_heads_for_training_only_are_called_that(recipe):
    plain = model.outline(built(recipe, "fusion=late"), recipe)
    parts = model.outline(
        built(recipe, "fusion=late", "train.balance=blending"), recipe
    )
    assert parts[:-1] == plain
    last = parts[-1]
    assert (last["part"], last["shape"]) == ("heads for training only", None)
    # A late fusion of their own, and a head an input.
    assert last["parameters"] > 3 * (64 * 10 + 10)
    late = next(part for part in parts if part["part"] == "fusion")
    assert (late["kind"], late["shape"]) == ("late", [3, 64])
    assert parts[-2]["parameters"] == 3 * (64 * 10 + 10)


def test_an_outline_of_a_model_read_from_a_file_is_the_same(recipe, tmp_path):
    network = built(recipe, "fusion=late", "train.balance=blending")
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert model.outline(again, recipe) == model.outline(network, recipe)


def test_an_outline_of_one_input(recipe):
    parts = model.outline(built(recipe, only=["audio"]), recipe)
    assert [part["part"] for part in parts] == ["input", "branch", "fusion", "head"]
    assert parts[0]["name"] == "audio"


@pytest.mark.parametrize("name", ["rest", "the_backbone", "core"])
def test_a_column_may_bear_the_name_of_a_part(recipe, name):
    """An input or a target is told from the models that a model is made of."""
    tree = recipe.model_dump(by_alias=True)
    for section in (tree["data"]["inputs"], tree["branches"]):
        section[name] = section.pop("image")
    whole = config.parse(tree)
    network = model.build(whole, *parts(whole))
    assert model.parts(network) == (network, {})
    tree = recipe.model_dump(by_alias=True)
    tree["data"]["targets"] = {name: tree["data"]["targets"]["label"]}
    whole = config.parse(tree)
    task = tasks.make(whole.data.targets, {name: LABELS["label"]})
    network = model.build(whole, parts(recipe)[0], task)
    assert model.parts(network) == (network, {})
