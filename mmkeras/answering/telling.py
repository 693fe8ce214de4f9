"""Answers for people, for JSON, and as a table."""

import numpy as np
import pandas as pd

# What is told of a target, in this order, and thereafter of the row.
OF_TARGET = ("label", "labels", "value", "probability", "abstained", "similarity")
OF_TARGET += ("probabilities", "embedding")
OF_ROW = ("present", "error")


def told(answers, at, identity, source):
    """One row's answer: probabilities by label, presence by input.

    Args:
        answers: {output name: (rows, ...) array}.
        at: which row.
        identity: its id; "" for none.
        source: who answered, see `sources`.

    Returns:
        A dict that JSON takes.
    """
    row = {"id": identity} if identity else {}
    for key in sorted(answers, key=_rank):
        value = answers[key][at]
        if key.endswith("probabilities"):
            row[key] = dict(
                zip(_names(key, source.labels), value.tolist(), strict=True)
            )
        elif key == "present":
            row[key] = dict(zip(source.inputs, value.tolist(), strict=True))
        else:
            row[key] = _text(value) if isinstance(value, bytes) else value.tolist()
    return row


def shown(row):
    """The answer of `told` for people, a line a key.

    `missing`, `error` and `abstained` have a line where they say something: what never
    abstains, and a row that is told, need none.
    """
    lines = []
    for key, value in row.items():
        if key.endswith("probabilities"):
            ranked = sorted(value.items(), key=lambda pair: -pair[1])[:5]
            value = ", ".join(f"{label} {share:.4f}" for label, share in ranked)
        elif key == "present":
            gone = (name for name, present in value.items() if not present)
            key, value = "missing", " ".join(gone)
        elif key.endswith("embedding"):
            value = f"{len(value)} numbers, see --json"
        elif key.endswith("abstained"):
            value = "yes, too unsure to answer" if value else ""
        elif isinstance(value, float):
            value = f"{value:.4f}"
        if value != "":
            lines.append([key, value])
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:{width}}  {value}" for key, value in lines)


def table(answers, ids, source, long=False):
    """Answers as a table: `id`, what is told of each target, `missing`, `error`.

    Args:
        answers: {output name: (rows, ...) array}.
        ids: of the rows.
        source: who answered.
        long: with what is many numbers a row too, `probabilities` in the order of the
            labels and `embedding`, as lists: Parquet holds them, a cell of a CSV does
            not.

    Returns:
        A DataFrame.
    """
    columns = {"id": list(ids)}
    for key in sorted(answers, key=_rank):
        values = answers[key]
        if key == "present":
            names = np.array(list(source.inputs))
            columns["missing"] = [" ".join(names[~row]) for row in values]
        elif values.dtype == object:
            columns[key] = [_text(value) for value in values]
        elif values.ndim == 1:
            columns[key] = values
        elif long:
            columns[key] = list(values)
    return pd.DataFrame(columns)


def _text(raw):
    return raw.decode("utf-8", "replace")


def _names(key, labels):
    """The labels whose probabilities an output holds; of a single target it is bare."""
    target = key.removesuffix("probabilities").rstrip("_")
    return labels[target] if target in labels else next(iter(labels.values()))


def _rank(key):
    """The label first, what went wrong last."""
    target, _, end = key.rpartition("_")
    ends = OF_TARGET + OF_ROW
    return (end in OF_ROW, target, ends.index(end) if end in ends else len(ends))
