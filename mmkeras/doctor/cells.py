"""What is odd about rows beside each other: leaks, contradictions, rare labels."""

import unicodedata

import pandas as pd

from mmkeras import targets
from mmkeras.doctor.finding import listed, of
from mmkeras.families import VALUES

# Train rows below which a class can hardly be learned: fewer than this, or than this
# share of what the median class has.
FEW_ROWS, SMALL_SHARE = 5, 0.05
# Beside other inputs, a short text may well be the same by chance.
LONG_TEXT = 20
EXAMPLES = 4


def findings(rows, held):
    """Leaks, contradictions, texts without words, empty inputs, rare classes.

    Args:
        rows: a `manifest.Manifest`.
        held: {input: `contents.told`}.

    Yields:
        `Finding`s.
    """
    content = pd.DataFrame({name: table["content"] for name, table in held.items()})
    for name in content:
        yield from _leaks(rows, name, content)
        yield from _gaps(rows, name, content[name])
        if rows.inputs[name] == "text":
            yield from _wordless(rows, name, content[name])
    yield from _whole_rows(rows, content)
    yield from _unjudged(rows)
    yield from _rare(rows)


def _leaks(rows, name, content):
    """The same content in two splits."""
    if rows.inputs[name] == "tabular":  # whole rows are looked at
        return
    splits = rows.frame[rows.split_column]
    there = content[name][content[name] != ""]
    number = splits[there.index].groupby(there).transform("nunique")
    leaked = there[number > 1]
    what = "the same file in two splits"
    if rows.inputs[name] in VALUES:
        what = "the same text in two splits"
        if len(rows.inputs) > 1:
            # What recurs within a split, too, is a phrase of the data and no copy.
            pairs = pd.DataFrame({"text": leaked, "split": splits[leaked.index]})
            twice = set(pairs[pairs.duplicated()]["text"])
            leaked = leaked[~leaked.isin(twice) & (leaked.str.len() >= LONG_TEXT)]
    if len(leaked):
        what += f": {_pairs(splits, leaked)}"
        yield of(rows, "leak", name, leaked.index, what, _LEAK)


_LEAK = "What a model has seen tells nothing in valid or test: keep them in one split"


def _pairs(splits, leaked):
    """Examples of lines with the same content."""
    groups = leaked.groupby(leaked, sort=False)
    shown = []
    for _, part in groups:
        if len(shown) == EXAMPLES:
            break
        names = splits[part.index]
        each = [
            listed([names.index[names == s][0]]) + f" ({s})" for s in names.unique()
        ]
        shown.append(" = ".join(each).replace("line ", ""))
    more = groups.ngroups - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _whole_rows(rows, content):
    """Rows of equal inputs: in two splits, or with different labels."""
    key = ["\x1e".join(row) for row in content.itertuples(index=False)]
    key = pd.Series(key, content.index, dtype=object)
    splits = rows.frame[rows.split_column]
    kinds = list(rows.inputs.values())
    # Rows with files or with one text were looked at, input by input.
    if set(kinds) <= set(VALUES) and kinds != ["text"]:
        leaked = key[splits.groupby(key).transform("nunique") > 1]
        if len(leaked):
            what = f"rows with the same inputs in two splits: {_pairs(splits, leaked)}"
            yield of(rows, "leak", "", leaked.index, what, _LEAK)
    for name in rows.targets:
        labels = rows.frame[name][rows.frame[name] != ""]
        own = key[labels.index]
        torn = own[labels.groupby(own).transform("nunique") > 1]
        if len(torn):
            what = "rows with the same inputs and different labels: "
            what += _pairs(labels, torn)
            yield of(
                rows, "contradiction", name, torn.index, what, "One of them is wrong"
            )


def _gaps(rows, name, content):
    """An input that a whole split lacks."""
    empty = (content == "").groupby(rows.frame[rows.split_column]).all()
    for split in empty.index[empty]:
        lines = rows.frame.index[rows.frame[rows.split_column] == split]
        what = f"every row of {split} lacks it"
        yield of(rows, "gap", name, lines, what, "Drop the input, or fill the column")


def _wordless(rows, name, content):
    """Texts of nothing but punctuation, spaces and signs that no one sees."""
    odd = [bool(text) and not any(map(_tells, text)) for text in content]
    if any(odd):
        what = "a text without a letter, a digit or a symbol"
        yield of(rows, "wordless", name, content.index[odd], what, "Empty the cell")


def _tells(character):
    return unicodedata.category(character)[0] in "LNS"


def _unjudged(rows):
    """Train rows alone: nothing tells what a model has learned of them."""
    if set(rows.frame[rows.split_column]) == {"train"}:
        what = "no usable row is in the splits valid and test"
        yield of(rows, "split", "", (), what, "Training needs some: call rows so")


def _rare(rows):
    """One label alone, and labels with next to no train rows."""
    train = rows.frame[rows.frame[rows.split_column] == "train"]
    for name, choice in rows.targets.items():
        if choice["kind"] not in targets.CLOSED or train.empty:
            continue
        told = [
            (line, targets.labels_in(choice, cell))
            for line, cell in train[name].items()
        ]
        pairs = pd.DataFrame(told, columns=["line", "label"]).explode("label")
        pairs = pairs[pairs["label"].fillna("") != ""]
        counts = pairs["label"].value_counts()
        if choice["kind"] == "classification" and len(counts) == 1:
            what = f"every train row is `{counts.index[0]}`: nothing to tell apart"
            yield of(
                rows, "single", name, (), what, "Training needs two labels or more"
            )
        least = max(FEW_ROWS, SMALL_SHARE * counts.median()) if len(counts) else 0
        few = counts[counts < least]
        if len(few):
            shown = ", ".join(f"`{label}` {count}" for label, count in few[:12].items())
            more = f" and {len(few) - 12} more" if len(few) > 12 else ""
            what = f"labels with fewer than {least:.0f} train rows: {shown}{more}"
            lines = pairs["line"][pairs["label"].isin(few.index)]
            advice = "Add rows, or bring labels together"
            yield of(rows, "rare", name, set(lines), what, advice)
