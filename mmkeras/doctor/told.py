"""Rows in numbers: what an input's cells measure, and how the labels are spread."""

import pandas as pd

from mmkeras import targets


def sizes(rows, facts):
    """What can be long or short, large or small.

    Args:
        rows: a `manifest.Manifest`.
        facts: {input: numbers a line}, of `opening.opened`.

    Returns:
        {(input, quantity): Series of one number a line, NaN where missing}.
    """
    found = {}
    for name, kind in rows.inputs.items():
        table = facts.get(name)
        if kind == "text":
            cells = ["".join(cell) for cell in rows.cells(name)]
            lengths = pd.Series(map(len, cells), rows.frame.index, "float64")
            found[name, "characters"] = lengths.where(lengths > 0)
        elif kind == "audio" and table is not None:
            found[name, "seconds"] = table["frames"] / table["rate_hz"]
        elif kind == "image" and table is not None:
            found[name, "pixels"] = table["width"] * table["height"]
            found[name, "width / height"] = table["width"] / table["height"]
    return found


def measures(rows, sizes):
    """One dict an input and quantity, for tables.

    Args:
        rows: a `manifest.Manifest`.
        sizes: see `sizes`.

    Returns:
        Dicts of "input", "kind", "rows" that have it, "empty", and where something is
        measured "quantity", "least", "median" and "most".
    """
    found = []
    for name, kind in rows.inputs.items():
        there = int(rows.frame[[*rows.columns(name)]].ne("").any(axis=1).sum())
        own = {"input": name, "kind": kind, "rows": there, "empty": len(rows) - there}
        quantities = [key for key in sizes if key[0] == name]
        for key in quantities if there else ():
            values = sizes[key].dropna()
            span = dict(
                zip(
                    ("least", "median", "most"),
                    values.quantile([0, 0.5, 1]),
                    strict=True,
                )
            )
            found.append({**own, "quantity": key[1], **span})
        if not (quantities and there):
            found.append(own)
    return found


def classes(rows):
    """{target: {label: {split: rows}}} of the targets that have labels."""
    found = {}
    for name, choice in rows.targets.items():
        if choice["kind"] in targets.NUMBERS:
            continue
        cells = rows.frame[name].map(lambda cell, c=choice: targets.labels_in(c, cell))
        pairs = pd.DataFrame({"label": cells, "split": rows.frame[rows.split_column]})
        pairs = pairs.explode("label")
        pairs = pairs[pairs["label"].fillna("") != ""]
        table = pairs.groupby(["label", "split"]).size().unstack(fill_value=0)
        found[name] = {
            label: {split: int(count) for split, count in row.items()}
            for label, row in table.iterrows()
        }
    return found
