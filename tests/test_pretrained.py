"""Branches on pretrained backbones of KerasHub and TF Hub, and on word vectors."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import modalities, run  # noqa: F401  registers the layers
from mmkeras.branches import BRANCHES, pretrained, whisper

TEXT = {"length": 6, "padding_id": 0}
KINDS = {
    "bert": ("text", "kerashub", TEXT),
    "hub": ("text", "hub", {"length": 6}),
    "vectors": ("text", "vectors", {"length": 6, "vocabulary": ["", "?", *"abcdef"]}),
    "vit": ("image", "kerashub", {"size": 16}),
    "whisper": ("audio", "kerashub", {"rate_hz": 16000, "clip_samples": 6400}),
}
CASES = [(kind, {}) for kind in KINDS]
CASES += [
    (kind, options)
    for kind in ("bert", "vit", "whisper")
    for options in ({"lora_rank": 2}, {"adapter_units": 3}, {"trainable": True})
]


def told(case):
    return "-".join([case[0], *map(str, case[1])])


every_case = pytest.mark.parametrize("case", CASES, ids=told)


@pytest.fixture(scope="module")
def presets(tiny_bert, tiny_vit, tmp_path_factory):
    """What each kind loads, {kind: options}."""
    import keras_hub

    folder = tmp_path_factory.mktemp("presets")
    keras_hub.models.WhisperBackbone(
        vocabulary_size=20,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
    ).save_to_preset(str(folder / "whisper"))
    (folder / "vectors.txt").write_text("a 1 0 2\nb 0 1 0\nc 1 1 1\n")
    hub_bert = _sibling("hub_bert")
    vocabulary = "assets/tokenizer/vocabulary.txt"
    return {
        "bert": {"preset": tiny_bert},
        "hub": hub_bert.write(tiny_bert, vocabulary, folder),
        "vectors": {"file": str(folder / "vectors.txt")},
        "vit": {"preset": tiny_vit},
        "whisper": {"preset": str(folder / "whisper")},
    }


def _sibling(name):
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def branches(presets):
    """Each case is built once; no test changes it."""
    made = {}

    def make(case):
        if told(case) not in made:
            made[told(case)] = build(presets, *case)
        return made[told(case)]

    return make


def build(presets, kind, options=None):
    modality, name, geometry = KINDS[kind]
    keras.utils.set_random_seed(1)
    given = {"units": 8} | presets[kind] | (options or {})
    return BRANCHES[modality][name]("it", **geometry, **given)


def inputs(kind, rng):
    """Three rows: whole, half and missing."""
    present = np.array([True, True, False])
    modality = KINDS[kind][0]
    if modality == "text":
        ids = rng.integers(2, 8, (3, 6)).astype("int32")
        ids[1, 3:] = 0
        return {"it": ids, "it_present": present}
    if modality == "image":
        pixels = rng.random((3, 16, 16, 3)).astype("float32")
        return {"it": pixels, "it_present": present}
    return {
        "it": rng.standard_normal((3, 6400)).astype("float32"),
        "it_samples": np.array([6400, 3200, 6400], "int32"),
        "it_present": present,
    }


@every_case
def test_gives_the_corridor_and_missing_is_masked(case, branches, rng):
    rows = inputs(case[0], rng)
    out = branches(case)(rows)
    mask = np.array(out["mask"])
    assert out["tokens"].shape == (*mask.shape, 8) and mask.dtype == bool
    assert mask[0].all() and not mask[2].any()
    assert mask[1].sum() == (mask.shape[1] if "vit" in case[0] else mask.shape[1] // 2)
    other = {key: value.copy() for key, value in rows.items()}
    other["it"][2] = 3  # what stands where nothing is
    poisoned = np.array(branches(case)(other)["tokens"])
    np.testing.assert_allclose(
        poisoned[mask], np.array(out["tokens"])[mask], rtol=1e-4, atol=1e-5
    )


@every_case
def test_a_row_does_not_depend_on_its_neighbours(case, branches, rng):
    branch, rows = branches(case), inputs(case[0], rng)
    alone = branch({key: value[1:2] for key, value in rows.items()})["tokens"]
    np.testing.assert_allclose(alone, branch(rows)["tokens"][1:2], rtol=1e-4, atol=1e-5)


@every_case
def test_save_and_load_agree(case, branches, rng, tmp_path):
    branch, rows = branches(case), inputs(case[0], rng)
    branch.save(tmp_path / "branch.keras")
    again = keras.saving.load_model(tmp_path / "branch.keras")
    np.testing.assert_allclose(
        again(rows)["tokens"], branch(rows)["tokens"], rtol=1e-5, atol=1e-6
    )
    again.save(tmp_path / "twice.keras")  # what a loaded one carries is whole


@every_case
def test_served_equals_called(case, branches, rng, tmp_path):
    branch, rows = branches(case), inputs(case[0], rng)
    archive = keras.export.ExportArchive()
    archive.track(branch)
    specs = {
        key: tf.TensorSpec((None, *value.shape[1:]), value.dtype, name=key)
        for key, value in rows.items()
    }
    archive.add_endpoint("serve", lambda given: branch(given), [specs])
    archive.write_out(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    tensors = {key: tf.constant(value) for key, value in rows.items()}
    np.testing.assert_allclose(
        served.serve(tensors)["tokens"], branch(rows)["tokens"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_compiled_with_xla_is_finite(kind, branches, rng):
    if kind == "hub":
        pytest.skip("what a SavedModel of others does under XLA is theirs")
    branch, rows = branches((kind, {})), inputs(kind, rng)
    pooled = keras.ops.mean(branch.output["tokens"], axis=1)
    network = keras.Model(branch.input, keras.layers.Dense(1)(pooled))
    network.compile("sgd", "mse", jit_compile=True)
    assert np.isfinite(network.train_on_batch(rows, np.zeros((3, 1))))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", ["bert", "vectors", "vit", "whisper"])
def test_half_precision_gives_finite_tokens(kind, precision, presets, rng):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        tokens = build(presets, kind)(inputs(kind, rng))["tokens"]
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(np.array(tokens, "float32")).all()


@pytest.mark.parametrize("kind", ["bert", "vit", "whisper"])
def test_what_is_trained_is_what_was_asked_for(kind, branches):
    counts = {}
    for option in ({}, {"lora_rank": 2}, {"adapter_units": 3}, {"trainable": True}):
        backbone = branches((kind, option)).get_layer("it_backbone")
        weights = backbone.trainable_weights
        counts[told((kind, option))] = sum(int(np.prod(w.shape)) for w in weights)
        names = {weight.path.split("/")[-1] for weight in weights}
        assert "lora_rank" not in option or names <= {
            "lora_kernel_a",
            "lora_kernel_b",
            "bias",
        }
    frozen, lora, adapters, full = counts.values()
    assert frozen == 0 < min(lora, adapters) and max(lora, adapters) < full


@pytest.mark.parametrize("kind", ["bert", "vit", "whisper"])
@pytest.mark.parametrize("option", ["lora_rank", "adapter_units"])
def test_at_first_lora_and_adapters_change_nothing(kind, option, branches, rng):
    rows = inputs(kind, rng)
    outputs = [
        branches((kind, options)).get_layer("it_backbone")(
            {key: value for key, value in rows.items() if key != "it_present"}
        )["it_features"]
        for options in ({}, {option: 2 if option == "lora_rank" else 3})
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_lora_is_merged_when_saved(presets, rng, tmp_path):
    branch, rows = build(presets, "bert", {"lora_rank": 2}), inputs("bert", rng)
    for weight in branch.get_layer("it_backbone").trainable_weights:
        weight.assign(rng.standard_normal(weight.shape))
    branch.save(tmp_path / "branch.keras")
    again = keras.saving.load_model(tmp_path / "branch.keras")
    np.testing.assert_allclose(
        again(rows)["tokens"], branch(rows)["tokens"], rtol=1e-4, atol=1e-5
    )


def test_a_frozen_backbone_is_the_same_in_training(branches, rng):
    backbone = branches(("bert", {})).get_layer("it_backbone")
    rows = {"it": inputs("bert", rng)["it"]}
    first, second = (backbone(rows, training=flag) for flag in (True, False))
    np.testing.assert_array_equal(first["it_features"], second["it_features"])


def test_one_way_of_tuning_at_a_time(presets):
    with pytest.raises(ValueError, match="choose one of trainable: True and lora_rank"):
        build(presets, "bert", {"trainable": True, "lora_rank": 2})
    rows = keras.Input((3,))
    plain = keras.Model(rows, keras.layers.Dense(2)(rows), name="plain")
    with pytest.raises(ValueError, match="lora_rank: plain has no attention for LoRA"):
        pretrained.tuned(plain, False, 2, 0)
    with pytest.raises(ValueError, match="adapter_units: plain has no block to adapt"):
        pretrained.tuned(plain, False, 0, 2)


def test_word_vectors_are_those_of_the_file_and_others_are_learnt(presets, rng):
    frozen = build(presets, "vectors")
    layer = frozen.get_layer("it_embedding")
    vectors = np.array(layer(np.arange(8)[None]))[0]
    np.testing.assert_array_equal(vectors[2:5], [[1, 0, 2], [0, 1, 0], [1, 1, 1]])
    assert np.abs(vectors[5:]).min() > 0  # d, e and f are not in the file
    before = [weight.name for weight in layer.trainable_weights]
    tuned = build(presets, "vectors", {"trainable": True}).get_layer("it_embedding")
    after = [weight.name for weight in tuned.trainable_weights]
    assert (before, sorted(after)) == (["learnt"], ["given", "learnt"])
    with pytest.raises(ValueError, match="has none of the 3 words"):
        BRANCHES["text"]["vectors"](
            "it", length=2, vocabulary=["", "?", "z"], **presets["vectors"]
        )


def test_whispers_spectrogram_is_kerashubs(rng):
    import keras_hub

    wave = np.zeros((2, 480_000), "float32")
    wave[:, :16_000] = rng.standard_normal((2, 16_000))
    expected = keras_hub.layers.WhisperAudioConverter()(wave)
    ours = whisper.WhisperMel()(wave)
    assert ours.shape == (2, 3000, 80)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        ("bert", {"preset": "no_such"}, FileNotFoundError, "no backbone at `no_such`"),
        ("vit", {"preset": "no_such"}, FileNotFoundError, "local folder in KerasHub's"),
        ("hub", {"encoder": "/gone"}, FileNotFoundError, "no SavedModel in `/gone`"),
    ],
)
def test_what_is_not_there_is_named(kind, options, error, message, presets):
    with pytest.raises(error, match=message):
        build(presets, kind, options)


def test_sizes_that_do_not_fit_are_named(presets):
    with pytest.raises(ValueError, match="set data.inputs.it.size = 16"):
        BRANCHES["image"]["kerashub"]("it", size=32, **presets["vit"])
    with pytest.raises(ValueError, match="rate_hz = 16000 and clip_seconds to 30"):
        BRANCHES["audio"]["kerashub"](
            "it", rate_hz=8000, clip_samples=800, **presets["whisper"]
        )
    with pytest.raises(ValueError, match="has no encoder of sounds; a Whisper has"):
        BRANCHES["audio"]["kerashub"](
            "it", rate_hz=16000, clip_samples=800, **presets["bert"]
        )


def test_a_preprocessor_is_no_encoder(presets):
    with pytest.raises(ValueError, match="a BERT of TF Hub takes .*input_word_ids"):
        build(presets, "hub", {"encoder": presets["hub"]["preprocessor"]})
    decoder = modalities.make(
        {"it": {"kind": "text", "length": 6}},
        {"it": {"kind": "hub", "preprocessor": presets["hub"]["encoder"]}},
    )["it"]
    with pytest.raises(ValueError, match="has no function `tokenize`"):
        decoder.learn()


TEXTS = [
    "A cat is sitting on the mat.",
    "There's a kitten on the rug",
    "Stock märkets fell sharply today",
    "Wall Street's shares dropped",
]
# Cosines of the first with all that sentence-transformers 6.2 gives of the folder.
COSINES = [[1.0, 0.57619, 0.05343, 0.03161], [0.05343, 0.0447, 1.0, 0.58806]]

ASK = """
import json, sys
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1])
found = served.serve(tf.constant(json.loads(sys.argv[2]))).numpy().tolist()
print(json.dumps([found, sorted(m for m in sys.modules if m.startswith("keras"))]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kerashub", "hub"])
def test_a_real_bert_answers_raw_strings_in_a_fresh_process(kind, minilm, tmp_path):
    """Similarities of sentences come out as the model's own."""
    options = {"preset": minilm}
    if kind == "hub":
        options = _sibling("hub_bert").write(minilm, "vocab.txt", tmp_path)
    choice = {"text": {"kind": kind, **options}}
    decoder = modalities.make({"text": {"kind": "text", "length": 24}}, choice)["text"]
    decoder.learn()
    branch = BRANCHES["text"][kind]("text", **decoder.geometry, **options)
    backbone = branch.get_layer("text_backbone")

    def serve(texts):
        rows, _ = decoder.attempt_batch(texts)
        made = backbone({"text": rows["text"]})
        seen = tf.cast(made["text_visible"], tf.float32)[..., None]
        mean = tf.reduce_sum(made["text_features"] * seen, 1) / tf.reduce_sum(seen, 1)
        return tf.math.l2_normalize(mean, axis=1)

    archive = keras.export.ExportArchive()
    archive.track(branch)
    for resource in decoder.resources:
        archive.track(resource)
    archive.add_endpoint("serve", serve, [tf.TensorSpec([None], tf.string)])
    archive.write_out(str(tmp_path / "served"), verbose=False)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path / "served"), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    vectors, imported = json.loads(done.stdout.splitlines()[-1])
    assert not [name for name in imported if name.startswith("keras_hub")]
    cosines = np.array(vectors) @ np.array(vectors).T
    np.testing.assert_allclose(cosines[[0, 2]], COSINES, atol=5e-4)


def test_a_runs_model_lends_its_backbone_at_any_picture_size(tmp_path):
    """Pretrained here: what one run trained another one freezes."""
    from mmkeras.branches import BRANCHES

    make = BRANCHES["image"]["mobilenet"]
    first = make("photo", size=32, weights=None, trainable=True)
    file = str(tmp_path / "model.keras")
    keras.Model(first.input, first.output, name="mmkeras").save(file)
    second = make("picture", size=64, weights=file)
    given = {each.name: each for each in pretrained.parts(second)[0].layers}
    own = {each.name: each for each in pretrained.parts(first)[0].layers}
    lent, taken = own["MobileNetV3Small"], given["MobileNetV3Small"]
    for one, other in zip(lent.get_weights(), taken.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not second.get_layer("picture_backbone").trainable_weights
    with pytest.raises(ValueError, match="has no vgg16 in it. Name one that was"):
        BRANCHES["image"]["vgg16"]("photo", size=32, weights=file)
