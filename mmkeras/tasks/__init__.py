"""Tasks, one file each, with one contract.

A task has

- `labels_of(values)`: what is learnt of the train rows' labels, for `labels.json`;
- `target(values)`: texts of cells -> what the loss compares with, (rows, ...);
- `head(fused, name)`: fused vector -> the output, by Keras layers;
- `loss()` and `metrics()`: for `fit`; the loss gives one number a row;
- `judged_on` and `choose(judged)`: the splits whose outputs decide on thresholds after
  training, and the decision, for `decisions.json`;
- `has_probabilities`, and `calibrated(outputs)`: outputs as they are told, others than
  the model's where they are probabilities; what takes outputs below takes the model's;
- `decode(outputs)` and `serve(outputs)`: the answers, in Python and in the served
  graph; a task that serves "abstained" has `abstains(outputs)` too, and one that tells
  one class `called(outputs)`, its position;
- `scores(truth, outputs)`: the first one is what fusion is judged by, the higher the
  better; `redrawn(truth, outputs, counts, first)`: those that are numbers, or the first
  one alone, of rows that count as often as `counts` (draws, rows) says, {score:
  (draws,)}; `draws`: how many a bootstrap takes;
- `wrongness(truth, outputs)`: how wrong each row is told, (rows,), 0 where it is right:
  the surest mistakes first;
- `can_average`: whether the mean of several models' outputs has a meaning;
  `takes_empty`: whether an empty cell is an answer.
"""

import numpy as np

from mmkeras import targets as cells
from mmkeras.manifest import ManifestError
from mmkeras.tasks.classification import Classification
from mmkeras.tasks.multilabel import Multilabel
from mmkeras.tasks.regression import Regression
from mmkeras.tasks.verification import Verification

TASKS = {
    "classification": Classification,
    "regression": Regression,
    "multilabel": Multilabel,
    "verification": Verification,
}


def learn(targets, frame):
    """What every task learns of the train rows.

    Args:
        targets: the resolved `data.targets` of a recipe, {column: {kind, options}}.
        frame: the train rows, targets as columns; empty cells teach nothing.

    Returns:
        {column: what `make` takes as its labels}, to be kept in `labels.json`.

    Raises:
        ManifestError: no row has a label; names the column.
    """
    learnt = {}
    for name, choice in targets.items():
        values = [
            label
            for cell in frame[name]
            for label in cells.labels_in(choice, cell)
            if cell
        ]
        if not values:
            raise ManifestError(
                f"target `{name}`: every cell of the train rows is empty"
            )
        learnt[name] = TASKS[choice["kind"]].labels_of(values)
    return learnt


def truth(task, values):
    """The target of rows of which some may be empty.

    Args:
        task: one of `make`.
        values: texts of the cells.

    Returns:
        (the target, (rows, ...), zeros where the cell is empty; (rows,) bool, whether
        it is known).
    """
    values = list(values)
    known = np.array([bool(cell) or task.takes_empty for cell in values], bool)
    if known.all():
        return task.target(values), known
    some = task.target([cell for cell, told in zip(values, known, strict=True) if told])
    target = np.zeros((len(values), *some.shape[1:]), some.dtype)
    target[known] = some
    return target, known


def make(targets, labels, decisions=None):
    """The task of every target.

    Args:
        targets: the resolved `data.targets` of a recipe, {column: {kind, options}}.
        labels: {column: what was learnt}, as `learn` gives and `labels.json` holds.
        decisions: {column: what its task's `choose` gave}; defaults where None.

    Returns:
        {column: task}.

    Raises:
        ManifestError: labels that the task cannot work with; names the column.
    """
    made = {}
    for name, choice in targets.items():
        options = {key: value for key, value in choice.items() if key != "kind"}
        decision = (decisions or {}).get(name)
        try:
            made[name] = TASKS[choice["kind"]](labels[name], decision, **options)
        except ValueError as error:
            raise ManifestError(f"target `{name}`: {error}") from error
    return made
