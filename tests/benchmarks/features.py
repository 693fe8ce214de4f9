"""What it saves to run a frozen backbone once per file: seconds an epoch, as ratios.

    python tests/benchmarks/features.py --photos 300 --epochs 3

Writes photos of noise, trains a frozen VGG16 at 224 x 224 (random weights: the same
work) on features kept on disk, on features read again by a second run, and by plain
Keras `fit` of the same model, one after the other. Prints seconds and ratios, of the
clock and of this process' cores, which other work on the machine hardly changes, and
the losses. Five minutes on two cores.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from mmkeras import config, dataset, features, manifest, model, train
from mmkeras.train import fitting


def now():
    """Seconds of (the clock, all cores of this process)."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(keras.callbacks.Callback):
    """Seconds of every epoch, (clock, cores)."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts."""
        self.began = now()

    def on_epoch_end(self, epoch, logs=None):
        """Stops."""
        self.seconds.append(now() - self.began)


def main():
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe = config.parse(
            {
                "name": "photos",
                "data": {
                    "manifest": str(photos(Path(folder), options.photos)),
                    "inputs": {"photo": {"kind": "image", "size": 224}},
                    "targets": {"label": "classification"},
                },
                "branches": {"photo": {"kind": "vgg16", "weights": None}},
                # Which units are dropped depends on who draws; the losses should not.
                "fusion": {"dropout": 0},
                "train": {"epochs": options.epochs, "patience": 0},
            }
        )
        rows = manifest.read(recipe.data)
        prepared = train.prepare(recipe, rows)
        features.folder = lambda: Path(folder) / "cache"
        ours, first, later = fitted(recipe, prepared)
        _, again, _ = fitted(recipe, prepared)
        theirs, plain = plainly(recipe, prepared)
    steady = np.min(plain[1:], axis=0)
    print(
        "| | seconds | against plain `fit` | seconds of cores | against plain `fit` |"
    )
    print("| --- | --- | --- | --- | --- |")
    told("plain `fit`, first epoch", plain[0], plain[0])
    told("first epoch, backbone included", first, plain[0])
    told("first epoch of the next run", again, plain[0])
    told("plain `fit`, later epochs", steady, steady)
    told("later epochs", later, steady)
    print("\nlosses of each epoch, training and validation:")
    for name, losses in {"ours": ours, "plain `fit`": theirs}.items():
        print(f"{name}: {losses.round(5).tolist()}")
    print(f"largest difference: {np.abs(ours - theirs).max():.1e}")


def told(what, seconds, plain):
    """Prints a line of the table."""
    cells = [what]
    for mine, theirs in zip(seconds, plain, strict=True):
        faster = theirs / mine
        ratio = f"1 / {faster:.0f}" if faster > 10 else f"{1 / faster:.2f}"
        cells += [f"{mine:.2f}", ratio]
    print("|", " | ".join(cells), "|")


def photos(folder, count):
    """Writes noise as PNG, ten labels; gives the manifest."""
    rng = np.random.default_rng(0)
    path = folder / "manifest.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "label", "split"])
        for number in range(count):
            pixels = rng.integers(0, 256, (28, 28, 3), "uint8").repeat(8, 0)
            keras.utils.save_img(folder / f"{number}.png", pixels.repeat(8, 1))
            split = "valid" if number % 10 == 9 else "train"
            writer.writerow([f"{number}.png", number // 10 % 10, split])
    return path


def losses_of(history):
    """(epochs, 2) losses, training and validation."""
    return np.stack([history["loss"], history["val_loss"]], axis=1)


def fitted(recipe, prepared):
    """(losses, seconds of the first epoch and of a later one), as we fit."""
    clock = Clock()
    plain = fitting.callbacks
    fitting.callbacks = lambda *given: [clock, *plain(*given)]
    keras.utils.set_random_seed(0)
    network = model.build(recipe, prepared.decoders, prepared.tasks)
    began = now()
    history = fitting.fit_one(recipe, prepared, network, "photos")
    whole = now() - began
    fitting.callbacks = plain
    return (
        losses_of(history),
        whole - sum(clock.seconds[1:]),
        np.min(clock.seconds[1:], axis=0),
    )


def plainly(recipe, prepared):
    """(losses, seconds of every epoch) of Keras' `fit` of the same model."""
    keras.utils.set_random_seed(0)
    network = model.build(recipe, prepared.decoders, prepared.tasks)
    count = len(prepared.targets["train"]["label"])
    size = recipe.train.batch_size
    fitting.compile_model(recipe, network, prepared.tasks, -(-count // size))
    clock = Clock()
    history = network.fit(
        dataset.shuffled(
            prepared.rows["train"],
            prepared.targets["train"],
            batch_size=size,
            seed=recipe.train.seed,
        ),
        steps_per_epoch=-(-count // size),
        epochs=recipe.train.epochs,
        shuffle=False,
        validation_data=dataset.labelled(
            prepared.rows["valid"], prepared.targets["valid"], 128
        ),
        callbacks=[clock],
        verbose=0,
    ).history
    return losses_of(history), clock.seconds


if __name__ == "__main__":
    main()
