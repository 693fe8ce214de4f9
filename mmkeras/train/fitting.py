"""One fit: frozen backbones run once per file, then epochs, in one phase or two."""

import functools
from typing import NamedTuple

import keras
import numpy as np

from mmkeras import augment, dataset, distribution, features, model, progress
from mmkeras.config import RecipeError
from mmkeras.train import (
    averaging,
    blending,
    keeping,
    measuring,
    numbers,
    soup,
    tracking,
    weighing,
)
from mmkeras.train.compiling import compile_model, make_state, model_to_fit

# Rows a step of validation.
EVALUATED = 128
UNTOLD = tracking.Logs()
# A training loss above this is none of a model that learns: 100 nats a row.
ABSURD = 100


class Phase(NamedTuple):
    """A part of a fit in which the same weights are trained.

    Attributes:
        title: of the fit.
        number: 0 or 1.
        history: {metric: a value an epoch} before it.
        epochs: its last one, counted from the begin of the fit.
        found: the `checkpoints.State` to go on from, or None.
        budget: a `keeping.Budget`, that of the fit.
    """

    title: str
    number: int
    history: dict
    epochs: int
    found: object = None
    budget: object = None


def fit_one(recipe, prepared, network, title, logs=UNTOLD, store=None, measured=None):
    """Fits a model in one phase, or in two where backbones are frozen at first.

    Args:
        recipe: a `recipe.Recipe`.
        prepared: a `Prepared`.
        network: a model of `model.build`.
        title: what is fitted, for people.
        logs: a `tracking.Logs`.
        store: `checkpoints.Checkpoints`; a fit of this title that they hold goes on.
        measured: a `measuring.Measured` that is to clock it; None for none.

    Returns:
        {metric: a value an epoch}.
    """
    tuned = [
        variable
        for backbone in model.parts(network)[1].values()
        for variable in backbone.trainable_variables
    ]
    epochs = recipe.train.epochs
    frozen = min(recipe.train.frozen_epochs, epochs) if tuned else 0
    phases = {0: frozen or epochs} | ({1: epochs} if 0 < frozen < epochs else {})
    found, history = store and store.newest(title), {}
    if found:
        place = f"epoch {found.meta['epoch'] + 1}, step {found.meta['step'] + 1}"
        store.log(f"{title}: goes on at {place}")
    budget = keeping.Budget(recipe.train)
    for number, last in phases.items():
        for variable in tuned:
            variable.trainable = number == 1 or not frozen
        if found and found.meta["phase"] > number:
            continue  # its weights and its history are those that the next began with
        phase = Phase(title, number, history, last, found, budget)
        history = _fit_phase(recipe, prepared, network, phase, logs, store, measured)
        found = None
        if budget.spent:
            break
    for variable in tuned:
        variable.trainable = True
    return history


def _fit_phase(recipe, prepared, network, phase, logs, store, measured):
    options, measured = recipe.train, measured or measuring.Measured()
    fitted, rows = _on_features(recipe, prepared, network, phase.title)
    names = [name for name in recipe.data.inputs if f"{name}_present" in fitted.input]
    kinds = {name: recipe.data.inputs[name]["kind"] for name in names}
    counts, place = prepared.counts, distribution.here()
    batch_size = distribution.batch_size(options)
    steps = -(-prepared.rows_an_epoch // batch_size)
    batches = functools.partial(
        dataset.shuffled,
        *prepared.epoch(rows["train"]),
        batch_size=batch_size,
        seed=options.seed,
        augment=(
            augment.changes(recipe.augment, kinds, _words(prepared, names)),
            augment.mixer(recipe.augment, kinds),
        ),
        share=prepared.share(place.share),
    )
    compile_model(recipe, fitted, prepared.tasks, steps, options.learning_rates)
    make_state(fitted, prepared.taught("train"))
    held_out = _held_out(rows["valid"], prepared)
    history = keras.callbacks.History()
    shown = progress.Epochs(phase.title, options.epochs)
    history.history = {key: list(values) for key, values in phase.history.items()}
    distribution.synchronize(fitted)
    beside = [*callbacks(fitted, options, logs.folder, bool(held_out)), history]
    which = {"fit": phase.title, "phase": phase.number, "rows": counts}
    ids = functools.partial(row_ids, prepared.epoch_ids, batch_size, options.seed)
    watch = numbers.Numbers(phase.title, options.learning_rate, ids, store)
    keeper = keeping.Keeper(which, phase.budget, steps, beside, watch, store)
    try:
        with dataset.broken_files_named(), keeper.stops:
            told = logs.callbacks(phase.title)
            watching = [measured, *beside, *told, *[shown] * place.is_chief]
            # In a graph that must be deterministic TensorFlow tells no time.
            clock = None if options.deterministic else measured
            given = functools.partial(_given, batches, clock)
            _epochs(fitted, given, held_out, keeper, phase, watching)
            _tell_end(beside, phase, options, store)
            _tell_no_fall(history.history.get("loss", ()), phase, options, store)
            if options.soup and (phase.budget.spent or phase.epochs == options.epochs):
                measured.soup = _souped(fitted, held_out, store, phase)
    finally:
        shown.close()
    return history.history


def _tell_end(callbacks, phase, options, store):
    """Says why a fit ended before its last epoch, if patience ended it."""
    for each in callbacks:
        # Keras counts from 0, and gives 0 where nothing was stopped.
        if getattr(each, "stopped_epoch", 0) and store:
            store.log(
                f"{phase.title}: ended after epoch {each.stopped_epoch + 1} of "
                f"{options.epochs}: for {options.patience} epochs val_loss was no less "
                f"than {each.best:.4g}, of epoch {each.best_epoch + 1}, whose weights "
                "are kept (train.patience)"
            )


def _tell_no_fall(losses, phase, options, store):
    """Says where a fit learned nothing, as of a learning rate that is far too high."""
    never = len(losses) > 1 and min(losses[1:]) >= losses[0]
    if store and losses and (never or losses[-1] > ABSURD):
        store.log(
            f"{phase.title}: warning: the training loss was {losses[0]:.4g} in the "
            f"first epoch and {losses[-1]:.4g} in the last: try another "
            f"train.learning_rate than {options.learning_rate:g}, a tenth of it first"
        )


def require_whole_calls(options, rows):
    """An epoch must be whole calls of `train.steps_per_execution` steps.

    Args:
        options: the `train` section of a recipe.
        rows: of the train split.

    Raises:
        RecipeError: it is not; tells numbers that fit.
    """
    steps = -(-rows // distribution.batch_size(options))
    group = options.steps_per_execution
    if steps % group:
        fits = [str(each) for each in range(1, steps + 1) if steps % each == 0]
        raise RecipeError(
            f"train.steps_per_execution: {group} does not divide the {steps} steps of "
            f"an epoch, and a call that goes beyond its end would make the next one's. "
            f"Set one of {', '.join(fits)}"
        )


def _held_out(rows, prepared):
    """What `fit` takes to validate: batches, and as many; {} without valid rows."""
    count, place = prepared.counts["valid"], distribution.here()
    if not count:
        return {}
    size = distribution.even(count, EVALUATED, place.share)
    share = prepared.share(place.share)
    batches = dataset.labelled(rows, prepared.taught("valid"), size, share)
    return {
        "validation_data": distribution.spread(batches),
        "validation_steps": -(-count // size),
    }


def _epochs(fitted, batches, held_out, keeper, phase, watching):
    """The epochs of a phase, from where a checkpoint stands if there is one.

    An epoch that was left in the middle is ended by a fit of its own, whose last
    checkpoint is where the next one goes on.
    """
    found, again = phase.found, True
    first, step, stopped = len(phase.history.get("loss", ())), 0, False
    while again:
        if found:
            first, step, stopped = keeper.begin(found)
        last = first if stopped else first + 1 if step else phase.epochs
        given = batches(begin=(first, step))
        if step:
            # Metrics are built on their first batch, and theirs are to be restored.
            fitted.evaluate(given, steps=1, verbose=0)
        fitted.fit(
            given,
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=keeper.steps - step,
            shuffle=False,  # shuffled already
            **held_out,
            callbacks=[*watching, keeper],
            verbose=0,
        )
        again = step and last < phase.epochs and not fitted.stop_training
        found = again and keeper.store.newest(phase.title)


def _souped(fitted, held_out, store, phase):
    """What came of the mean of the last epochs' weights; None where there is none."""
    states = store.ends({"fit": phase.title, "phase": phase.number}) if store else []
    if not held_out or len(states) < 2:
        lacking = "no valid rows say which is better" if states[1:] else "one epoch"
        if store:
            store.log(f"{phase.title}: no mean of the last epochs: {lacking}")
        return None
    found = soup.tasted(fitted, states, held_out)
    store.log(soup.told(phase.title, found))
    return found


def _given(batches, clock, begin):
    """Batches from a place on as `fit` takes them, clocked where that is possible."""
    made = batches(begin=begin)
    if clock is None or distribution.here().replicas > 1:
        return distribution.spread(made)
    return clock.watched(made)


def row_ids(ids, batch_size, seed, epoch, step):
    """The ids of the rows of one step; `ids` are those of an epoch's rows."""
    first = step * batch_size
    places = np.arange(first, min(first + batch_size, len(ids)))
    order = dataset.permute(places, len(ids), seed, epoch).numpy()
    return [ids[number] for number in order.tolist()]


def _words(prepared, names):
    """{input: (id of the unknown word, ids that are no words)} of the texts."""
    decoders = {name: prepared.decoders[name] for name in names}
    return {
        name: (each.unknown_id, each.special_ids)
        for name, each in decoders.items()
        if hasattr(each, "unknown_id")
    }


def _on_features(recipe, prepared, network, title):
    """(the model to fit, {split: rows}): frozen backbones have run, once a file."""
    frozen = _frozen(recipe, prepared, network)
    if frozen and prepared.service:
        raise RecipeError(
            f"train.data_service: of `{next(iter(frozen))}` the features of its frozen "
            "backbone are computed once and kept by this process; no worker has them. "
            "Drop the key, or run the backbone in every step: data.features_mb = 0"
        )
    fitted = model_to_fit(
        recipe, prepared.tasks, *features.on_features(network, frozen)
    )
    keys = set(fitted.input)
    rows = {split: each.only(keys) for split, each in prepared.rows.items()}
    made = _featured(recipe, prepared, frozen, title, prepared.rows)
    return fitted, {split: each | made[split] for split, each in rows.items()}


def asked(recipe, prepared, network, splits):
    """What a model is asked by and on: the features that it was fitted on, not files.

    Args:
        recipe: a `recipe.Recipe`.
        prepared: a `Prepared`.
        network: a model of `model.build`, fitted.
        splits: names of those that are asked for.

    Returns:
        (a `keras.Model` with the same outputs, without its frozen backbones; {split:
        `dataset.Rows`} with all that it reads).
    """
    frozen = _frozen(recipe, prepared, network)
    if not frozen:
        return network, prepared.rows
    inputs, outputs = features.on_features(network, frozen)
    outputs = {target: outputs[target] for target in prepared.tasks}
    made = _featured(recipe, prepared, frozen, "decisions", splits)
    rows = {split: prepared.rows[split] | made[split] for split in splits}
    return keras.Model(inputs, outputs), rows


def _frozen(recipe, prepared, network):
    """{input: backbone} of those whose features are kept; {} where there is no room."""
    backbones = model.parts(network)[1]
    kinds = {name: recipe.data.inputs[name]["kind"] for name in backbones}
    changed = augment.touched(recipe.augment, kinds)
    frozen = {
        name: backbone
        for name, backbone in backbones.items()
        if not backbone.trainable_weights and name not in changed
    }
    row = sum(
        features.row_bytes(features.feature_specs(each)) for each in frozen.values()
    )
    rows = sum(prepared.counts.values())
    return frozen if row * rows <= recipe.data.features_mb * 2**20 else {}


def _featured(recipe, prepared, frozen, title, splits):
    """{split: `dataset.Rows`} of the features alone, read or computed now."""
    rows = {split: dataset.Rows({}, {}, {}) for split in splits}
    if not frozen:
        return rows
    limit = recipe.data.features_mb
    cache = features.Cache(features.folder() / "features.sqlite", limit)
    for name, backbone in frozen.items():
        keys = set(prepared.decoders[name].specs)
        for split in splits:
            count = prepared.counts[split]
            with progress.bar(f"{title}: {name} backbone, {split}", count) as advance:
                rows[split] |= features.computed(
                    backbone,
                    prepared.rows[split].only(keys),
                    count,
                    cache,
                    name=name,
                    memory_mb=recipe.data.cache_mb,
                    progress=advance,
                )
    cache.shrink()
    return rows


def callbacks(fitted, options, logs, is_validated):
    """What watches a fit: averages, balance, rate, early stopping, TensorBoard.

    Args:
        fitted: the model that is fitted.
        options: the `train` section of a recipe.
        logs: folder of TensorBoard's logs; None for none.
        is_validated: whether there are valid rows.
    """
    found = [averaging.Averages()] if options.ema_momentum else []
    if isinstance(fitted, weighing.Weighed):
        found.append(weighing.LogWeights())
    if is_validated:
        if isinstance(fitted, blending.Blended):
            found.append(blending.Blend())  # without valid rows, shares stay equal
        if options.plateau:
            found.append(
                keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=options.plateau)
            )
        found.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss",
                patience=options.patience or options.epochs,
                restore_best_weights=True,
            )
        )
    if logs:
        watched = options.profile_steps or 0
        found.append(
            keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=watched)
        )
    return found
