"""Fit: decoded rows in, a run folder out."""

import csv

import keras
import numpy as np

from mmkeras import model, run
from mmkeras.train.fitting import compile_model, fit_one
from mmkeras.train.prepared import prepare

__all__ = ["compile_model", "fit", "fit_alone", "prepare"]


def fit(recipe, rows, *, folder, log=print):
    """Trains the model of a recipe, and each modality alone for comparison.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest` read with `recipe.data`.
        folder: of the run; made here, must not hold anything.
        log: called with one line of text now and then.

    Returns:
        The `run.Run`, its model with the weights of the best epoch.

    Raises:
        ManifestError: no usable train rows, one label only, refused rows where the
            recipe says `data.on_bad_row: refuse`, or a file that broke meanwhile.
        FileExistsError: the folder is not empty.
        RecipeError: options of the recipe that do not fit each other.
        FileNotFoundError: weights that are not there.
        FloatingPointError: the loss is no longer a number.
    """
    run.require_vacant(folder)  # now, not after all files were decoded
    keras.utils.set_random_seed(recipe.train.seed)
    prepared = prepare(recipe, rows, log=log)
    network = model.build(recipe, prepared.decoders, prepared.tasks)
    made = run.create(folder, recipe)
    made.__dict__.update(
        decoders=prepared.decoders, tasks=prepared.tasks, model=network
    )
    _write_inputs(made, prepared)
    made.write_outline(model.outline(network, recipe))
    history = fit_one(recipe, prepared, network, "fusion", logs=made.logs)
    _write_history(made.history_csv, history)
    network.save(made.model_file)
    if recipe.train.baselines and len(prepared.decoders) > 1:
        made.baselines.mkdir()
        for name in prepared.decoders:
            alone = fit_alone(recipe, prepared, name)
            alone.save(made.baselines / f"{name}.keras")
    return made


def fit_alone(recipe, prepared, name):
    """The same model with one input only, on the same rows; a `keras.Model`."""
    keras.utils.set_random_seed(recipe.train.seed)
    alone = model.build(recipe, {name: prepared.decoders[name]}, prepared.tasks)
    fit_one(recipe, prepared, alone, f"{name} alone")
    return alone


def _write_inputs(made, prepared):
    """What a run must know of its data, before the first step."""
    made.write_json(made.labels_json, prepared.labels)
    made.vocabulary.mkdir()
    for decoder in prepared.decoders.values():
        if not decoder.is_file:
            decoder.save(made.vocabulary)
    prepared.manifest.write_rejected(made.rejected_csv)


def _write_history(path, history):
    """One row an epoch: loss and metrics, train and validation."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True)):
            writer.writerow([epoch, *(f"{np.float32(value):.6g}" for value in values)])
