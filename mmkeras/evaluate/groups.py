"""Parts of the rows: those with the same modalities present, those of one slice."""

import numpy as np
import pandas as pd

from mmkeras import dataset
from mmkeras.evaluate.judging import FUSION, intervals, scores
from mmkeras.manifest import ManifestError

# Values of a column that have a part of their own; of numbers, quarters of the rows.
MOST, QUARTERS = 20, 4
# With fewer rows an interval would say more than is known: two right of two, 100 %.
FEW = 10
NOTHING = "(nothing)"
EMPTY = "(empty)"


def subsets(run, seen):
    """The rows of each set of present inputs, {} where all rows have the same.

    Args:
        run: a `run.Run`.
        seen: a `judging.Seen`.

    Returns:
        {"text + image": {"rows", the scores that are numbers, "intervals" of those, {}
        of fewer than 10 rows}}, in the order of their numbers of rows.
    """
    names = list(run.decoders)
    present = _present(seen.loaded, names, len(seen.rows))
    told = [
        " + ".join(name for name, here in zip(names, row, strict=True) if here)
        or NOTHING
        for row in present
    ]
    return _parts(seen, pd.Series(told)) if len(set(told)) > 1 else {}


def slices(seen, columns):
    """The rows of each value of columns of the manifest.

    Of a column of numbers with more than 20 values, quarters of the rows; of any other
    the 20 most frequent values, and the rest together.

    Args:
        seen: a `judging.Seen`.
        columns: names, by the file or by the recipe.

    Returns:
        {column: {value: as of `subsets`}}.
    """
    called = _called(seen.rows)
    return {
        column: _parts(seen, _values(seen.rows.frame[called.get(column, column)]))
        for column in columns
    }


def _called(rows):
    """{the file's name of a column: that of the recipe}, where they differ."""
    return {column: name for name, column in rows.columns_in_file.items()}


def check(rows, columns):
    """Refuses columns that the manifest lacks.

    Raises:
        ManifestError: names the column and those there are.
    """
    for column in columns:
        if _called(rows).get(column, column) not in rows.frame:
            there = [rows.columns_in_file.get(name, name) for name in rows.frame]
            raise ManifestError(
                f"--slice {column}: {rows.path.name} has no such column. Columns: "
                f"{', '.join(there)}"
            )


def _values(cells):
    """A column -> the part that each row belongs to, a Series of str."""
    cells = cells.reset_index(drop=True)
    if cells.nunique() <= MOST:
        return cells.replace("", EMPTY)
    numbers = pd.to_numeric(cells.where(cells != ""), errors="coerce")
    if (numbers.notna() | (cells == "")).all():
        quarters = pd.qcut(numbers, QUARTERS, duplicates="drop", precision=4)
        named = quarters.astype(object).map(_named, na_action="ignore")
        return named.where(numbers.notna(), EMPTY)
    frequent = cells.value_counts().index[:MOST]
    rest = f"({cells.nunique() - MOST} others)"
    return cells.where(cells.isin(frequent), rest).replace("", EMPTY)


def _named(quarter):
    return f"{quarter.left:g} to {quarter.right:g}"


def _parts(seen, values):
    found = {}
    for value in values.value_counts().index:
        here = (values == value).to_numpy()
        truths = {
            target: (truth, known & here)
            for target, (truth, known) in seen.truths.items()
        }
        given = seen.tasks[FUSION], truths, seen.outputs[FUSION]
        each = {key: one for key, one in scores(*given).items() if _is_told(one)}
        ends = intervals(*given) if here.sum() >= FEW else {}
        found[str(value)] = {
            "rows": int(here.sum()),
            **each,
            "intervals": {key: ends[key] for key in each if key in ends},
        }
    return found


def _is_told(value):
    return isinstance(value, float) and value == value


def _present(loaded, names, count):
    """(rows, inputs) bool."""
    keys = [f"{name}_present" for name in names]
    held = loaded.arrays
    if all(key in held for key in keys):
        return np.stack([np.asarray(held[key]) for key in keys], axis=1)
    with dataset.broken_files_named():
        parts = [
            np.stack([batch[key] for key in keys], axis=1)
            for batch in dataset.ordered(loaded, count, 128)
        ]
    return np.concatenate(parts)
