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


def fill(frame, column, labels, shares, seed):
    """Makes the split column, or its `valid` part, where the file has none.

    Args:
        frame: one row each; the split column is written into it.
        column: name of the split column.
        labels: a tuple of labels for each row, see `stratified`.
        shares: of train, valid and test, which add up to 1; a first of 0 means that
            nothing will be trained.
        seed: of the drawing.

    Returns:
        A list of sentences about what was done unasked.
    """
    if column not in frame:
        frame[column] = stratified(labels, shares, seed)
        return []
    train = frame[column] == "train"
    if shares[0] == 0 or (frame[column] == "valid").any() or train.sum() < 2:
        return []
    own = list(itertools.compress(labels, train))
    part = stratified(own, (0.9, 0.1, 0), seed)
    frame.loc[train, column] = part
    taken = int((part == "valid").sum())
    return [f"no row is `valid`: {taken} of {train.sum()} train rows are taken for it"]


def stratified(labels, shares, seed):
    """A split for every row, the shares kept as a whole and within each label.

    Shuffled rows, ordered by label, are dealt out: each to the split that lacks most of
    its share so far, but the first of a label to train, so that none is missing there.

    Args:
        labels: a tuple for each row of what it teaches, none of it to be missing in
            train; () where nothing can be.
        shares: of train, valid and test, which add up to 1.
        seed: of the shuffling.

    Returns:
        (rows,) array of str.
    """
    total = collections.Counter(itertools.chain.from_iterable(labels))
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    split, dealt, seen = np.empty(len(labels), dtype=object), [0, 0, 0], set()
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
