"""Which rows train, validate and test: drawn where a manifest does not say it."""

import collections
import itertools
import warnings

import numpy as np
import pandas as pd

SPLITS = ("train", "valid", "test")
# What rows are called that a file says are `test` where folds are dealt: in no fold.
KEPT = "kept"

# Other names that data sets give to the three splits.
ALIASES = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}


# Parts that groups are dealt to, at most; so the finest share is a twentieth.
MOST_FOLDS = 20
# Above so many groups, dealing them out at random keeps the shares anyhow.
MANY_GROUPS = 5000
TOLD = 10


def fill(frame, column, labels, shares, seed, groups=None):
    """Makes the split column, or its `valid` part, where the file has none.

    Args:
        frame: one row each; the split column is written into it.
        column: name of the split column.
        labels: a tuple of labels for each row, see `stratified`.
        shares: of train, valid and test, which add up to 1; a first of 0 means that
            nothing will be trained.
        seed: of the drawing.
        groups: what must not be torn apart, a list of one str a row; None for nothing.

    Returns:
        A list of sentences about what was done unasked.

    Raises:
        ValueError: fewer groups than splits.
    """
    if column not in frame:
        everything = np.ones(len(frame), bool)
        frame[column] = _drawn(labels, groups, everything, shares, seed)
        return []
    if not lacks(frame, column, shares):
        return []
    train = frame[column] == "train"
    if groups is not None and len(set(itertools.compress(groups, train))) < 2:
        return ["no row is `valid`, and all train rows are of one group"]
    part = _drawn(labels, groups, train, (0.9, 0.1, 0), seed)
    frame.loc[train, column] = part
    taken = int((part == "valid").sum())
    return [f"no row is `valid`: {taken} of {train.sum()} train rows are taken for it"]


def _drawn(labels, groups, mask, shares, seed):
    """Splits of the rows where `mask` is True, (rows there,) array of str."""
    own = list(itertools.compress(labels, mask))
    if groups is None or shares[0] == 0:
        return stratified(own, shares, seed)
    return grouped(own, list(itertools.compress(groups, mask)), shares, seed)


def hold_out(frame, column, labels, data, seed, groups=None):
    """Makes the split column anew for one fold of a cross-validation.

    All rows are dealt to `data.folds` folds (scikit-learn's StratifiedKFold, or
    StratifiedGroupKFold), the same for every `data.fold`: that one is `test`, and
    `valid` is drawn from the others. Rows that are `test` already are in no fold, and
    are called `KEPT`.

    Args:
        frame: one row each; the split column is written into it.
        column: name of the split column.
        labels: as of `fill`.
        data: the `data` section of a recipe, with `folds` and `fold`.
        seed: of the drawing.
        groups: as of `fill`.

    Returns:
        A list of sentences about what was done unasked.

    Raises:
        ValueError: fewer rows or groups than folds.
    """
    kept = (frame[column] == "test").to_numpy() if column in frame else None
    kept = np.zeros(len(frame), bool) if kept is None else kept
    dealt = list(itertools.compress(labels, ~kept))
    codes = None if groups is None else pd.factorize(np.array(groups, object)[~kept])[0]
    count = len(dealt) if codes is None else len(set(codes.tolist()))
    if count < data.folds:
        what = "rows" if groups is None else f"groups of `{data.group}`"
        raise ValueError(
            f"data.folds: {count} {what} cannot be dealt to {data.folds} folds, each "
            f"of which needs one. Set it to {max(count, 2)} or less"
        )
    fold = np.full(len(frame), -1)
    fold[~kept] = _folds(dealt, codes, count, data.folds, seed)
    told = np.where(fold == data.fold - 1, "test", KEPT).astype(object)
    rest = (fold != data.fold - 1) & ~kept
    train, valid, _ = data.shares
    shares = (train / (train + valid), valid / (train + valid), 0)
    told[rest] = _drawn(labels, groups, rest, shares, seed)
    frame[column] = told
    if not kept.any():
        return []
    return [f"{int(kept.sum())} rows are `test` in the file: they are in no fold"]


def lacks(frame, column, shares):
    """Whether splits are to be drawn: all of them, or `valid` from train."""
    if column not in frame:
        return True
    if shares[0] == 0 or (frame[column] == "valid").any():
        return False
    return (frame[column] == "train").sum() >= 2


def groups_of(frame, column):
    """The group of each row, a list of str; None without a column.

    A row whose cell is empty is a group of its own.
    """
    if column is None or column not in frame:
        return None
    alone = [f"\0{line}" for line in frame.index]
    return frame[column].where(frame[column] != "", alone).tolist()


def torn(frame, column, group):
    """Sentences about groups that stand in more than one split."""
    if group is None or group not in frame or not len(frame):
        return []
    own = frame[frame[group] != ""]
    counts = own.groupby(group)[column].nunique()
    sentences = []
    for name in counts.index[counts > 1][:TOLD]:
        rows = own[own[group] == name]
        each = [
            f"{split} (line {part.index[0]}" + (", ...)" if len(part) > 1 else ")")
            for split, part in rows.groupby(column, sort=False)
        ]
        sentences.append(
            f"{group} `{name}` stands in several splits: {', '.join(each)}. Keep it in "
            "one, or drop the split column and let data.group draw the splits"
        )
    more = int((counts > 1).sum()) - len(sentences)
    return sentences + ([f"{more} more groups stand in several splits"] if more else [])


def grouped(labels, groups, shares, seed):
    """A split for every row, all rows of a group in the same.

    Groups are dealt to folds, each with the labels' shares of the whole as well as can
    be (scikit-learn's StratifiedGroupKFold), and the folds to the splits. Very many
    groups are drawn at random.

    Args:
        labels: as of `stratified`; rows that teach the same are one class.
        groups: list of str, one a row.
        shares: as of `stratified`.
        seed: of the shuffling.

    Returns:
        (rows,) array of str.

    Raises:
        ValueError: fewer groups than splits.
    """
    codes, names = pd.factorize(np.array(groups, dtype=object))
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise ValueError(
            f"data.group: {len(names)} groups cannot be dealt to {wanted} splits. Name "
            "a finer column, or set data.shares"
        )
    counts = _fold_counts(shares, len(names))
    folds = _folds(labels, codes, len(names), sum(counts), seed)
    # The last folds are the first splits: train takes what is left.
    of_fold = np.repeat(np.array(SPLITS[::-1], dtype=object), counts[::-1])
    return of_fold[folds]


def _fold_counts(shares, groups):
    """How many folds train, valid and test get; as few as give the shares best."""

    def counts(folds):
        held = [max(1, round(share * folds)) if share else 0 for share in shares[1:]]
        return [folds - sum(held), *held]

    def error(folds):
        made = np.array(counts(folds)) / folds
        return round(float(np.abs(made - shares).max()), 6), folds

    least = max(2, sum(share > 0 for share in shares))
    possible = range(least, max(least, min(MOST_FOLDS, groups)) + 1)
    return counts(min(possible, key=error))


def _folds(labels, codes, groups, count, seed):
    """The fold of each row, (rows,) int; by groups where there are codes of them."""
    if codes is not None and groups > MANY_GROUPS:
        order = np.random.default_rng(seed).permutation(groups)
        return (order % count)[codes]
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    classes = {each: number for number, each in enumerate(sorted(set(labels)))}
    told = np.array([classes[each] for each in labels])
    if np.bincount(told).max() < count:  # too few rows of each for any to be spread
        told[:] = 0
    folds, none = np.zeros(len(labels), int), np.zeros(len(labels))
    kind = StratifiedKFold if codes is None else StratifiedGroupKFold
    dealer = kind(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer rows than folds
        for number, (_, held) in enumerate(dealer.split(none, told, codes)):
            folds[held] = number
    return folds


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
