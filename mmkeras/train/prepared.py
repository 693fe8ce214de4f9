"""Everything that fitting needs, decoded once: rows, vocabularies, labels, targets."""

import dataclasses

from mmkeras import dataset, modalities, progress
from mmkeras.manifest import ManifestError
from mmkeras.tasks import TASKS, make


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
