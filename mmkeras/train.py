"""Fit: decoded rows in, a run folder out."""

import csv
import dataclasses

import keras
import numpy as np

from mmkeras import augment, dataset, modalities, model, progress, run
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
        recipe: a `config.Recipe`.
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
        recipe: a `config.Recipe`.
        rows: a `manifest.Manifest`.
        log: called with one line of text now and then.

    Raises:
        ManifestError: see `fit`.
    """
    decoders = modalities.make(recipe.data.inputs)
    files = {name: each for name, each in decoders.items() if each.is_file}
    texts = {name: each for name, each in decoders.items() if not each.is_file}
    with progress.bar("decode", len(rows)) as advance:
        loaded, faults = dataset.load(
            rows, files, cache_mb=recipe.data.cache_mb, progress=advance
        )
    lines = rows.frame.index
    rows = rows.reject(faults)
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
    options = recipe.train
    names = [name for name in recipe.data.inputs if f"{name}_present" in network.input]
    kinds = {name: recipe.data.inputs[name]["kind"] for name in names}
    keys = set(network.input)
    train_rows = prepared.rows["train"].only(keys)
    targets = prepared.targets["train"]
    count = len(next(iter(targets.values())))
    steps = -(-count // options.batch_size)
    batches = dataset.shuffled(
        train_rows,
        targets,
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augment.changes(recipe.augment, kinds),
    )
    compile_model(recipe, network, prepared.tasks, steps)
    held_out = None
    if len(next(iter(prepared.targets["valid"].values()))):
        held_out = dataset.labelled(
            prepared.rows["valid"].only(keys), prepared.targets["valid"], 128
        )
    shown = progress.Epochs(title)
    try:
        with dataset.broken_files_named():
            history = network.fit(
                batches,
                epochs=options.epochs,
                steps_per_epoch=steps,
                shuffle=False,  # shuffled already
                validation_data=held_out,
                callbacks=[shown, *_callbacks(options, logs, held_out is not None)],
                verbose=0,
            ).history
    finally:
        shown.close()
    _require_numbers(network, history, title, options)
    return history


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
        OPTIMIZERS[options.optimizer](rate),
        loss={name: task.loss() for name, task in tasks.items()},
        metrics={name: task.metrics() for name, task in tasks.items()},
        jit_compile=options.jit_compile,
    )


def _callbacks(options, logs, has_valid):
    found = [keras.callbacks.TerminateOnNaN()]
    if has_valid:
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
    for name, decoder in prepared.decoders.items():
        if not decoder.is_file:
            text = "\n".join(decoder.vocabulary)
            (made.vocabulary / f"{name}.txt").write_text(text, encoding="utf-8")
    prepared.manifest.write_rejected(made.rejected_csv)


def _write_history(path, history):
    """One row an epoch: loss and metrics, train and validation."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True)):
            writer.writerow([epoch, *(f"{np.float32(value):.6g}" for value in values)])
