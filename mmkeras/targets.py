"""What the cell of a target may hold, by the kind of its task. No TensorFlow here."""

import itertools
import math

# Tasks whose labels must all be on train rows.
CLOSED = ("classification", "multilabel")
# Tasks whose cells name any number of labels, none included.
SETS = ("multilabel",)
# Tasks whose cells are numbers.
NUMBERS = ("regression",)


def labels_in(choice, cell):
    """The labels that a cell names, a list of str; a number counts as one.

    Args:
        choice: the target's dict in `data.targets`, options filled in.
        cell: text of the cell.

    >>> labels_in({"kind": "multilabel", "separator": "|"}, "odd | prime")
    ['odd', 'prime']
    """
    if choice["kind"] not in SETS:
        return [cell]
    return names_in(cell, choice["separator"])


def names_in(cell, separator):
    """The names in a cell that may hold several, a list of str; [] of an empty one."""
    return list(filter(None, map(str.strip, cell.split(separator))))


def fault(choice, cell):
    """What is wrong with a cell that is to be learned from; "" where nothing."""
    if choice["kind"] in SETS:
        return ""
    if not cell:
        return "the label is empty"
    if choice["kind"] in NUMBERS and not is_number(cell):
        return f"`{cell}` is not a number: write 12, -1.5 or 1e3"
    return ""


def is_number(cell):
    """Whether a text is a finite number as Python and CSV files write it."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def known(choices, frame):
    """The labels that rows name, {target: set of str}; an empty cell names none.

    Args:
        choices: {target: its dict in `data.targets`}.
        frame: one row each, targets as columns.
    """
    return {
        name: {
            label for cell in frame[name] for label in labels_in(choice, cell) if cell
        }
        for name, choice in choices.items()
    }


def unseen(frame, choices, known):
    """Cells with a label that is not among the known ones.

    Args:
        frame: one row each, targets as columns.
        choices: {target: its dict in `data.targets`}.
        known: {target: its labels}.

    Yields:
        (index of the row, (target, what the label is, as "the label `fish`")).
    """
    for name, choice in choices.items():
        if choice["kind"] not in CLOSED:
            continue
        seen = set(known[name])
        for line, cell in frame[name].items():
            labels = labels_in(choice, cell) if cell else ()
            if new := [label for label in labels if label not in seen]:
                yield line, (name, f"the label `{new[0]}`")


def of_rows(frame, choices):
    """What each row teaches, a list of tuples of (target, label); no numbers.

    Args:
        frame: one row each, targets as columns.
        choices: {target: its dict in `data.targets`}.
    """
    told = [
        [
            [(place, label) for label in labels_in(choice, cell) if cell]
            for cell in frame[name]
        ]
        for place, (name, choice) in enumerate(choices.items())
        if choice["kind"] not in NUMBERS
    ]
    rows = zip(*told, strict=True) if told else ([] for _ in range(len(frame)))
    return [tuple(itertools.chain.from_iterable(row)) for row in rows]
