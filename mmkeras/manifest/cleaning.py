"""Rows that a recipe asks to leave out, though they could be used: `data.clean`."""

from mmkeras.splits import SPLITS


def faults(frame, data, columns):
    """The rows to leave out.

    Args:
        frame: one row each, cells as texts.
        data: the `data` section of a recipe.
        columns: those that the inputs read.

    Returns:
        {line: (column, reason)}.
    """
    found = {}
    if "empty" in data.clean:
        for name in columns:
            for line in frame.index[frame[name] == ""]:
                found.setdefault(line, (name, "empty, which data.clean leaves out"))
    if "duplicates" in data.clean:
        rest = frame.drop(index=list(found))
        found |= _duplicates(rest, data, [*columns, *data.targets])
    return found


def _duplicates(frame, data, columns):
    """All but one of the rows with the same inputs and targets.

    The one that stays is the first of those held out most, in test before valid before
    train: so nothing that is to be judged has been trained on.
    """
    order = frame[columns]
    if data.split in frame:
        place = frame[data.split].map(SPLITS.index)
        order = order.loc[place.sort_values(ascending=False, kind="stable").index]
    first, again = {}, {}
    for line, *cells in order.itertuples(name=None):
        kept = first.setdefault(tuple(cells), line)
        if kept != line:
            reason = f"the same as line {kept}, which data.clean keeps once"
            again[line] = "", reason
    return again
