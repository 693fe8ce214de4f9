"""One contract for every branch of every modality.

Members of keras.applications are built with random weights at 32 pixels.
"""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mmkeras import run  # noqa: F401  registers the layers
from mmkeras.branches import BRANCHES, applications, pretrained

GEOMETRY = {
    "text": {"length": 6, "vocabulary_size": 12},
    "image": {"size": 32},
    "audio": {"rate_hz": 8000, "clip_samples": 1600},
    "tabular": {"numbers": 2, "categories": 2, "vocabulary_size": 12},
}
APPLICATIONS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "efficientnet": "EfficientNetV2B0",
    "mobilenet": "MobileNetV3Small",
    "convnext": "ConvNeXtTiny",
}
OWN = f"{Path(__file__).parent}/own_branches.py"
BLOCKS = {"units": 8, "num_layers": 1, "num_heads": 2}
# What makes a member small; {"units": 8} where nothing is said.
SMALL = {
    ("text", "lstm"): {"units": 8, "embedding_dim": 4},
    ("text", "bilstm"): {"units": 8, "embedding_dim": 4},
    ("text", "gru"): {"units": 8, "embedding_dim": 4},
    ("text", "chars"): {"units": 8, "num_layers": 1},
    ("text", "transformer"): BLOCKS,
    ("audio", "conformer"): BLOCKS,
    ("tabular", "transformer"): BLOCKS,
    ("text", "own"): {"function": f"{OWN}:words"},
    ("image", "own"): {"function": f"{OWN}:feature_map"},
    ("audio", "own"): {"function": f"{OWN}:frames"},
} | {("image", kind): {"weights": None, "units": 8} for kind in APPLICATIONS}
# These need files or a vocabulary and have tests of their own.
FILES = {f"mmkeras.branches.{name}" for name in ("hub", "kerashub", "vectors")}
MEMBERS = {
    (modality, kind): make
    for modality, kinds in BRANCHES.items()
    for kind, make in kinds.items()
    if make.__module__ not in FILES
}
# Every member, and the audio front ends which are no member's default.
ALL = [(*member, {}) for member in MEMBERS]
ALL += [("audio", "cnn", {"features": each}) for each in ("mfcc", "pcen", "learned")]
ALL += [("image", "cnn", {"whole": True})]
ALL += [("text", "own", {"function": f"{OWN}:sentence"})]
ALL += [("image", "own", {"function": f"{OWN}:pooled"})]
ALL += [("audio", "own", {"function": f"{OWN}:clip"})]
ALL += [("audio", "conformer", {"features": each}) for each in ("pcen", "learned")]
FAST = [case for case in ALL if case[1] not in APPLICATIONS]
PRECISIONS = ["mixed_float16", "mixed_bfloat16"]


def told(case):
    chosen = (
        str(key if each is True else each).rpartition(":")[2]
        for key, each in case[2].items()
    )
    return "-".join([case[0], case[1], *chosen])


def build(modality, kind, **options):
    keras.utils.set_random_seed(1)
    small = SMALL.get((modality, kind), {"units": 8})
    return BRANCHES[modality][kind]("it", **GEOMETRY[modality], **(small | options))


every_case = pytest.mark.parametrize("case", ALL, ids=told)
# Compiling or exporting hundreds of layers takes up to half a minute each; in the
# short suite VGG16 stands for all of keras.applications.
every_case_slowly = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=told(case), marks=[pytest.mark.nightly] * slow)
        for case in ALL
        for slow in [case[1] in APPLICATIONS and case[1] != "vgg16"]
    ],
)


def inputs(modality, rng):
    """Three rows: whole, half and missing."""
    present = np.array([True, True, False])
    if modality == "text":
        ids = rng.integers(1, 12, (3, 6)).astype("int32")
        ids[1, 3:] = 0
        return {"it": ids, "it_present": present}
    if modality == "image":
        return {
            "it": rng.random((3, 32, 32, 3)).astype("float32"),
            "it_present": present,
        }
    if modality == "tabular":
        seen = np.array([[True] * 4, [True, False, True, False], [True] * 4])
        return {
            "it": rng.uniform(-3, 3, (3, 2)).astype("float32"),
            "it_ids": rng.integers(1, 12, (3, 2)).astype("int32"),
            "it_seen": seen,
            "it_present": present,
        }
    return {
        "it": rng.standard_normal((3, 1600)).astype("float32"),
        "it_samples": np.array([1600, 800, 1600], "int32"),
        "it_present": present,
    }


def poison(modality, rows):
    """The same rows with other values where nothing is."""
    rows = {key: value.copy() for key, value in rows.items()}
    rows["it"][2] = 7
    if modality == "audio":
        rows["it"][1, 800:] = 100.0
    if modality == "tabular":
        rows["it_ids"][2] = 7
        rows["it"][1, 1], rows["it_ids"][1, 1] = 100.0, 7
    return rows


@pytest.fixture(scope="module")
def branches():
    """Each case is built once; no test changes it."""
    made = {}

    def make(case):
        key = told(case)
        if key not in made:
            made[key] = build(case[0], case[1], **case[2])
        return made[key]

    return make


@pytest.fixture
def policy(request):
    """A precision for new layers, taken back after the test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def with_head(branch):
    """A branch, the mean of its visible tokens, one number."""
    corridor = branch.output
    weights = ops.cast(corridor["mask"], "float32")[..., None]
    total = ops.sum(ops.cast(corridor["tokens"], "float32") * weights, axis=1)
    mean = total / ops.maximum(ops.sum(weights, axis=1), 1.0)
    return keras.Model(branch.input, keras.layers.Dense(1, dtype="float32")(mean))


@every_case
def test_gives_the_corridor(case, branches, rng):
    branch = branches(case)
    out = branch(inputs(case[0], rng))
    assert set(out) == {"tokens", "mask"}
    batch, steps, dim = out["tokens"].shape
    assert (batch, dim) == (3, 8) and out["mask"].shape == (3, steps)
    assert out["mask"].dtype == "bool" and branch.name != "it"
    assert np.isfinite(out["tokens"]).all()
    # A frame whose centre is where the clip ends is not seen.
    assert np.array(out["mask"])[0].sum() >= steps - (case[0] == "audio")


@every_case
def test_padding_never_leaks_and_missing_is_masked(case, branches, rng):
    branch = branches(case)
    rows = inputs(case[0], rng)
    clean, poisoned = branch(rows), branch(poison(case[0], rows))
    np.testing.assert_array_equal(clean["mask"], poisoned["mask"])
    mask = np.array(clean["mask"])
    assert not mask[2].any(), "a missing modality has no visible token"
    if case[0] != "image" and mask.shape[1] > 1:
        assert 0 < mask[1].sum() < mask.shape[1], "the half row is half visible"
    seen = mask[..., None] & np.ones_like(clean["tokens"], bool)
    np.testing.assert_allclose(
        np.array(poisoned["tokens"])[seen],
        np.array(clean["tokens"])[seen],
        rtol=1e-5,
        atol=1e-6,
    )


@every_case
def test_a_row_does_not_depend_on_its_neighbours(case, branches, rng):
    branch, rows = branches(case), inputs(case[0], rng)
    alone = branch({key: value[1:2] for key, value in rows.items()})["tokens"]
    together = branch(rows)["tokens"][1:2]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


@every_case
def test_save_and_load_agree(case, branches, rng, tmp_path):
    branch, rows = branches(case), inputs(case[0], rng)
    branch.save(tmp_path / "branch.keras")
    again = keras.saving.load_model(tmp_path / "branch.keras")
    np.testing.assert_array_equal(again(rows)["tokens"], branch(rows)["tokens"])


@every_case_slowly
def test_served_equals_called(case, branches, rng, tmp_path):
    """A SavedModel of the branch gives what the branch gives, at any batch size."""
    branch, rows = branches(case), inputs(case[0], rng)
    signature = {
        key: tf.TensorSpec((None, *value.shape[1:]), value.dtype, name=key)
        for key, value in rows.items()
    }
    archive = keras.export.ExportArchive()
    archive.track(branch)
    archive.add_endpoint("serve", lambda rows: branch(rows), [signature])
    archive.write_out(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for count in (3, 1):
        some = {key: value[:count] for key, value in rows.items()}
        out, ours = served.serve(some), branch(some)
        np.testing.assert_array_equal(out["mask"], ours["mask"])
        np.testing.assert_allclose(out["tokens"], ours["tokens"], rtol=1e-4, atol=1e-5)


@every_case_slowly
def test_a_step_compiled_with_xla_is_finite(case, branches, rng):
    model = with_head(branches(case))
    # No step at all: the branch is shared with the other tests.
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=True)
    rows = {key: tf.constant(value) for key, value in inputs(case[0], rng).items()}
    compiled = model.train_on_batch(rows, np.ones((3, 1)))
    assert np.isfinite(compiled)
    plain = np.mean((np.array(model(rows)) - 1) ** 2)
    if "dropout" not in inspect.signature(BRANCHES[case[0]][case[1]]).parameters:
        assert compiled == pytest.approx(plain, rel=1e-3)


@every_case
@pytest.mark.parametrize("policy", PRECISIONS, indirect=True)
def test_half_precision_gives_finite_tokens(case, policy, rng):
    branch = build(case[0], case[1], **case[2])
    out = branch(inputs(case[0], rng))
    assert out["tokens"].dtype == policy.removeprefix("mixed_")
    assert np.isfinite(np.array(ops.cast(out["tokens"], "float32"))).all()
    assert not np.array(out["mask"])[2].any()


@pytest.mark.parametrize("case", FAST, ids=told)
def test_half_precision_is_near_full_precision(case, branches, rng):
    """What is lost is the precision, not the sense: the front end is never halved."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = build(case[0], case[1], **case[2])
    finally:
        keras.config.set_dtype_policy("float32")
    full, rows = branches(case), inputs(case[0], rng)
    half.set_weights(full.get_weights())
    seen = np.array(full(rows)["mask"])
    np.testing.assert_allclose(
        np.array(half(rows)["tokens"], "float32")[seen],
        np.array(full(rows)["tokens"])[seen],
        atol=0.03,
    )


@pytest.mark.parametrize("case", FAST, ids=told)
def test_eight_rows_are_learned(case, rng):
    """Eight rows with labels by lot. Without keras.applications: minutes, not s."""
    rows = {
        "text": {"it": rng.integers(1, 12, (8, 6)).astype("int32")},
        "image": {"it": rng.random((8, 32, 32, 3)).astype("float32")},
        "audio": {
            # Tones of 300 to 3100 Hz in noise.
            "it": (
                np.sin(np.arange(1600) * np.arange(3, 35, 4)[:, None] * np.pi / 40)
                + 0.1 * rng.standard_normal((8, 1600))
            ).astype("float32"),
            "it_samples": np.full(8, 1600, "int32"),
        },
        "tabular": {
            "it": rng.uniform(-3, 3, (8, 2)).astype("float32"),
            "it_ids": rng.integers(1, 12, (8, 2)).astype("int32"),
            "it_seen": np.ones((8, 4), bool),
        },
    }[case[0]] | {"it_present": np.ones(8, bool)}
    labels = np.array([1, -1, 1, 1, -1, 1, -1, -1], "float32")[:, None]
    model = with_head(build(case[0], case[1], **case[2]))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = [model.train_on_batch(rows, labels) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


OTHER = {
    "dropout": 0.9,
    "embedding_dim": 6,
    "features": "pcen",
    "filters": 8,
    "hop_ms": 15,
    "num_blocks": 2,
    "whole": True,
    "num_heads": 4,
    "num_layers": 2,
    "num_mels": 30,
    "num_mfcc": 10,
    "trainable": True,
    "units": 12,
    "width": 3,
}
OPTIONS = [
    (modality, kind, option)
    for (modality, kind), make in MEMBERS.items()
    # The other members of keras.applications have the same two, tested above and below.
    if kind not in APPLICATIONS or kind == "vgg16"
    for option, parameter in inspect.signature(make).parameters.items()
    if option in OTHER and parameter.default is not parameter.empty
]


@pytest.mark.parametrize("modality, kind, option", OPTIONS)
def test_every_option_does_something(modality, kind, option, branches, rng):
    """Another value gives other weights to train, or another output in training."""
    base = {"features": "mfcc"} if option == "num_mfcc" else {}
    first = branches((modality, kind, base))
    other = build(modality, kind, **base, **{option: OTHER[option]})
    shapes = [[w.shape for w in each.trainable_weights] for each in (first, other)]
    if shapes[0] != shapes[1]:
        return
    other.set_weights(first.get_weights())
    rows = inputs(modality, rng)
    before, after = (
        np.array(each(rows, training=True)["tokens"]) for each in (first, other)
    )
    assert before.shape != after.shape or np.abs(before - after).max() > 1e-3


def test_every_option_is_tried():
    """`weights` has a test of its own, below, and `function` cases in all of these."""
    told_of = {
        option
        for make in MEMBERS.values()
        for option, parameter in inspect.signature(make).parameters.items()
        if parameter.default is not parameter.empty
        and parameter.kind is parameter.KEYWORD_ONLY
    }
    assert told_of - set(OTHER) == {"weights", "function"}


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_pretrained_is_frozen_unless_told(kind, branches):
    frozen = branches(("image", kind, {}))
    tuned = build("image", kind, trainable=True)
    added = {"it_units/kernel", "it_units/bias", "it_positions/table"}
    assert {weight.path for weight in frozen.trainable_weights} == added
    assert len(tuned.trainable_weights) > 20


def test_pretrained_takes_a_local_file(branches, tmp_path, rng):
    first = branches(("image", "vgg16", {}))
    path = tmp_path / "vgg16_notop.weights.h5"
    first.get_layer("it_backbone").get_layer("vgg16").save_weights(path)
    again = BRANCHES["image"]["vgg16"]("it", size=32, weights=str(path), units=8)
    np.testing.assert_array_equal(
        again.get_layer("it_backbone").get_layer("vgg16").get_weights()[0],
        first.get_layer("it_backbone").get_layer("vgg16").get_weights()[0],
    )


def test_weights_of_something_else_are_refused(branches, tmp_path):
    path = tmp_path / "other.weights.h5"
    branches(("text", "lstm", {})).save_weights(path)
    with pytest.raises(ValueError, match="does not fit VGG16 without its top at 32"):
        build("image", "vgg16", weights=str(path))


def test_pretrained_errors_say_what_to_do(monkeypatch):
    make = BRANCHES["image"]["vgg16"]
    with pytest.raises(FileNotFoundError, match="no weights file `gone.h5` for VGG16"):
        make("it", size=32, weights="gone.h5")
    with pytest.raises(ValueError, match="16 pixels are too few for VGG16, 32 at"):
        make("it", size=16, weights=None)

    def offline(**options):
        raise OSError("URL fetch failure")

    offline.__name__ = "VGG16"
    monkeypatch.setattr(keras.applications, "VGG16", offline)
    with pytest.raises(FileNotFoundError, match="weights: null, trainable: true"):
        make("it", size=32)


PREPROCESSING = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "ConvNeXtTiny": "convnext",
}


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_a_backbone_sees_what_its_weights_were_made_with(kind, branches, rng):
    """Keras' own preprocessing of bytes, RGB, gives the same features."""
    pixels = rng.random((2, 32, 32, 3)).astype("float32")
    theirs = getattr(keras.applications, PREPROCESSING[APPLICATIONS[kind]])
    expected = theirs.preprocess_input(255 * pixels.copy())
    ours = applications.PREPARE[APPLICATIONS[kind]](pixels)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    joined = branches(("image", kind, {})).get_layer("it_backbone")
    backbone = next(one for one in joined.layers if isinstance(one, keras.Model))
    given = {"it": pixels, "it_present": np.ones(2, bool)}
    np.testing.assert_allclose(
        joined(given)["it_features"],
        backbone(expected, training=False),
        rtol=1e-3,
        atol=1e-4,
    )


def test_every_application_is_prepared():
    assert set(applications.PREPARE) == set(APPLICATIONS.values())
    assert set(APPLICATIONS) == {
        kind
        for kind, make in BRANCHES["image"].items()
        if make.__module__ == applications.__name__
    }


@pytest.fixture
def backbone():
    """Eight layers with weights, two without."""
    one = keras.Sequential([keras.Input((4,))], name="backbone")
    for index in range(8):
        one.add(keras.layers.Dense(4, name=f"dense{index}"))
    one.add(keras.layers.ReLU())
    one.add(keras.layers.Flatten())
    return one


@pytest.mark.parametrize(
    "trainable, first",
    [
        (False, 8),
        (True, 0),
        (0.25, 6),
        (0.0, 8),
        (0.5, 4),
        ("dense5", 5),
        ("dense0", 0),
        ("dense7", 7),
    ],
)
def test_freeze_leaves_the_end_to_be_trained(backbone, trainable, first):
    pretrained.freeze(backbone, trainable)
    found = [weight.path.split("/")[-2] for weight in backbone.trainable_weights]
    expected = [f"dense{index}" for index in range(first, 8) for _ in range(2)]
    assert found == expected


def test_freeze_names_the_nearest_layer(backbone):
    with pytest.raises(ValueError, match="backbone has no layer `dens5`") as caught:
        pretrained.freeze(backbone, "dens5")
    assert "dense0, dense1" in str(caught.value)
    assert "did you mean `dense5`?" in str(caught.value)


def test_a_share_of_an_application_is_trained():
    branch = build("image", "vgg16", trainable=0.25)
    inner = branch.get_layer("it_backbone").get_layer("vgg16")
    weighted = [layer.name for layer in inner.layers if layer.weights]
    tuned = [layer.name for layer in inner.layers if layer.trainable_weights]
    assert len(weighted) == 13 and tuned == weighted[-3:]
    with pytest.raises(ValueError, match="did you mean `block5_conv1`"):
        build("image", "vgg16", trainable="block5_con1")


def test_cnn_refuses_more_halvings_than_pixels():
    with pytest.raises(ValueError, match="6 blocks leave nothing of a picture of 32"):
        BRANCHES["image"]["cnn"]("it", size=32, num_blocks=6)


def test_units_must_fit():
    with pytest.raises(
        ValueError, match="units: 7 cannot be shared by two dir.* 8 can"
    ):
        build("text", "bilstm", units=7)
    with pytest.raises(ValueError, match="3 heads do not divide 8 units"):
        build("audio", "conformer", num_heads=3)


def test_a_bag_knows_no_order(branches):
    branch = branches(("text", "bag", {}))
    ids = np.array([[2, 3, 4, 0, 0, 0]], "int32")
    present = np.array([True])
    tokens = np.array(branch({"it": ids, "it_present": present})["tokens"])
    turned = np.array(
        branch({"it": ids[:, [2, 0, 1, 3, 4, 5]], "it_present": present})["tokens"]
    )
    np.testing.assert_array_equal(turned[:, [1, 2, 0]], tokens[:, :3])


def test_a_bag_drops_whole_words():
    branch = build("text", "bag", dropout=0.5)
    rows = {"it": np.full((50, 6), 2, "int32"), "it_present": np.ones(50, bool)}
    dropped = np.array(branch(rows, training=True)["tokens"]) == 0
    assert (dropped.all(axis=-1) == dropped.any(axis=-1)).all()
    assert 0.4 < dropped.mean() < 0.6


def test_a_bilstm_hears_both_ends(branches):
    branch = branches(("text", "bilstm", {}))
    present = np.array([True, True])
    ids = np.array([[2, 3, 4, 5, 0, 0], [2, 3, 4, 6, 0, 0]], "int32")
    tokens = np.array(branch({"it": ids, "it_present": present})["tokens"])
    assert np.abs(tokens[0, 0] - tokens[1, 0]).max() > 1e-6  # the last word is heard
