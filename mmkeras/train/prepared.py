"""Everything that fitting needs, decoded once: rows, vocabularies, labels, targets."""

import dataclasses
import os
from pathlib import Path

import tensorflow as tf

from mmkeras import (
    dataset,
    distribution,
    features,
    modalities,
    progress,
    targets,
    tasks,
)
from mmkeras.config import RecipeError
from mmkeras.manifest import ManifestError
from mmkeras.train import counting

# Megabytes of decoded texts and tables that are sent to a data service; a graph may
# have 2,048 in all.
SENT_MB = 512


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Everything that fitting needs: decoded once, shared by the baselines.

    Attributes:
        manifest: the rows that are used, and all that were refused.
        decoders: {input: decoder}, vocabularies learnt.
        tasks: {target: task}.
        labels: {target: what its task learnt of the train rows}.
        rows: {split: dataset.Rows}.
        targets: {split: {target: (rows, ...) array}}.
        weights: {split: {target: (rows,) float32}}, 0 where the cell is empty, of train
            rows what they count else; None where all are 1.
        draws: numbers of the train rows that make up an epoch; None: each once.
        service: the `dataset.Service` that reads the rows; None: this process does.
    """

    manifest: object
    decoders: dict
    tasks: dict
    labels: dict
    rows: dict
    targets: dict
    weights: dict | None = None
    draws: object = None
    service: object = None

    def share(self, share):
        """A `dataset.Share`, made by whoever reads the rows."""
        return share._replace(flow=self.service.flow) if self.service else share

    @property
    def counts(self):
        """How many rows there are, {split: int}."""
        return {
            split: len(next(iter(each.values())))
            for split, each in self.targets.items()
        }

    def taught(self, split):
        """What `dataset` takes as targets: those of a split, with weights if any."""
        if self.weights is None:
            return self.targets[split]
        return self.targets[split], self.weights[split]

    @property
    def rows_an_epoch(self):
        """How many rows an epoch of training has, those that come again included."""
        return self.counts["train"] if self.draws is None else len(self.draws)

    def epoch(self, rows):
        """What `dataset.shuffled` takes: train rows, targets with weights if any."""
        taught = self.taught("train")
        if self.draws is None:
            return rows, taught
        drawn = tf.nest.map_structure(lambda one: one[self.draws], taught)
        return dataset.Drawn(rows, self.draws), drawn

    @property
    def epoch_ids(self):
        """The ids of an epoch's rows, in the order of the manifest or the draws."""
        ids = self.manifest.split("train").ids
        return ids if self.draws is None else [ids[row] for row in self.draws]


def prepare(recipe, rows, *, log=print):
    """Decodes all rows, refuses the bad ones, learns vocabularies and labels.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest`.
        log: called with one line of text now and then.

    Raises:
        ManifestError: see `fit`.
        ServiceError: there is no data service where the recipe says.
    """
    service = _service(recipe, log)
    if service:  # workers stand in other folders
        rows = dataclasses.replace(rows, path=Path(os.path.abspath(rows.path)))
    decoders = modalities.make(
        recipe.data.inputs, recipe.branches, portable=bool(service)
    )
    files = {name: each for name, each in decoders.items() if each.is_file}
    texts = {name: each for name, each in decoders.items() if not each.is_file}
    loaded, faults = _opened(recipe.data, rows, files, service)
    lines = rows.frame.index
    rows = rows.reject(dataset.faults(rows, texts) | faults)
    rows = rows.reject(_unlearnable(rows))
    good = lines.isin(rows.frame.index)
    _account(rows, recipe.data.on_bad_row, log)
    train = rows.split("train")
    modalities.learn(texts, recipe.branches, train.cells)
    room_mb = min(recipe.data.cache_mb, SENT_MB if service else float("inf"))
    held, _ = dataset.load(rows, texts, cache_mb=room_mb, open_first=False)
    loaded = loaded.keep(good) | held
    labels = tasks.learn(recipe.data.targets, train.frame)
    made = tasks.make(recipe.data.targets, labels)
    masks = {
        split: (rows.frame[rows.split_column] == split).to_numpy()
        for split in ("train", "valid")
    }
    by_split = {split: loaded.keep(mask) for split, mask in masks.items()}
    truths, weights = _truths(made, rows.frame, masks)
    weights["train"] = counting.counted(recipe, train.frame, weights["train"])
    plain = all((w == 1).all() for each in weights.values() for w in each.values())
    weights = None if plain else weights
    draws = counting.drawn(recipe, train.frame)
    parts = decoders, made, labels, by_split, truths, weights, draws, service
    return Prepared(rows, *parts)


def _opened(data, rows, files, service):
    """What `dataset.load` gives of the files; `data` is the section of a recipe."""
    with progress.bar("decode", len(rows)) as advance:
        return dataset.load(
            rows,
            files,
            cache_mb=0 if service else data.cache_mb,  # a service is to decode them
            open_first=data.open_first,
            shelf=_shelf(data.disk_mb),  # 0 with a service: the recipe's check
            progress=advance,
        )


def _service(recipe, log):
    """The `dataset.Service` of a recipe, which answers; None without one."""
    if not recipe.train.data_service:
        return None
    if (kind := distribution.kind_of(recipe.train)) in ("multiworker", "tpu"):
        raise RecipeError(
            f"train.data_service: {recipe.train.data_service} feeds one process and "
            f"its GPUs, and was not tried under the strategy {kind}, which is what "
            "this machine has: drop the key, or set train.strategy: one"
        )
    made = dataset.Service(
        recipe.train.data_service, room_mb=recipe.data.cache_mb, log=log
    )
    made.require()
    return made


def _shelf(disk_mb):
    """Where decoded rows are kept on disk, if they are."""
    return dataset.Shelf(features.folder() / "rows", disk_mb) if disk_mb else None


def _truths(made, frame, masks):
    """`Prepared.targets` and `Prepared.weights`."""
    truths, weights = {}, {}
    for split, mask in masks.items():
        truths[split], weights[split] = {}, {}
        for name, task in made.items():
            truths[split][name], known = tasks.truth(task, frame.loc[mask, name])
            weights[split][name] = known.astype("float32")
    return truths, weights


def _unlearnable(rows):
    """Faults of rows whose label stood on no train row but on unreadable ones."""
    train = rows.split("train").frame
    if train.empty:
        return {}
    known = targets.known(rows.targets, train)
    return {
        line: (name, f"{what} is on no usable row of the train split")
        for line, (name, what) in targets.unseen(rows.frame, rows.targets, known)
    }


def _account(rows, on_bad_row, log):
    """Refuses to go on, or says how many rows go; train rows there must be."""
    if rows.rejected:
        shown = rows.listed()
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
