"""One contract for every fusion, and what is special to each."""

import inspect

import keras
import numpy as np
import pytest

from mmkeras import families
from mmkeras.fusion import FUSIONS

UNITS = 8
# `late` gives a vector a modality, in a dict; all others one vector.
GIVES_A_DICT = {"late"}


@pytest.fixture
def corridors(rng):
    """Words, patches and frames of two rows; each row sees some of each."""
    made = {}
    for name, steps, dim in (("text", 4, 6), ("image", 9, 5), ("audio", 7, 3)):
        mask = rng.random((2, steps)) < 0.6
        mask[:, 0] = True
        tokens = rng.standard_normal((2, steps, dim)).astype("float32")
        made[name] = {"tokens": tokens, "mask": mask}
    return made


@pytest.fixture
def policy(request):
    """The global policy that a test asks for, taken back after it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def flat(output):
    """One array of a fusion's output: a dict's vectors stand side by side."""
    if not isinstance(output, dict):
        return np.array(output)
    return np.concatenate([np.array(output[name]) for name in sorted(output)], axis=-1)


def change(corridors, name, by=1.0):
    one = corridors[name]
    return {**corridors, name: {**one, "tokens": one["tokens"] + by}}


def poison(corridors):
    return {
        name: {
            "tokens": np.where(one["mask"][..., None], one["tokens"], 50.0),
            "mask": one["mask"],
        }
        for name, one in corridors.items()
    }


def model_of(fuse, corridors, head=None):
    inputs = {
        name: {
            "tokens": keras.Input(one["tokens"].shape[1:], name=f"{name}_tokens"),
            "mask": keras.Input(
                one["mask"].shape[1:], dtype="bool", name=f"{name}_mask"
            ),
        }
        for name, one in corridors.items()
    }
    fused = fuse(inputs)
    return keras.Model(inputs, head(fused) if head else fused)


def fitted(fuse, corridors, labels, *, epochs, learning_rate):
    """A fusion with a head for two classes on it, trained; gives the model."""
    keras.utils.set_random_seed(0)
    model = model_of(fuse, corridors, keras.layers.Dense(2))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, jit_compile=False)
    model.fit(corridors, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def accuracy(model, corridors, labels):
    return np.mean(np.argmax(model(corridors), axis=-1) == labels)


@pytest.mark.parametrize("kind", FUSIONS)
def test_gives_one_vector_a_row_or_one_a_modality(kind, corridors):
    output = FUSIONS[kind](units=UNITS)(corridors)
    if kind in GIVES_A_DICT:
        assert {name: one.shape for name, one in output.items()} == dict.fromkeys(
            corridors, (2, UNITS)
        )
    else:
        assert output.shape == (2, UNITS)


@pytest.mark.parametrize("kind", FUSIONS)
def test_padding_never_leaks(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    np.testing.assert_allclose(
        flat(fuse(poison(corridors))), flat(fuse(corridors)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_modality_counts(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    whole = flat(fuse(corridors))
    for name in corridors:
        changed = flat(fuse(change(corridors, name)))
        assert np.abs(changed - whole).max() > 1e-4, name


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_row_does_not_depend_on_its_neighbours(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    alone = {
        name: {key: value[1:] for key, value in one.items()}
        for name, one in corridors.items()
    }
    np.testing.assert_allclose(
        flat(fuse(alone)), flat(fuse(corridors))[1:], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", FUSIONS)
def test_save_and_load_agree(kind, corridors, tmp_path):
    model = model_of(FUSIONS[kind](units=UNITS, name="fusion"), corridors)
    assert model.count_params() > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(flat(again(corridors)), flat(model(corridors)))


@pytest.mark.parametrize("kind", FUSIONS)
def test_one_modality_is_enough(kind, corridors, recwarn):
    """And nobody is warned of it: each baseline is such a model."""
    fuse = FUSIONS[kind](units=UNITS)
    alone = {"text": corridors["text"]}
    output = flat(fuse(alone))
    assert output.shape == (2, UNITS)
    assert np.abs(flat(fuse(change(alone, "text"))) - output).max() > 1e-4
    assert not [str(w.message) for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize(
    "kind",
    # The one that takes longest is much like `attention`.
    [
        pytest.param(kind, marks=[pytest.mark.nightly] * (kind == "bottleneck"))
        for kind in FUSIONS
    ],
)
def test_compiles_with_xla(kind, corridors):
    model = model_of(FUSIONS[kind](units=UNITS), corridors)
    model.compile("sgd", "mse", jit_compile=True)
    target = keras.tree.map_structure(np.zeros_like, model(corridors))
    loss = model.train_on_batch(corridors, target)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize(
    "policy", ["float32", "mixed_float16", "mixed_bfloat16"], indirect=True
)
@pytest.mark.parametrize("kind", FUSIONS)
def test_outputs_and_gradients_are_finite(kind, policy, corridors):
    """In each precision, and no weight is left without a gradient."""
    import tensorflow as tf

    fuse = FUSIONS[kind](units=UNITS)
    fuse(corridors)
    with tf.GradientTape() as tape:
        output = tf.nest.flatten(fuse(corridors, training=True))
        loss = sum(tf.reduce_mean(tf.square(tf.cast(x, "float32"))) for x in output)
    assert {x.dtype.name for x in output} == {policy.removeprefix("mixed_")}
    assert np.isfinite(loss)
    variables = [weight.value for weight in fuse.trainable_weights]
    gradients = tape.gradient(loss, variables)
    for weight, gradient in zip(fuse.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_model_keeps_its_precision(kind, policy, corridors, tmp_path):
    """Saved in mixed precision, loaded where the default is float32: the same."""
    model = model_of(FUSIONS[kind](units=UNITS), corridors)
    model.save(tmp_path / "model.keras")
    answer = flat(model(corridors))
    keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(flat(again(corridors)), answer)


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_option_does_something(kind, corridors):
    """Other options give other weights, or another output in training."""
    signature = inspect.signature(FUSIONS[kind].__init__)
    other = {"units": 12, "hidden": 20, "rank": 30, "num_queries": 3, "num_heads": 2}
    other |= {"num_layers": 3, "num_latents": 5}
    default = FUSIONS[kind]()
    default(corridors)
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if name == "dropout":
            fuse = FUSIONS[kind](dropout=0.9)
            kept = flat(fuse(corridors))
            dropped = flat(fuse(corridors, training=True))
            assert np.abs(kept - dropped).max() > 1e-3
            continue
        changed = FUSIONS[kind](**{name: other[name]})
        changed(corridors)
        shapes = [[w.shape for w in fuse.weights] for fuse in (default, changed)]
        assert shapes[0] != shapes[1], name


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_recipe_sees_the_options_of_the_class(kind):
    signature = inspect.signature(FUSIONS[kind].__init__)
    told = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert families.resolve("fusion", kind) == {"kind": kind, **told}


def test_weighted_tells_its_weights(corridors):
    fuse = FUSIONS["weighted"](units=UNITS)
    fuse(corridors)
    fuse.scores.assign([0.0, np.log(2.0), 0.0])
    assert fuse.weights_by_name() == pytest.approx(
        {"audio": 0.25, "image": 0.5, "text": 0.25}
    )


@pytest.mark.parametrize("kind", ["attention", "cross_attention", "bottleneck"])
def test_refuses_heads_that_do_not_divide(kind):
    with pytest.raises(ValueError, match="3 heads do not divide 64 units"):
        FUSIONS[kind](num_heads=3)


def test_gates_add_up_in_each_row_and_differ_between_rows(corridors, rng):
    fuse = FUSIONS["gated"](units=UNITS)
    fuse(corridors)
    equal = fuse.gates(corridors)
    np.testing.assert_allclose(list(equal.values()), np.full((3, 2), 1 / 3), rtol=1e-6)
    fuse.gate.kernel.assign(rng.standard_normal(fuse.gate.kernel.shape))
    gates = {name: np.array(one) for name, one in fuse.gates(corridors).items()}
    assert set(gates) == set(corridors)
    np.testing.assert_allclose(sum(gates.values()), [1, 1], rtol=1e-6)
    assert abs(gates["text"][0] - gates["text"][1]) > 1e-3


def test_gated_turns_a_noisy_modality_down(rng):
    """Pictures are loud noise in half of the rows; sounds are fair in all."""
    rows, steps, dim = 1024, 3, 4
    labels = rng.integers(2, size=rows)
    signal = np.zeros((rows, steps, dim)) + (2 * labels - 1)[:, None, None]
    spoilt = np.arange(rows) % 2 == 0
    noise = rng.standard_normal((rows, steps, dim))
    image = np.where(spoilt[:, None, None], 4 * noise, signal + 0.1 * noise)
    audio = signal + rng.standard_normal((rows, steps, dim))
    mask = np.ones((rows, steps), bool)
    corridors = {
        "image": {"tokens": image.astype("float32"), "mask": mask},
        "audio": {"tokens": audio.astype("float32"), "mask": mask},
    }
    fuse = FUSIONS["gated"](units=UNITS, hidden=16)
    fitted(fuse, corridors, labels, epochs=10, learning_rate=0.01)
    gate = np.array(fuse.gates(corridors)["image"])
    assert gate[~spoilt].mean() > gate[spoilt].mean() + 0.2


def matching(rng, rows, keys=4):
    """A word asks for a number; the answer is the shade of the patch that shows it.

    Every row has each number and each shade equally often: what is pooled before the
    modalities meet is the same in all rows, but for the word.
    """
    eye = np.eye(keys, dtype="float32")
    asked = rng.integers(keys, size=rows)
    order = rng.permuted(np.tile(np.arange(keys), (rows, 1)), axis=1)
    shades = rng.permuted(np.tile(np.arange(keys) % 2, (rows, 1)), axis=1)
    patches = np.concatenate([eye[order], eye[shades]], axis=-1)
    words = np.stack([eye[asked], eye[rng.integers(keys, size=rows)]], axis=1)
    first = np.tile([True, False], (rows, 1))  # the second word is padding
    corridors = {
        "text": {"tokens": words, "mask": first},
        "image": {"tokens": patches, "mask": np.ones((rows, keys), bool)},
    }
    return corridors, shades[order == asked[:, None]]


@pytest.mark.parametrize(
    "kind",
    [
        "concat",
        "attention",
        "cross_attention",
        pytest.param("bottleneck", marks=pytest.mark.nightly),
    ],
)
def test_tokens_find_each_other_where_pooled_vectors_cannot(kind, rng):
    corridors, answers = matching(rng, 2048)
    fuse = FUSIONS[kind](units=16)
    model = fitted(fuse, corridors, answers, epochs=5, learning_rate=0.004)
    found = accuracy(model, *matching(rng, 512))
    if kind == "concat":
        assert found == pytest.approx(0.5, abs=0.08)
    else:
        assert found > 0.9


def test_cross_attention_reads_each_modality_in_the_light_of_the_others(corridors):
    fuse = FUSIONS["cross_attention"](units=UNITS)
    fuse(corridors)
    before = fuse.read(corridors)
    after = fuse.read(change(corridors, "text"))
    for name in ("image", "audio"):
        assert before[name].shape == (*corridors[name]["tokens"].shape[:2], UNITS)
        assert np.abs(np.array(after[name]) - np.array(before[name])).max() > 1e-4


def moved(fuse, corridors):
    """How far the sounds' stream moves when only the words change."""
    fuse(corridors)
    before, _ = fuse.read(corridors)
    after, _ = fuse.read(change(corridors, "text", by=np.float32([0, 0, 3, 0, 0, -3])))
    return np.abs(np.array(after["audio"]) - np.array(before["audio"])).max()


def test_bottleneck_streams_exchange_from_the_second_layer_on(corridors):
    one = FUSIONS["bottleneck"](units=UNITS, num_layers=1)
    two = FUSIONS["bottleneck"](units=UNITS, num_layers=2)
    assert moved(one, corridors) == 0
    assert moved(two, corridors) > 1e-4


def test_bottleneck_lets_through_no_more_than_the_latents_hold(corridors):
    """One latent of 4 units moves the sounds' 28 numbers in 4 directions at most."""
    import tensorflow as tf

    def directions(num_latents):
        fuse = FUSIONS["bottleneck"](units=4, num_heads=1, num_latents=num_latents)
        fuse(corridors)
        words = tf.constant(corridors["text"]["tokens"][:1])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(words)
            row = {
                name: {key: tf.constant(value[:1]) for key, value in one.items()}
                for name, one in corridors.items()
            }
            row["text"]["tokens"] = words
            heard = fuse.read(row)[0]["audio"]
        # Vectorised (`pfor`), this aborts the process on TensorFlow 2.21.
        jacobian = tape.jacobian(heard, words, experimental_use_pfor=False)
        jacobian = jacobian.numpy().reshape(28, 24)
        sizes = np.linalg.svd(jacobian, compute_uv=False)
        return np.sum(sizes > 1e-5 * sizes[0])

    assert 1 <= directions(1) <= 4 < directions(3)


def test_late_keeps_each_modality_to_itself(corridors):
    fuse = FUSIONS["late"](units=UNITS)
    before = fuse(corridors)
    after = fuse(change(corridors, "text"))
    for name in ("image", "audio"):
        np.testing.assert_array_equal(after[name], before[name])
    assert np.abs(np.array(after["text"]) - np.array(before["text"])).max() > 1e-4
