"""One fit: frozen backbones run once per file, then epochs, in one phase or two."""

import functools

import keras
import numpy as np

from mmkeras import augment, dataset, features, model, progress
from mmkeras.train import blending, optimizers


def fit_one(recipe, prepared, network, title, logs=None):
    """Fits a model in one phase, or in two where backbones are frozen at first."""
    epochs, frozen_epochs = recipe.train.epochs, recipe.train.frozen_epochs
    phase = functools.partial(_fit_phase, recipe, prepared, network, title, logs)
    tuned = [
        variable
        for backbone in model.parts(network)[1].values()
        for variable in backbone.trainable_variables
    ]
    if not tuned or not frozen_epochs:
        return phase(0, epochs)
    for variable in tuned:
        variable.trainable = False
    history = phase(0, min(frozen_epochs, epochs))
    for variable in tuned:
        variable.trainable = True
    if epochs <= frozen_epochs:
        return history
    then = phase(len(history["loss"]), epochs)
    return {key: values + then[key] for key, values in history.items()}


def _fit_phase(recipe, prepared, network, title, logs, first_epoch, epochs):
    options, targets = recipe.train, prepared.targets
    fitted, rows = _on_features(recipe, prepared, network, title)
    names = [name for name in recipe.data.inputs if f"{name}_present" in fitted.input]
    kinds = {name: recipe.data.inputs[name]["kind"] for name in names}
    count = len(next(iter(targets["train"].values())))
    steps = -(-count // options.batch_size)
    batches = dataset.shuffled(
        rows["train"],
        targets["train"],
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augment.changes(recipe.augment, kinds, _words(prepared, names)),
        first_epoch=first_epoch,
    )
    compile_model(recipe, fitted, prepared.tasks, steps, options.learning_rates)
    held_out = None
    if len(next(iter(targets["valid"].values()))):
        held_out = dataset.labelled(rows["valid"], targets["valid"], 128)
    shown = progress.Epochs(title, options.epochs)
    try:
        with dataset.broken_files_named():
            history = fitted.fit(
                batches,
                initial_epoch=first_epoch,
                epochs=epochs,
                steps_per_epoch=steps,
                shuffle=False,  # shuffled already
                validation_data=held_out,
                callbacks=[*callbacks(fitted, options, logs, held_out), shown],
                verbose=0,
            ).history
    finally:
        shown.close()
    require_numbers(fitted, history, title, options)
    return history


def _fitted(recipe, tasks, inputs, outputs):
    """The model to fit; the run keeps another one, with the same layers."""
    names = [name for name in recipe.data.inputs if f"{name}_present" in inputs]
    if recipe.train.balance == "none" or len(names) < 2:
        return keras.Model(inputs, {target: outputs[target] for target in tasks})
    losses = {target: task.loss() for target, task in tasks.items()}
    return blending.Blended(inputs, outputs, losses, names)


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
    backbones = model.parts(network)[1]
    kinds = {name: recipe.data.inputs[name]["kind"] for name in backbones}
    changed = augment.touched(recipe.augment, kinds)
    frozen = {
        name: backbone
        for name, backbone in backbones.items()
        if not backbone.trainable_weights and name not in changed
    }
    limit = recipe.data.features_mb
    counts = {
        split: len(next(iter(each.values())))
        for split, each in prepared.targets.items()
    }
    row = sum(
        features.row_bytes(features.feature_specs(each)) for each in frozen.values()
    )
    if row * sum(counts.values()) > limit * 2**20:
        frozen = {}
    fitted = _fitted(recipe, prepared.tasks, *features.on_features(network, frozen))
    keys = set(fitted.input)
    rows = {split: each.only(keys) for split, each in prepared.rows.items()}
    if not frozen:
        return fitted, rows
    cache = features.Cache(features.folder() / "features.sqlite", limit)
    for name, backbone in frozen.items():
        keys = set(prepared.decoders[name].specs)
        for split, count in counts.items():
            with progress.bar(f"{title}: {name} backbone, {split}", count) as advance:
                made = features.computed(
                    backbone,
                    prepared.rows[split].only(keys),
                    count,
                    cache,
                    memory_mb=recipe.data.cache_mb,
                    progress=advance,
                )
            rows[split] |= made
    cache.shrink()
    return fitted, rows


def require_numbers(network, history, title, options):
    """Raises FloatingPointError where the loss or a weight is not a finite number."""
    for name in ("loss", "val_loss"):
        for epoch, value in enumerate(history.get(name, ()), start=1):
            if not np.isfinite(value):
                raise FloatingPointError(_diverged(title, name, epoch, options))
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        epoch = len(history["loss"])
        raise FloatingPointError(_diverged(title, "a weight", epoch, options))


def _diverged(title, what, epoch, options):
    return (
        f"{title}: {what} is not a number in epoch {epoch}. "
        f"Lower train.learning_rate, which is {options.learning_rate:g}"
    )


def compile_model(recipe, network, tasks, steps_per_epoch, rates=None):
    """Gives a model its optimizer, losses and metrics, as the recipe says.

    Args:
        recipe: a `recipe.Recipe`.
        network: a `keras.Model` with an output a target.
        tasks: {target: task}.
        steps_per_epoch: for the schedule.
        rates: {input: what the learning rate is multiplied with}; None for none.
    """
    options = recipe.train
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate, options.epochs * steps_per_epoch
        )
    factors = optimizers.factors(rates or {}, network)
    network.compile(
        optimizers.make(options.optimizer, rate, factors),
        loss={name: task.loss() for name, task in tasks.items()},
        metrics={name: task.metrics() for name, task in tasks.items()},
        jit_compile=options.jit_compile,
    )


def callbacks(fitted, options, logs, held_out):
    """What watches a fit: numbers, balance, early stopping, TensorBoard.

    Args:
        fitted: the model that is fitted.
        options: the `train` section of a recipe.
        logs: folder of TensorBoard's logs; None for none.
        held_out: batches of the valid split; None where there are none.
    """
    found = [keras.callbacks.TerminateOnNaN()]
    if held_out is not None:
        if isinstance(fitted, blending.Blended):
            found.append(blending.Blend())  # without valid rows, shares stay equal
        found.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss",
                patience=options.patience or options.epochs,
                restore_best_weights=True,
            )
        )
    if logs:
        found.append(keras.callbacks.TensorBoard(logs, write_graph=False))
    return found
