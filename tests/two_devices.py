"""The same recipe on one device and on two of a process that has two CPU devices.

    python tests/two_devices.py FOLDER SCENARIO...

Prints, as JSON, how far weights and history are apart. A process of its own, because
TensorFlow takes its devices once.
"""

import contextlib
import csv
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmkeras import config, digits, manifest, progress, train

WORDS = {"a": "apple and ant", "b": "bear or bird"}
STILL = ["fusion.dropout=0", "train.optimizer=sgd", "train.learning_rate=0.05"]

# 21 train rows in steps of 8: the last one has 5, 3 for one device and 2 for the other.
TEXTS = {
    "name": "texts",
    "data": {
        "inputs": {
            "text": {"kind": "text", "length": 4},
            "more": {"kind": "tabular", "numbers": ["size"]},
        },
        "targets": {"label": "classification", "kind": "classification"},
    },
    "branches": {
        "text": {"kind": "bag", "units": 4, "dropout": 0},
        "more": {"kind": "tokens", "units": 4},
    },
    "fusion": {"kind": "concat", "units": 4, "hidden": 4},
    "augment": {"word_dropout": 0.2, "modality_dropout": 0.2},
    "train": {"epochs": 2, "batch_size": 8, "patience": 0, "baselines": False},
}

SCENARIOS = {
    "plain": [],
    "uncertainty": ["train.loss_weights=uncertainty"],
    "blending": ["train.balance=blending"],
    "verification": ["data.targets={label: verification}", "train.clip_norm=0.1"],
    "clipped": ["train.clip_norm=0.1"],
    "averages": ["train.ema_momentum=0.8"],
    "bfloat16": ["train.precision=mixed_bfloat16"],
    "replica": ["train.batch_size=4", "train.batch_size_per=replica"],
}


def write_texts(folder):
    """The manifest: some cells of each input and of one target are empty."""
    path = folder / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "size", "label", "kind", "split"])
        for number in range(26):
            label = "ab"[number % 2]
            text = "" if number % 6 == 4 else f"{WORDS[label]} {number % 5}"
            size = "" if number % 7 == 3 else number % 4
            kind = "" if number % 5 == 2 else "xyz"[number % 3]
            split = "train" if number < 21 else "valid"
            writer.writerow([text, size, label, kind, split])
    return path


def recipe_of(folder, name, strategy):
    """A scenario's recipe; `digits` is the one with three modalities."""
    own = [*STILL, f"train.strategy={strategy}"]
    if name == "digits":
        return three_modalities(folder, own)
    if name in PRETRAINED:
        return PRETRAINED[name](folder, own)
    manifest_csv = folder / "rows.csv"
    if not manifest_csv.exists():
        write_texts(folder)
    changes = SCENARIOS[name]
    if strategy == "one" and name == "replica":
        changes = []  # as many rows a step, said in the other way
    return config.parse(TEXTS, [f"data.manifest={manifest_csv}", *own, *changes])


def three_modalities(folder, changes):
    """48 train rows of text, picture and sound in steps of 11: the last one has 4."""
    if not (folder / "digits").exists():
        digits.write(folder / "digits", rows=60, seed=0)
    tree = {
        "name": "digits",
        "data": {
            "manifest": str(folder / "digits" / "manifest.csv"),
            "inputs": {
                "text": {"kind": "text", "length": 8},
                "image": {"kind": "image", "size": 16},
                "audio": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.3},
            },
            "targets": {"label": "classification"},
        },
        "branches": {
            "text": {"kind": "lstm", "units": 8, "embedding_dim": 8, "dropout": 0},
            "image": {"kind": "cnn", "filters": 4, "num_blocks": 2, "units": 8},
            "audio": {"kind": "cnn", "units": 8, "num_layers": 2},
        },
        "fusion": {"kind": "concat", "units": 16, "hidden": 16},
        "train": {**TEXTS["train"], "batch_size": 11},
    }
    return config.parse(tree, [*changes, "train.learning_rate=0.01"])


def frozen(folder, changes):
    """Texts, sounds, and pictures through a frozen MobileNet."""
    weights = folder / "mobilenet.weights.h5"
    if not weights.exists():
        write_mobilenet(weights)
    photo = f"branches.image={{kind: mobilenet, weights: {weights}, units: 8}}"
    return three_modalities(folder, [*changes, "data.inputs.image.size=32", photo])


def write_mobilenet(path):
    """Random weights, and batch statistics that keep what pictures differ in.

    Without, its features are of the size of 1e-11: the tokens of all rows are the same
    float32 numbers, and what is trained is how they were rounded.
    """
    keras.utils.set_random_seed(0)
    make = keras.applications.MobileNetV3Small
    backbone = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    pixels = np.random.default_rng(0).uniform(0, 255, (64, 32, 32, 3))
    backbone(pixels.astype("float32"), training=True)
    backbone.save_weights(path)


def tuned(folder, changes):
    """Texts through a BERT of two small blocks, all of it trained."""
    preset = folder / "bert"
    if not preset.exists():
        write_bert(str(preset))
    branch = f"{{kind: kerashub, preset: {preset}, trainable: true, units: 8}}"
    tree = three_modalities(folder, changes).model_dump(by_alias=True)
    tree["data"]["inputs"] = {"text": {"kind": "text", "length": 8}}
    return config.parse({**tree, "branches": {}}, [f"branches.text={branch}"])


def write_bert(folder):
    """A folder in KerasHub's format."""
    import keras_hub

    letters = [chr(97 + at) for at in range(26)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    words += [f"##{letter}" for letter in letters]
    keras.utils.set_random_seed(0)
    keras_hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    ).save_to_preset(folder)
    keras_hub.models.BertTokenizer(words, lowercase=True).save_to_preset(folder)


PRETRAINED = {"frozen": frozen, "tuned": tuned}


def fit(recipe, folder, resume=False):
    """(weights, history) of a run."""
    found = manifest.read(recipe.data)
    made = train.fit(recipe, found, folder=folder, log=lambda _: None, resume=resume)
    with open(made.history_csv, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # `nearest` is told of the rows of each device by itself, see docs/scaling.md.
    told = [key for key in rows[0] if "nearest" not in key]
    history = np.array([[float(row[key]) for key in told] for row in rows])
    return made.model.get_weights(), history


def apart(one, two):
    """The largest difference of two lists of arrays."""
    pairs = zip(one, two, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs if a.dtype.kind == "f")


class Broken(Exception):
    """Ends a fit in the middle of an epoch."""


def stopped_and_resumed(recipe, folder):
    """(weights, history) of a run that was stopped after its fifth step."""
    plain, seen = progress.Epochs.on_train_batch_end, []

    def watched(self, batch, logs=None):
        plain(self, batch, logs)
        seen.append(batch)
        if len(seen) == 5:
            raise Broken

    progress.Epochs.on_train_batch_end = watched
    try:
        fit(recipe, folder)
    except Broken:
        pass
    return fit(recipe, folder, resume=True)


def main(folder, names):
    """Compares."""
    (device,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, two)
    # Each device draws units of its own to drop; heads of blending always drop some.
    keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
    found = {}
    for name in names:
        begun = []
        with watched_builds(begun):
            one = fit(recipe_of(folder, name, "one"), folder / f"{name}-one")
        mirrored = recipe_of(folder, name, "mirrored")
        many = fit(mirrored, folder / f"{name}-two")
        found[name] = {
            "weights": apart(one[0], many[0]),
            "history": float(np.abs(one[1] - many[1]).max()),
            "moved": apart(one[0], begun[0]),
        }
        if name == "plain":
            kept = recipe_of(folder, name, "mirrored")
            kept.train.checkpoint_steps = 1
            again = stopped_and_resumed(kept, folder / "again")
            found[name]["resumed"] = [
                apart(again[0], many[0]),
                float(np.abs(again[1] - many[1]).max()),
            ]
    print(json.dumps(found))


@contextlib.contextmanager
def watched_builds(begun):
    """Adds the weights that each model begins with to a list."""
    plain = train.build

    def build(*arguments):
        made = plain(*arguments)
        begun.append(made.get_weights())
        return made

    train.build = build
    try:
        yield
    finally:
        train.build = plain


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
