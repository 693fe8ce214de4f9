"""CSV -> Manifest: columns, splits, labels, paths; every bad row with its reason.

Rows read = rows used + rows refused, always. No TensorFlow here: what can be known
without opening a picture or a sound is known in seconds.
"""

import csv
import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

SPLITS = ("train", "valid", "test")

# Other names that data sets give to the three splits.
SPLIT_ALIASES = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}

# Kinds of input whose cell is the value itself; in all others it is a file's path.
VALUES = ("text",)


class ManifestError(ValueError):
    """A manifest that cannot be used as a whole, or holds rows that were refused."""


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One refused row: where it stands, what is wrong, and all its cells.

    Attributes:
        line: line of the file where the row begins; the header is line 1.
        id: the row's id; the line number where there is no id column.
        column: the column at fault; empty where it is the row as a whole.
        reason: one sentence fragment.
        cells: {column: text} as read.
    """

    line: int
    id: str
    column: str
    reason: str
    cells: dict

    def __str__(self):
        where = f"line {self.line}, row `{self.id}`"
        return f"{where}, `{self.column}`: {self.reason}" if self.column else (
            f"{where}: {self.reason}"
        )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The usable rows of a CSV, and an account of the others.

    Attributes:
        path: the CSV; the paths in its cells are relative to its folder.
        frame: one row each with all cells of the file as text, stripped of spaces, ""
            where empty; indexed by the line where the row begins (the header is 1).
            Splits bear their full names; `id` and `split` are added where absent.
        inputs: {column: kind}.
        targets: names of the target columns.
        id: name of the id column.
        split_column: name of the split column.
        rejected: the refused rows.
        warnings: sentences about rows that are used all the same.
    """

    path: Path
    frame: pd.DataFrame
    inputs: dict
    targets: tuple
    id: str = "id"
    split_column: str = "split"
    rejected: tuple = ()
    warnings: tuple = ()

    def __len__(self):
        return len(self.frame)

    @property
    def rows_read(self):
        """Rows of the file, used and refused."""
        return len(self.frame) + len(self.rejected)

    @property
    def ids(self):
        """The rows' ids, a list of str."""
        return self.frame[self.id].tolist()

    def cells(self, name):
        """What a reader of input `name` is given: texts, or paths of files; "" missing.

        Returns:
            A list of str, one a row.
        """
        cells = self.frame[name].tolist()
        if self.inputs[name] in VALUES:
            return cells
        folder = self.path.parent
        return [str(folder / cell) if cell else "" for cell in cells]

    def split(self, name):
        """The rows of one split, as a Manifest without rejected rows."""
        frame = self.frame[self.frame[self.split_column] == name]
        return dataclasses.replace(self, frame=frame, rejected=(), warnings=())

    def head(self, rows):
        """At most the first `rows` of each split, for a quick try; none refused."""
        frame = self.frame.groupby(self.split_column, sort=False).head(rows)
        return dataclasses.replace(self, frame=frame, rejected=(), warnings=())

    def reject(self, faults):
        """This manifest without some rows.

        Args:
            faults: {line: (column, reason)}.

        Returns:
            A Manifest; the rows stand in `rejected`, in the order of the file.
        """
        refused = [
            _refuse(line, self.frame.loc[line].to_dict(), self.id, *fault)
            for line, fault in faults.items()
        ]
        return dataclasses.replace(
            self,
            frame=self.frame.drop(index=list(faults)),
            rejected=_in_order([*self.rejected, *refused]),
        )

    def write_rejected(self, path):
        """Writes the refused rows as CSV: line, id, column, reason, then all cells."""
        columns = list(dict.fromkeys(c for row in self.rejected for c in row.cells))
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["line", "id", "column", "reason", *columns])
            for row in self.rejected:
                cells = [row.cells.get(column, "") for column in columns]
                writer.writerow([row.line, row.id, row.column, row.reason, *cells])


def read(data, *, labels=None, targets_required=True, seed=0):
    """Reads and validates a manifest.

    Args:
        data: the `data` section of a recipe: `manifest`, `inputs`, `targets`, `id`,
            `split`, `shares`, `separator`, `encoding`.
        labels: {target: its labels} of a trained model; without, those of the train
            split are the known ones.
        targets_required: False for rows that are to be predicted; their targets may
            then be absent, and every row gets the split `test` where none is given.
        seed: of the split, where the file has no split column.

    Returns:
        A `Manifest`. Rows with a fault stand in its `rejected`.

    Raises:
        FileNotFoundError: no such file.
        ManifestError: the file as a whole cannot be used.
    """
    path = Path(data.manifest)
    header, rows, ragged = _read_csv(path, data.separator, data.encoding)
    _require_columns(path, header, data, targets_required)
    targets = tuple(name for name in data.targets if name in header)
    inputs = {name: choice["kind"] for name, choice in data.inputs.items()}
    check = _RowCheck(path.parent, data, inputs, targets, targets_required)
    lines, kept, rejected = [], [], list(ragged)
    for line, cells in rows:
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        row.setdefault(data.id, str(line))
        fault = check(row)
        if fault:
            rejected.append(_refuse(line, row, data.id, *fault))
        else:
            lines.append(line)
            kept.append(row)
    columns = list(dict.fromkeys([*header, data.id]))
    frame = pd.DataFrame(kept, index=lines, columns=columns, dtype=object)
    found = Manifest(path, frame, inputs, targets, data.id, data.split)
    found = dataclasses.replace(found, rejected=_in_order(rejected))
    training = targets_required and labels is None
    warnings = _fill_splits(found, data.shares if training else (0, 0, 1), seed)
    if targets_required:
        found = found.reject(_unseen_labels(found, labels))
    warnings += _duplicate_ids(found)
    return dataclasses.replace(found, warnings=tuple(warnings))


def _read_csv(path, separator, encoding):
    """Header, [(line, cells)] and the refused ragged rows."""
    if not path.is_file():
        kind = "a folder, not a CSV file" if path.is_dir() else "not there"
        raise FileNotFoundError(f"the manifest {path} is {kind}")
    # utf-8-sig reads UTF-8 with and without the mark that spreadsheets put first.
    encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    try:
        with open(path, newline="", encoding=encoding) as file:
            lines = list(_numbered(csv.reader(file, delimiter=separator)))
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path.name} is not {error.encoding}: byte {error.start} is "
            f"{error.object[error.start]:#04x}. Save it as UTF-8, or name its encoding "
            "with data.encoding (cp1252 and gb18030 are common)"
        ) from None
    except LookupError:
        raise ManifestError(f"data.encoding: no encoding `{encoding}`") from None
    except csv.Error as error:
        raise ManifestError(f"{path.name} is not CSV: {error}") from None
    if not lines:
        raise ManifestError(f"{path.name} is empty: expected a header and rows")
    header = [cell.strip() for cell in lines[0][1]]
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise ManifestError(
            f"{path.name} has two columns called `{repeated[0]}`. Header: {header}"
        )
    body = [(line, cells) for line, cells in lines[1:] if cells]
    if not body:
        raise ManifestError(f"{path.name} has a header but no rows. Header: {header}")
    rows = [(line, cells) for line, cells in body if len(cells) == len(header)]
    ragged = [
        Rejected(
            line,
            str(line),
            "",
            f"{len(cells)} cells where the header has {len(header)}",
            dict(zip(header, cells, strict=False)),
        )
        for line, cells in body
        if len(cells) != len(header)
    ]
    return header, rows, ragged


def _numbered(reader):
    """(line where the row begins, cells); a quoted cell may span several lines."""
    start = 1
    for cells in reader:
        yield start, cells
        start = reader.line_num + 1


def _require_columns(path, header, data, targets_required):
    wanted = {name: "inputs" for name in data.inputs}
    if targets_required:
        wanted |= {name: "targets" for name in data.targets}
    for name, section in wanted.items():
        if name not in header:
            raise ManifestError(
                f"{path.name} has no column `{name}`. Found {header}. Rename it, name "
                f"your own column under data.{section}, or set data.separator if the "
                "cells are not separated by it"
            )


class _RowCheck:
    """All checks of one row that need no look inside a file."""

    def __init__(self, folder, data, inputs, targets, targets_required):
        self.folder = folder.resolve()
        self.data = data
        self.inputs = inputs
        self.targets = targets
        self.targets_required = targets_required
        self.reasons = {}  # path as written -> what is wrong with it, or ""

    def __call__(self, row):
        """(column, reason) where the row cannot be used, else None; mends the split."""
        return self._split(row) or self._labels(row) or self._inputs(row)

    def _split(self, row):
        if self.data.split not in row:
            return None
        name = row[self.data.split].lower()
        row[self.data.split] = name = SPLIT_ALIASES.get(name, name)
        if name in SPLITS:
            return None
        if not self.targets_required:
            row[self.data.split] = "test"
            return None
        known = ", ".join([*SPLITS, *SPLIT_ALIASES])
        return self.data.split, f"`{name}` is not a split. Splits: {known}"

    def _labels(self, row):
        for name in self.targets if self.targets_required else ():
            if not row[name]:
                return name, "the label is empty"
        return None

    def _inputs(self, row):
        if not any(row[name] for name in self.inputs):
            return "", f"every input is empty: {', '.join(self.inputs)}"
        for name, kind in self.inputs.items():
            if kind in VALUES or not row[name]:
                continue
            if row[name] not in self.reasons:
                self.reasons[row[name]] = _path_fault(self.folder, row[name])
            if self.reasons[row[name]]:
                return name, self.reasons[row[name]]
        return None


def _path_fault(folder, cell):
    """What is wrong with a cell's path, or "" where it is a file below the folder."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", cell):
        return f"`{cell}` is a network address: download it beside the manifest"
    if cell.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", cell):
        return f"`{cell}` is absolute: name it from the manifest's folder"
    try:
        path = (folder / cell).resolve()
        if not path.is_relative_to(folder):
            return f"`{cell}` leads out of the manifest's folder"
        if path.is_file():
            return ""
        missing = "is a folder" if path.is_dir() else "does not exist"
    except (OSError, ValueError) as error:
        return f"`{cell}` is no path: {error}"
    return f"the file `{cell}` {missing}"


def _refuse(line, row, id_column, column, reason):
    return Rejected(int(line), row[id_column], column, reason, row)


def _in_order(rejected):
    return tuple(sorted(rejected, key=lambda row: row.line))


def _fill_splits(found, shares, seed):
    """Makes the split column, or its `valid` part, where the file has none."""
    frame, column = found.frame, found.split_column
    if column not in frame:
        frame[column] = _stratified(frame, found.targets, shares, seed)
        return []
    train = frame[column] == "train"
    if shares[0] == 0 or (frame[column] == "valid").any() or train.sum() < 2:
        return []
    part = _stratified(frame[train], found.targets, (0.9, 0.1, 0), seed)
    frame.loc[train, column] = part
    taken = int((part == "valid").sum())
    return [f"no row is `valid`: {taken} of {train.sum()} train rows are taken for it"]


def _stratified(frame, targets, shares, seed):
    """A split for every row, the shares kept within every combination of labels."""
    generator = np.random.default_rng(seed)
    split = np.empty(len(frame), dtype=object)
    labels = [frame[name] for name in targets]
    keys = list(zip(*labels, strict=True)) or [()] * len(frame)
    groups = pd.Series(range(len(frame))).groupby(pd.Index(keys, tupleize_cols=False))
    for _, positions in sorted(groups.indices.items()):
        order = generator.permutation(positions)
        # The first of a class go to train, so that no class is missing there.
        ends = np.ceil(np.cumsum(shares) * len(order) - 1e-9).astype(int)
        for name, part in zip(SPLITS, np.split(order, ends[:2]), strict=True):
            split[part] = name
    return split


def _unseen_labels(found, labels):
    frame, faults = found.frame, {}
    train = frame[found.split_column] == "train"
    for name in found.targets:
        known = set(labels[name] if labels else frame.loc[train, name])
        for line, label in frame.loc[~frame[name].isin(known), name].items():
            reason = f"the label `{label}` does not occur in the train split"
            faults[line] = (name, reason)
    return faults


def _duplicate_ids(found):
    repeated = found.frame[found.frame.duplicated(found.id, keep=False)]
    groups = repeated.groupby(found.id, sort=False)
    sentences = []
    for name, rows in itertools.islice(groups, 20):
        lines = ", ".join(str(line) for line in rows.index)
        same = len(rows.drop_duplicates()) == 1
        kind = "the same row" if same else "different rows"
        sentences.append(f"id `{name}` stands on lines {lines}: {kind}")
    return sentences
