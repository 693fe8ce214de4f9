"""What a training step costs beside Keras' own: seconds a step, as ratios.

    python tests/benchmarks/training.py --rows 640 --epochs 6

Fits the three-modality digits as a run does (rows read and shuffled by `dataset`,
checked numbers, checkpoints at every epoch's end) and by bare `fit` of an equal Keras
model on tensors in memory, in turns in one process. Prints the median seconds a step
and their ratio, of the clock and of this process' cores, which other work on the
machine hardly changes. A minute on two cores.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from mmkeras import config, dataset, digits, manifest, train
from mmkeras.train import compiling, fitting
from mmkeras.train.checkpoints import Checkpoints


def now():
    """Seconds of (the clock, all cores of this process)."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(keras.callbacks.Callback):
    """Seconds of the steps of every epoch but the first, (clock, cores)."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts."""
        self.began = now()

    def on_train_batch_end(self, batch, logs=None):
        """Notes the end of what may be the last step."""
        self.ended = now()

    def on_epoch_end(self, epoch, logs=None):
        """Stops."""
        if epoch:  # the first one traces
            self.epochs.append(self.ended - self.began)


def main():
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe, prepared = made(Path(folder), options)
        steps = -(-prepared.counts["train"] // recipe.train.batch_size)
        ours, theirs = [], []
        for turn in range(options.turns):
            ours += fitted(recipe, prepared, Path(folder) / str(turn))
            theirs += plainly(recipe, prepared, steps)
    each = [np.median(one, axis=0) / steps for one in (theirs, ours)]
    print("| | ms a step | ratio | ms of cores a step | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in zip(("bare `fit` on tensors", "mmkeras"), each, strict=True):
        ratio, ms = found / each[0], 1000 * found
        print(
            f"| {name} | {ms[0]:.1f} | {ratio[0]:.2f} | {ms[1]:.1f} | {ratio[1]:.2f} |"
        )


def made(folder, options):
    """(recipe, prepared) of three modalities; validation is not clocked."""
    csv = digits.write(folder / "digits", rows=options.rows, seed=0)
    changes = [
        f"data.manifest={csv}",
        f"train.epochs={options.epochs}",
        "train.schedule=constant",
        # What a run adds is measured, not what augmentation costs.
        "augment={}",
    ]
    recipe = config.load(config.shipped("digits.yaml"), changes)
    prepared = train.prepare(recipe, manifest.read(recipe.data))
    return recipe, prepared


def fitted(recipe, prepared, folder):
    """Seconds of epochs, as we fit."""
    clock, plain = Clock(), fitting.callbacks
    fitting.callbacks = lambda *given: [clock, *plain(*given)]
    keras.utils.set_random_seed(0)
    network = compiling.build(recipe, prepared.decoders, prepared.tasks)
    store = Checkpoints(folder)
    fitting.fit_one(recipe, prepared, network, "digits", store=store)
    fitting.callbacks = plain
    return clock.epochs


def plainly(recipe, prepared, steps):
    """Seconds of epochs, by Keras' `fit` of the same model on tensors."""
    keras.utils.set_random_seed(0)
    network = compiling.build(recipe, prepared.decoders, prepared.tasks)
    fitting.compile_model(recipe, network, prepared.tasks, steps)
    count = prepared.counts["train"]
    (inputs,) = dataset.ordered(prepared.rows["train"], count, count)
    clock = Clock()
    network.fit(
        inputs,
        prepared.targets["train"],
        batch_size=recipe.train.batch_size,
        epochs=recipe.train.epochs,
        callbacks=[clock],
        verbose=0,
    )
    return clock.epochs


if __name__ == "__main__":
    main()
