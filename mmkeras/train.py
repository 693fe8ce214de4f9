"""Fit: decoded rows in, a run folder out."""

import csv
import dataclasses
import functools

import keras
import numpy as np

from mmkeras import (
    augment,
    balance,
    dataset,
    features,
    modalities,
    model,
    progress,
    run,
)
from mmkeras.manifest import ManifestError
from mmkeras.tasks import TASKS, make

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Everything that fitting needs: decoded once, shared by the baselines.

    Attributes:
        manifest: the rows that are used, and all that were refused.
        decoders: {input: decoder}, vocabularies learnt.
        tasks: {target: task}.
        labels: {target: list of labels}.
        rows: {split: dataset.Rows}.
        targets: {split: {target: (rows, ...) array}}.
    """

    manifest: object
    decoders: dict
    tasks: dict
    labels: dict
    rows: dict
    targets: dict


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
    history = _fit_one(recipe, prepared, network, "fusion", logs=made.logs)
    _write_history(made.history_csv, history)
    network.save(made.model_file)
    if recipe.train.baselines and len(prepared.decoders) > 1:
        made.baselines.mkdir()
        for name in prepared.decoders:
            alone = fit_alone(recipe, prepared, name)
            alone.save(made.baselines / f"{name}.keras")
    return made


def prepare(recipe, rows, *, log=print):
    """Decodes all rows, refuses the bad ones, learns vocabularies and labels.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest`.
        log: called with one line of text now and then.

    Raises:
        ManifestError: see `fit`.
    """
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    files = {name: each for name, each in decoders.items() if each.is_file}
    texts = {name: each for name, each in decoders.items() if not each.is_file}
    with progress.bar("decode", len(rows)) as advance:
        loaded, faults = dataset.load(
            rows, files, cache_mb=recipe.data.cache_mb, progress=advance
        )
    lines = rows.frame.index
    rows = rows.reject(dataset.faults(rows, texts) | faults)
    rows = rows.reject(_unlearnable(rows))
    good = lines.isin(rows.frame.index)
    _account(rows, recipe.data.on_bad_row, log)
    train = rows.split("train")
    for name, decoder in texts.items():
        decoder.learn(train.cells(name))
    held, _ = dataset.load(rows, texts, cache_mb=recipe.data.cache_mb)
    loaded = loaded.keep(good) | held
    labels = {
        name: TASKS[choice["kind"]].labels_of(train.frame[name])
        for name, choice in recipe.data.targets.items()
    }
    tasks = make(recipe.data.targets, labels)
    masks = {
        split: (rows.frame[rows.split_column] == split).to_numpy()
        for split in ("train", "valid")
    }
    targets = {
        split: {
            name: task.target(rows.frame[mask][name]) for name, task in tasks.items()
        }
        for split, mask in masks.items()
    }
    by_split = {split: loaded.keep(mask) for split, mask in masks.items()}
    return Prepared(rows, decoders, tasks, labels, by_split, targets)


def fit_alone(recipe, prepared, name):
    """The same model with one input only, on the same rows; a `keras.Model`."""
    keras.utils.set_random_seed(recipe.train.seed)
    alone = model.build(recipe, {name: prepared.decoders[name]}, prepared.tasks)
    _fit_one(recipe, prepared, alone, f"{name} alone")
    return alone


def _unlearnable(rows):
    """Faults of rows whose label stood on no train row but on unreadable ones."""
    frame, train = rows.frame, rows.split("train").frame
    if train.empty:
        return {}
    return {
        line: (name, f"the label `{label}` is on no usable row of the train split")
        for name in rows.targets
        for line, label in frame.loc[~frame[name].isin(train[name]), name].items()
    }


def _account(rows, on_bad_row, log):
    """Refuses to go on, or says how many rows go; train rows there must be."""
    if rows.rejected:
        shown = "\n".join(f"  {row}" for row in rows.rejected[:10])
        more = len(rows.rejected) - 10
        shown += f"\n  and {more} more" if more > 0 else ""
        count = f"{len(rows.rejected)} of {rows.rows_read} rows"
        if on_bad_row == "refuse":
            raise ManifestError(
                f"{count} of {rows.path.name} cannot be used:\n{shown}\nMend them, or "
                "train without them: data.on_bad_row = drop"
            )
        log(f"dropped {count} of {rows.path.name}, see rejected.csv:\n{shown}")
    for warning in rows.warnings:
        log(f"warning: {warning}")
    if not len(rows.split("train")):
        raise ManifestError(f"{rows.path.name} has no usable row in the train split")


def _fit_one(recipe, prepared, network, title, logs=None):
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
    compile_model(recipe, fitted, prepared.tasks, steps)
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
                callbacks=[*_callbacks(fitted, options, logs, held_out), shown],
                verbose=0,
            ).history
    finally:
        shown.close()
    _require_numbers(fitted, history, title, options)
    return history


def _fitted(recipe, tasks, inputs, outputs):
    """The model to fit; the run keeps another one, with the same layers."""
    names = [name for name in recipe.data.inputs if f"{name}_present" in inputs]
    if recipe.train.balance == "none" or len(names) < 2:
        return keras.Model(inputs, {target: outputs[target] for target in tasks})
    losses = {target: task.loss() for target, task in tasks.items()}
    return balance.Blended(inputs, outputs, losses, names)


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


def _require_numbers(network, history, title, options):
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


def compile_model(recipe, network, tasks, steps_per_epoch):
    """Gives a model its optimizer, losses and metrics, as the recipe says."""
    options = recipe.train
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate, options.epochs * steps_per_epoch
        )
    network.compile(
        _optimizer(options.optimizer, rate, _factors(options.learning_rates, network)),
        loss={name: task.loss() for name, task in tasks.items()},
        metrics={name: task.metrics() for name, task in tasks.items()},
        jit_compile=options.jit_compile,
    )


def _optimizer(kind, rate, factors):
    """An optimizer whose rate is multiplied for some variables.

    Args:
        kind: a key of `OPTIMIZERS`.
        rate: learning rate or schedule.
        factors: a list of (variable, factor).
    """
    parent = OPTIMIZERS[kind]
    if not factors:
        return parent(rate)
    by_key = {}

    class Discriminative(parent):
        def update_step(self, gradient, variable, learning_rate):
            # Not the variable itself: TensorFlow hands in what lies below it.
            factor = by_key.get(self._var_key(variable), 1.0)
            super().update_step(gradient, variable, learning_rate * factor)

    optimizer = Discriminative(rate)
    by_key |= {optimizer._var_key(variable): factor for variable, factor in factors}
    return optimizer


def _factors(rates, network):
    """A list of (variable, what its learning rate is multiplied with)."""
    core, backbones = model.parts(network)
    branches = {layer.name: layer for layer in core.layers}
    return [
        (variable, factor)
        for name, factor in rates.items()
        for layer in [backbones.get(name) or branches.get(f"{name}_branch")]
        if layer
        for variable in layer.trainable_variables
    ]


def _callbacks(fitted, options, logs, held_out):
    found = [keras.callbacks.TerminateOnNaN()]
    if isinstance(fitted, balance.Blended):
        found.append(balance.Blend())
    if held_out is not None:
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
