"""Which rows train, validate and test: drawn where a manifest does not say it."""

import collections
import itertools

import numpy as np

SPLITS = ("train", "valid", "test")

# Other names that data sets give to the three splits.
ALIASES = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}


def fill(frame, column, targets, shares, seed):
    """Makes the split column, or its `valid` part, where the file has none.

    Args:
        frame: one row each, targets as columns; the split column is written into it.
        column: name of the split column.
        targets: names of the target columns.
        shares: of train, valid and test, which add up to 1; a first of 0 means that
            nothing will be trained.
        seed: of the drawing.

    Returns:
        A list of sentences about what was done unasked.
    """
    if column not in frame:
        frame[column] = stratified(frame, targets, shares, seed)
        return []
    train = frame[column] == "train"
    if shares[0] == 0 or (frame[column] == "valid").any() or train.sum() < 2:
        return []
    part = stratified(frame[train], targets, (0.9, 0.1, 0), seed)
    frame.loc[train, column] = part
    taken = int((part == "valid").sum())
    return [f"no row is `valid`: {taken} of {train.sum()} train rows are taken for it"]


def stratified(frame, targets, shares, seed):
    """A split for every row, the shares kept as a whole and within each label.

    Shuffled rows, ordered by label, are dealt out: each to the split that lacks most of
    its share so far, but the first of a label to train, so that none is missing there.

    Args:
        frame: one row each, targets as columns.
        targets: names of the target columns.
        shares: of train, valid and test, which add up to 1.
        seed: of the shuffling.

    Returns:
        (rows,) array of str.
    """
    labels = [tuple(enumerate(row)) for row in frame[[*targets]].to_numpy().tolist()]
    total = collections.Counter(itertools.chain.from_iterable(labels))
    order = np.random.default_rng(seed).permutation(len(frame)).tolist()
    split, dealt, seen = np.empty(len(frame), dtype=object), [0, 0, 0], set()
    for number in sorted(order, key=labels.__getitem__):
        lacks = [s * (sum(dealt) + 1) - d for s, d in zip(shares, dealt, strict=True)]
        first = shares[0] and not seen.issuperset(labels[number])
        at = 0 if first else lacks.index(max(lacks))
        split[number] = SPLITS[at]
        if at == 0:
            seen.update(labels[number])
        # A label of one row cannot be split, and does not count for the shares.
        dealt[at] += all(total[label] > 1 for label in labels[number])
    return split
