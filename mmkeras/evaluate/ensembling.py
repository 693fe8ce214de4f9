"""The mean of several runs, as a run of its own."""

import filecmp
import re
import shutil
from pathlib import Path

from mmkeras import model
from mmkeras import run as runs_of
from mmkeras.evaluate import judging
from mmkeras.evaluate.comparing import NotComparableError


def ensemble(runs, rows, folder, *, log=print):
    """Writes a run folder whose model is the mean of the runs' models.

    It is evaluated, asked and exported as any run. Temperature, thresholds and the like
    are decided anew on the valid rows. Its recipe is that of the first run.

    Args:
        runs: {name: `run.Run`}, two or more, that decode alike and answer the same.
        rows: a `manifest.Manifest`, for its valid rows.
        folder: of the new run.
        log: called with one line where rows had to be left out.

    Returns:
        The `run.Run`.

    Raises:
        NotComparableError: runs whose inputs, vocabularies or targets differ, or whose
            outputs have no mean; says which.
        FileExistsError: the folder holds something already.
    """
    runs_of.require_vacant(folder)
    first = next(iter(runs))
    for name in runs:
        _require_mean(runs[name], name)
        _require_alike(runs, first, name)
    recipe = runs[first].recipe
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(folder).resolve().name)
    train = recipe.train.model_copy(update={"baselines": False})
    recipe = recipe.model_copy(update={"train": train, "name": name})
    network = model.mean([run.model for run in runs.values()])
    made = runs_of.create(folder, recipe)
    made.write_json(made.labels_json, runs[first].labels)
    shutil.copytree(runs[first].vocabulary, made.vocabulary)
    if runs[first].rejected_csv.is_file():
        shutil.copy(runs[first].rejected_csv, made.rejected_csv)
    members = {name: str(run.folder.resolve()) for name, run in runs.items()}
    made.write_json(made.members_json, members)
    splits, loaded = {}, {}
    for split in {each for task in made.tasks.values() for each in task.judged_on}:
        own = judging.readable(made, rows.split(split), log)
        splits[split], loaded[split], _ = own
    models = {judging.FUSION: (network, loaded)}
    decisions = judging.decide(made.tasks, models, splits)
    made.write_json(made.decisions_json, decisions)
    with runs_of.replacing(made.model_file) as partial:
        network.save(partial)
    return runs_of.open_folder(folder)


def _require_mean(run, name):
    for target, task in run.tasks.items():
        if not task.can_average:
            raise NotComparableError(
                f"the mean of what {name} answers to `{target}` has no meaning: "
                "embeddings of different runs lie in different spaces"
            )


def _require_alike(runs, first, name):
    """Refuses runs that read or answer otherwise than the first."""
    one, other = runs[first], runs[name]
    for part in ("inputs", "targets"):
        mine, theirs = (getattr(each.recipe.data, part) for each in (one, other))
        for key in dict.fromkeys([*mine, *theirs]):
            if mine.get(key) != theirs.get(key):
                raise NotComparableError(
                    f"data.{part}.{key} differs between {first} and {name}: "
                    f"{mine.get(key)} and {theirs.get(key)}. An ensemble reads every "
                    "row once: train its runs with the same `data`"
                )
    for key, decoder in one.decoders.items():
        specs = decoder.specs
        if type(decoder) is not type(other.decoders[key]) or not _same(
            specs, other.decoders[key].specs
        ):
            raise NotComparableError(
                f"`{key}` is read in another way by {name} than by {first}: their "
                "branches take other words or ids"
            )
    _require_same_files(first, one.vocabulary, name, other.vocabulary)
    for target, labels in one.labels.items():
        if isinstance(labels, list) and labels != other.labels[target]:
            raise NotComparableError(
                f"the labels of `{target}` differ between {first} and {name}"
            )


def _same(one, other):
    return {k: str(v) for k, v in one.items()} == {k: str(v) for k, v in other.items()}


def _require_same_files(first, mine, name, theirs):
    names = {
        folder: [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        for folder in (mine, theirs)
    }
    differ = sorted(set(names[mine]) ^ set(names[theirs]))
    if not differ:
        _, *others = filecmp.cmpfiles(mine, theirs, names[mine], shallow=False)
        differ = sorted([*others[0], *others[1]])
    if differ:
        raise NotComparableError(
            f"what {first} and {name} learnt of their train rows differs: "
            f"vocabulary/{differ[0]}. Train both on the same train rows"
        )
