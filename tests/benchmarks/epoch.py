"""An epoch of three modalities beside that of a Keras script written by hand.

    python tests/benchmarks/epoch.py data/av_digits/manifest.csv --epochs 4

The recipe `three_modalities` with MFCCs, as a run fits it (every row decoded once and
held in memory, MFCCs in the model), and the same network behind its MFCCs, fitted on a
`keras.utils.PyDataset` that opens pictures with Pillow and computes MFCCs with librosa
as its batches are asked for. Both without augmentation, in turns in one process; the
median of all epochs but each fit's first, which traces. Validation is not in it.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import librosa
import numpy as np
from PIL import Image
from training import Clock

from mmkeras import config, manifest, train
from mmkeras.train import compiling, fitting
from mmkeras.train.checkpoints import Checkpoints


class ByHand(keras.utils.PyDataset):
    """Batches of a manifest's train rows, decoded as they are asked for.

    Args:
        rows: a `manifest.Manifest` of the train rows.
        targets: {target: (rows, ...) array}.
        decoders: {input: decoder}: sizes, rates and the vocabulary.
        batch_size: rows a batch.
    """

    def __init__(self, rows, targets, decoders, batch_size):
        super().__init__()
        self.cells = {name: rows.cells(name) for name in ("image", "audio", "text")}
        self.targets, self.decoders, self.batch_size = targets, decoders, batch_size
        words = decoders["text"].vocabulary
        self.numbers = {word: number for number, word in enumerate(words)}
        self.order = np.arange(len(rows))
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def on_epoch_end(self):
        """Shuffles."""
        np.random.default_rng().shuffle(self.order)

    def __getitem__(self, at):
        numbers = self.order[at * self.batch_size : (at + 1) * self.batch_size]
        given = {}
        for name, read in (
            ("image", self._picture),
            ("audio", self._sound),
            ("text", self._text),
        ):
            cells = [self.cells[name][number] for number in numbers]
            given[name] = np.stack([read(cell) for cell in cells])
            given[f"{name}_present"] = np.array([cell != "" for cell in cells])
        given["audio_samples"] = np.full(
            len(numbers), self.decoders["audio"].clip_samples, "int32"
        )
        return given, {name: each[numbers] for name, each in self.targets.items()}

    def _picture(self, path):
        size = self.decoders["image"].size
        if not path:
            return np.zeros((size, size, 3), "float32")
        picture = Image.open(path).convert("RGB").resize((size, size))
        return np.asarray(picture, "float32") / 255

    def _sound(self, path):
        decoder = self.decoders["audio"]
        wave = np.zeros(decoder.clip_samples, "float32")
        if path:
            found, _ = librosa.load(path, sr=decoder.rate_hz, mono=True)
            found = found[: len(wave)]
            wave[: len(found)] = found
        hop = decoder.rate_hz // 100
        return librosa.feature.mfcc(
            y=wave,
            sr=decoder.rate_hz,
            n_mfcc=20,
            n_mels=40,
            n_fft=256,
            win_length=5 * hop // 2,
            hop_length=hop,
        ).T.astype("float32")

    def _text(self, text):
        length = self.decoders["text"].length
        ids = [self.numbers.get(word, 1) for word in text.lower().split()][:length]
        return np.array(ids + [0] * (length - len(ids)), "int32")


def behind(network):
    """The network from its MFCCs on, with the same layers: input `audio` is frames."""
    branch = network.get_layer("audio_branch")
    cepstra = branch.get_layer("mfcc").output
    beside = {key: one for key, one in branch.input.items() if key != "audio"}
    rest = keras.Model({"audio": cepstra, **beside}, branch.output)
    given = {**network.input, "audio": keras.Input(cepstra.shape[1:], name="audio")}
    made = rest({key: given[key] for key in rest.input})
    (node,) = [
        each
        for each in branch._inbound_nodes
        if each.output_tensors[0] not in keras.tree.flatten(branch.output)
    ]
    keys = keras.tree.flatten({key: key for key in branch.output})
    tensors = dict(zip(keys, node.output_tensors, strict=True))
    others = {key: one for key, one in network.input.items() if key != "audio"}
    core = keras.Model({**others, **tensors}, network.output)
    return keras.Model(given, core({**{key: given[key] for key in others}, **made}))


def ours(recipe, prepared, folder):
    """Seconds of epochs, as a run fits, (clock, cores)."""
    clock, plain = Clock(), fitting.callbacks
    fitting.callbacks = lambda *given: [clock, *plain(*given)]
    keras.utils.set_random_seed(0)
    network = compiling.build(recipe, prepared.decoders, prepared.tasks)
    fitting.fit_one(recipe, prepared, network, "fusion", store=Checkpoints(folder))
    fitting.callbacks = plain
    return clock.epochs


def theirs(recipe, prepared):
    """Seconds of epochs of the script."""
    network = behind(compiling.build(recipe, prepared.decoders, prepared.tasks))
    rows = prepared.manifest.split("train")
    size = recipe.train.batch_size
    batches = ByHand(rows, prepared.targets["train"], prepared.decoders, size)
    fitting.compile_model(recipe, network, prepared.tasks, len(batches))
    clock = Clock()
    network.fit(batches, epochs=recipe.train.epochs, callbacks=[clock], verbose=0)
    return clock.epochs


def main():
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", metavar="MANIFEST")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    changes = [
        f"data.manifest={options.manifest}",
        f"train.epochs={options.epochs}",
        "train.schedule=constant",
        "branches.audio.features=mfcc",
        "augment={}",
    ]
    recipe = config.load(config.shipped("three_modalities.yaml"), changes)
    prepared = train.prepare(recipe, manifest.read(recipe.data), log=lambda _: None)
    found = {"by hand": [], "mmkeras": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.turns):
            found["by hand"] += theirs(recipe, prepared)
            found["mmkeras"] += ours(recipe, prepared, Path(folder) / str(turn))
    median = {name: np.median(each, axis=0) for name, each in found.items()}
    print(f"{prepared.counts['train']} rows an epoch")
    print("| | seconds an epoch | of cores |\n| --- | --- | --- |")
    for name, (clock, cores) in median.items():
        print(f"| {name} | {clock:.1f} | {cores:.1f} |")
    ratio = median["mmkeras"] / median["by hand"]
    print(f"| mmkeras / by hand | {ratio[0]:.2f} | {ratio[1]:.2f} |")


if __name__ == "__main__":
    main()
