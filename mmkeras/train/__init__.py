"""Fit: decoded rows in, a run folder out."""

import contextlib
import csv
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmkeras import distribution, evaluate, model, run
from mmkeras.branches import own
from mmkeras.config import RecipeError
from mmkeras.train import measuring, resuming, sizing, tracking
from mmkeras.train.checkpoints import Checkpoints
from mmkeras.train.compiling import build, compile_model
from mmkeras.train.fitting import UNTOLD, asked, fit_one, require_whole_calls
from mmkeras.train.prepared import prepare

__all__ = ["compile_model", "fit", "fit_alone", "prepare"]


def fit(recipe, rows, *, folder, log=print, resume=False, callbacks=()):
    """Trains the model of a recipe, and each modality alone for comparison.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest` read with `recipe.data`.
        folder: of the run; made here, must not hold anything but a run to go on with.
        log: called with one line of text now and then.
        resume: go on with the run in the folder from its last checkpoint; its weights
            will be those of a run that was never interrupted. Begins where there is
            none yet.
        callbacks: one or several `keras.callbacks.Callback`s that watch the fit of the
            model, not those of each modality alone; they begin anew where a run goes
            on.

    Returns:
        The `run.Run`, its model with the weights of the best epoch.

    Raises:
        ManifestError: no usable train rows, one label only, refused rows where the
            recipe says `data.on_bad_row: refuse`, or a file that broke meanwhile.
        FileExistsError: the folder is not empty, or another process trains into it.
        RecipeError: options of the recipe that do not fit each other; another recipe
            than the one to go on with.
        FileNotFoundError: weights that are not there.
        FloatingPointError: the loss is no longer a number.
        NotWrittenError: the disk is full, or the folder cannot be written.
        KeyboardInterrupt: Ctrl-C, after a checkpoint of the step at hand.
        WorkerLostError: another worker of the run is gone.
    """
    _require_one_fold(recipe.data)
    callbacks = _callbacks(callbacks)
    recipe, sizes = sizing.sized(recipe, rows, folder if resume else None, log)
    # First of all: the workers of a run find each other before TensorFlow does more.
    strategy = distribution.strategy_of(recipe.train, recipe.branches)
    with distribution.scope(strategy):
        is_chief = distribution.here().is_chief
    if is_chief and (not resume or Path(folder).is_file()):
        run.require_vacant(folder)  # now, not after all files were decoded
    held = resuming.lock(folder) if is_chief else contextlib.nullcontext()
    with held, distribution.loss_of_workers_told():
        begun = resuming.begun(folder, recipe) if resume else None
        if begun and begun.finished:
            log(f"{folder} is a finished run: nothing is left to train")
            return run.open_folder(folder)
        made = _train(recipe, rows, begun or folder, strategy, log, callbacks)
        if sizes and is_chief:
            made.note(batch_size=sizes)
        return made


def _callbacks(given):
    """The user's callbacks, a tuple."""
    given = tuple(keras.tree.flatten(given))
    for each in given:
        if not isinstance(each, keras.callbacks.Callback):
            raise TypeError(f"expected a keras.callbacks.Callback, got {each!r}")
    return given


def _require_one_fold(data):
    if data.folds and not data.fold:
        raise RecipeError(
            f"data.folds: {data.folds} folds are as many runs, and this trains one. "
            "Say which with data.fold, as 1, or train all: `mmkeras train`, from "
            "Python train.folds.cross_validate"
        )


def _train(recipe, rows, place, strategy, log, callbacks):
    """A new run in a folder, or the rest of one that was begun."""
    if recipe.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    _require_own(recipe.branches)
    keras.utils.set_random_seed(recipe.train.seed)
    prepared = prepare(recipe, rows, log=log)
    with distribution.scope(strategy):
        is_chief = distribution.here().is_chief
        counts = prepared.counts | {"train": prepared.rows_an_epoch}
        distribution.require_rows(counts, recipe.train)
        distribution.require_own_rows(recipe.augment)
        require_whole_calls(recipe.train, counts["train"])
        network = build(recipe, prepared.decoders, prepared.tasks)
        distribution.wait()  # all have looked at the folder before one writes into it
        made = place if isinstance(place, run.Run) else _made(place, recipe, is_chief)
        made.__dict__.update(decoders=prepared.decoders, tasks=prepared.tasks)
        store = Checkpoints(made.checkpoints, log, is_chief, recipe.train.soup)
        with tracking.begun(made if is_chief else None, log) as logs:
            logs = logs._replace(own=callbacks)
            alone = _fit_all(recipe, prepared, network, made, store, logs)
    if is_chief:
        if strategy is not None:  # those that are read anew need none of its devices
            made.__dict__.pop("model", None)
            alone.clear()
        _decide(recipe, made, prepared, alone)
        store.end()
    return made


def _require_own(branches):
    """Faults of one's own branches, told before any file is decoded."""
    try:
        own.imported(branches)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _made(folder, recipe, is_chief):
    """The run that begins in a folder; the chief alone writes it."""
    return run.create(folder, recipe) if is_chief else run.Run(folder)


def _fit_all(recipe, prepared, network, made, store, logs):
    """Fits the model and the baselines, those that are not saved yet.

    Returns:
        {input: model of it alone} of those that were fitted now.
    """
    is_chief, fitted = distribution.here().is_chief, {}
    if not made.model_file.is_file():
        if is_chief:
            _write_inputs(made, prepared)
            made.write_outline(model.outline(network, recipe))
        measured = measuring.Measured()
        history = fit_one(recipe, prepared, network, "fusion", logs, store, measured)
        if is_chief:
            _write_history(made.history_csv, history)
            _write_measured(made, "fusion", measured, store.log)
        _save(network, made.model_file, store)
        made.__dict__["model"] = network
    # One curve in TensorBoard; the user's callbacks watch the model alone.
    logs = logs._replace(folder=None, own=())
    if recipe.train.baselines and len(prepared.decoders) > 1:
        for name in prepared.decoders:
            file = made.baseline_file(name)
            if not file.is_file():
                measured = measuring.Measured()
                alone = fit_alone(recipe, prepared, name, logs, store, measured)
                if is_chief:
                    _write_measured(made, f"{name} alone", measured, store.log)
                _save(alone, file, store)
                fitted[name] = alone
    return fitted


def fit_alone(recipe, prepared, name, logs=UNTOLD, store=None, measured=None):
    """The same model with one input only, on the same rows; a `keras.Model`.

    Args:
        recipe: a `recipe.Recipe`.
        prepared: what `prepare` gave.
        name: of the input.
        logs: a `tracking.Logs`.
        store: `checkpoints.Checkpoints` of a run; None for none.
        measured: a `measuring.Measured` that is to clock it; None for none.
    """
    keras.utils.set_random_seed(recipe.train.seed)
    alone = build(recipe, {name: prepared.decoders[name]}, prepared.tasks)
    fit_one(recipe, prepared, alone, f"{name} alone", logs, store, measured)
    return alone


def _write_measured(made, title, measured, log):
    """Says what a fit took, and keeps it in `environment.json`."""
    log(measured.line(title))
    told = made.read_json(made.environment_json).get("fits", {})
    made.note(fits={**told, title: measured.found})


def _save(network, file, store):
    """Writes what was fitted; its checkpoints have served their turn."""
    if not store.is_writer:
        return
    file.parent.mkdir(exist_ok=True)
    with run.replacing(file) as partial:
        network.save(partial)
    store.clear()


def _decide(recipe, made, prepared, alone):
    """Thresholds and the like, chosen on rows that are decoded already.

    Args:
        recipe: a `recipe.Recipe`.
        made: its `run.Run`.
        prepared: a `Prepared`.
        alone: {input: its `keras.Model`} of the baselines that were fitted just now.
    """
    judged = {split for task in prepared.tasks.values() for split in task.judged_on}
    if not judged:
        return  # before a model is loaded for it
    models = {"fusion": made.model, **alone}
    for name in prepared.decoders:
        if name not in models and made.baseline_file(name).is_file():
            models[name] = made.baseline(name)
    models = {
        name: asked(recipe, prepared, network, judged)
        for name, network in models.items()
    }
    splits = {split: prepared.manifest.split(split) for split in judged}
    if decisions := evaluate.decide(prepared.tasks, models, splits):
        made.write_json(made.decisions_json, decisions)
        del made.tasks  # the next to ask gets them as decided


def _write_inputs(made, prepared):
    """What a run must know of its data, before the first step."""
    made.write_json(made.labels_json, prepared.labels)
    shutil.rmtree(made.vocabulary, ignore_errors=True)  # of a run that was killed
    made.vocabulary.mkdir()
    for decoder in prepared.decoders.values():
        if not decoder.is_file:
            decoder.save(made.vocabulary)
    prepared.manifest.write_rejected(made.rejected_csv)


def _write_history(path, history):
    """One row an epoch: loss and metrics, train and validation."""
    with (
        run.replacing(path) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True)):
            writer.writerow([epoch, *(f"{np.float32(value):.6g}" for value in values)])
