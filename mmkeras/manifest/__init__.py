"""CSV -> Manifest: columns, splits, labels, paths; every bad row with its reason.

Rows read = rows used + rows refused, always. No TensorFlow here: what can be known
without opening a picture or a sound is known in seconds.
"""

import csv
import dataclasses
import itertools
import os
from pathlib import Path

import pandas as pd

from mmkeras import splits, targets
from mmkeras.families import VALUES, columns_of
from mmkeras.manifest import cleaning, paths, tables
from mmkeras.manifest.tables import ManifestError
from mmkeras.splits import SPLITS

__all__ = ["SPLITS", "Manifest", "ManifestError", "Rejected", "header", "read"]


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One refused row: where it stands, what is wrong, and all its cells.

    Attributes:
        line: line of the file where the row begins; the header is line 1.
        id: the row's id; the line number where it has none.
        column: the column at fault, by the file's name; empty where it is the row as a
            whole.
        reason: one sentence fragment.
        cells: {column: text} as read.
    """

    line: int
    id: str
    column: str
    reason: str
    cells: dict

    def __str__(self):
        column = f", `{self.column}`" if self.column else ""
        return f"line {self.line}, row `{self.id}`{column}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The usable rows of a CSV, and an account of the others.

    Attributes:
        path: the CSV; the paths in its cells are relative to its folder.
        frame: one row each with all cells of the file as text, stripped of spaces, ""
            where empty; indexed by the line where the row begins (the header is 1).
            Splits bear their full names; `id`, the line, and `split` are added where
            absent.
        inputs: {input: kind}.
        targets: {target: its task and options}.
        id: name of the id column.
        split_column: name of the split column.
        rejected: the refused rows.
        warnings: sentences about rows that are used all the same.
        reads: {input: columns that it reads}; an input that is not in it reads the
            column of its own name.
        columns_in_file: {column: the file's name of it}, where that is another.
    """

    path: Path
    frame: pd.DataFrame
    inputs: dict
    targets: dict
    id: str = "id"
    split_column: str = "split"
    rejected: tuple = ()
    warnings: tuple = ()
    reads: dict = dataclasses.field(default_factory=dict)
    columns_in_file: dict = dataclasses.field(default_factory=dict)

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

    def columns(self, name):
        """The columns that input `name` reads, a tuple of str."""
        return self.reads.get(name, (name,))

    def cells(self, name):
        """What a reader of input `name` is given: texts, or paths of files; "" missing.

        Returns:
            A list, one a row: of str, or of tuples of str where the input reads several
            columns.
        """
        columns = self.columns(name)
        if len(columns) > 1:
            return list(self.frame[[*columns]].itertuples(index=False, name=None))
        cells = self.frame[columns[0]].tolist()
        if self.inputs[name] in VALUES:
            return cells
        folder = os.path.join(self.path.parent, "")
        return [folder + cell if cell else "" for cell in cells]

    def split(self, name):
        """The rows of one split, as a Manifest without rejected rows."""
        return self._only(self.frame[self.frame[self.split_column] == name])

    def head(self, rows):
        """At most `rows` of each split, for a quick try; none refused.

        The first of every label, then the second of every label, and so on: the rows
        may be sorted by label. Labels that `train` is left without leave the others.
        """
        turn = self.frame.groupby([self.split_column, *self.targets]).cumcount()
        frame = self.frame.loc[turn.sort_values(kind="stable").index]
        frame = frame.groupby(self.split_column, sort=False).head(rows).sort_index()
        unseen = _unseen_labels(self._only(frame), None)
        return self._only(frame.drop(index=list(unseen)))

    def _only(self, frame):
        return dataclasses.replace(self, frame=frame, rejected=(), warnings=())

    def reject(self, faults):
        """This manifest without some rows.

        Args:
            faults: {line: (column, reason)}.

        Returns:
            A Manifest; the rows stand in `rejected`, in the order of the file. Itself
            where there is no fault: a copy takes room for all cells again.
        """
        if not faults:
            return self
        refused = [
            _refuse(
                line,
                self.frame.loc[line].to_dict(),
                self.id,
                self.columns_in_file.get(column, column),
                reason,
            )
            for line, (column, reason) in faults.items()
        ]
        rejected = sorted([*self.rejected, *refused], key=lambda row: row.line)
        frame = self.frame.drop(index=list(faults))
        return dataclasses.replace(self, frame=frame, rejected=tuple(rejected))

    def listed(self, most=10):
        """The first of the refused rows for people, a line each, and how many more."""
        lines = [f"  {row}" for row in self.rejected[:most]]
        more = len(self.rejected) - most
        return "\n".join(lines + [f"  and {more} more"] * (more > 0))

    def write_rejected(self, path):
        """Writes the refused rows as CSV: line, id, column, reason, then all cells.

        Cells stand under the file's names of their columns.
        """
        own = ["line", "id", "column", "reason"]
        columns = list(dict.fromkeys(c for row in self.rejected for c in row.cells))
        names = [self.columns_in_file.get(name, name) for name in columns]
        # A column of the manifest may bear one of our four names.
        names = [f"manifest_{name}" if name in own else name for name in names]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*own, *names])
            for row in self.rejected:
                cells = [row.cells.get(column, "") for column in columns]
                writer.writerow([row.line, row.id, row.column, row.reason, *cells])


def read(data, *, frame=None, labels=None, targets_required=True, seed=0):
    """Reads and validates a manifest.

    Args:
        data: the `data` section of a recipe.
        frame: a DataFrame to take instead of the file; paths in its cells start at the
            folder of `data.manifest` all the same, and its rows count from 1.
        labels: {target: its labels} of a trained model; without, those of the train
            split are the known ones.
        targets_required: False for rows that are to be predicted; their targets may
            then be absent, and every row gets the split `test` where none is given.
        seed: of the split, where the file has no split column.

    Returns:
        A `Manifest`. Rows with a fault stand in its `rejected`.

    Raises:
        FileNotFoundError: no such file.
        ImportError: a Parquet file, and no pyarrow.
        ManifestError: the file as a whole cannot be used.
    """
    path = Path(data.manifest)
    table = _table(data) if frame is None else tables.of_frame(frame)
    own = data.columns
    if not targets_required:  # one that is there by chance is not asked for
        own = {name: own[name] for name in own if name not in data.targets}
    table = tables.called(table, own, path.name)
    training = targets_required and labels is None
    header = list(table.frame)
    _require_columns(path, header, data, targets_required, training)
    chosen = {name: each for name, each in data.targets.items() if name in header}
    inputs = {name: choice["kind"] for name, choice in data.inputs.items()}
    frame = table.frame
    lines = frame.index.astype(str)
    frame[data.id] = frame.get(data.id, pd.Series("", frame.index)).where(
        lambda ids: ids != "", lines
    )
    ragged = tuple(_ragged(header, *each, data.id) for each in table.ragged.items())
    reads = {name: columns_of(name, choice) for name, choice in data.inputs.items()}
    keys = data.id, data.split
    found = Manifest(path, frame, inputs, chosen, *keys, ragged, (), reads, own)
    found = found.reject(_row_faults(frame, data, path.parent, targets_required))
    if targets_required:
        found = found.reject(cleaning.faults(found.frame, data, data.columns_read))
    warnings = _fill_splits(found, data, data.shares if training else (0, 0, 1), seed)
    if targets_required:
        found = found.reject(_unseen_labels(found, labels))
    warnings += _duplicate_ids(found)
    warnings += splits.torn(found.frame, data.split, data.group)
    return dataclasses.replace(found, warnings=tuple(warnings))


def header(data):
    """Names of the columns, a list of str; arguments and errors as of `read`."""
    return list(_table(data).frame)


def _table(data):
    return tables.read(data.manifest, data.separator, data.encoding)


def _require_columns(path, header, data, targets_required, training):
    wanted = dict.fromkeys(data.columns_read, "inputs")
    if targets_required:
        wanted |= {name: "targets" for name in data.targets}
    if training:  # These are made where they are absent, but not under a chosen name.
        chosen = {getattr(data, key): key for key in ("id", "split")}
        wanted |= {name: key for name, key in chosen.items() if name != key}
        wanted |= {data.group: "group"} if data.group else {}
        wanted |= {data.weight: "weight"} if data.weight else {}
    if lacking := {name: k for name, k in wanted.items() if name not in header}:
        names = ", ".join(f"`{data.columns.get(name, name)}`" for name in lacking)
        keys = ", ".join(dict.fromkeys(f"data.{key}" for key in lacking.values()))
        found = [data.columns.get(name, name) for name in header]
        told = (
            f"{path.name} has no column {names}. Found {found}. Rename it, or name "
            f"your own column under {keys}"
        )
        if {"inputs", "targets"} & {*lacking.values()}:
            told += " or data.columns"
        if len(header) == 1:
            told += (
                f". If the cells are not separated by `{data.separator}`, set "
                "data.separator"
            )
        raise ManifestError(told)


def _fill_splits(found, data, shares, seed):
    """Draws what is not told, or a fold; see `splits.fill` and `splits.hold_out`."""
    is_fold = data.fold and shares[0]
    if not is_fold and not splits.lacks(found.frame, data.split, shares):
        return []
    taught = targets.of_rows(found.frame, found.targets)
    groups = splits.groups_of(found.frame, data.group)
    given = found.frame, data.split, taught
    try:
        if is_fold:
            return splits.hold_out(*given, data, seed, groups)
        return splits.fill(*given, shares, seed, groups)
    except ValueError as error:
        raise ManifestError(str(error)) from None


def _ragged(header, line, cells, id_column):
    """A row with too many or too few cells, refused; keeps those too many."""
    names = header + [f"cell {n + 1}" for n in range(len(header), len(cells))]
    row = dict(zip(names, cells, strict=False))
    row = {
        name: cell if name not in header else cell.strip() for name, cell in row.items()
    }
    row[id_column] = row.get(id_column) or str(line)
    reason = f"{len(cells)} cells where the header has {len(header)}"
    return Rejected(line, row[id_column], "", reason, row)


def _row_faults(frame, data, folder, labelled):
    """{line: (column, reason)} of rows that cannot be used; mends their splits."""
    faults = {}

    def add(column, reasons):
        bad = reasons[reasons != ""]
        for line, reason in bad.items():
            faults.setdefault(line, (column, reason))

    if data.split in frame:
        frame[data.split], reasons = _splits(frame[data.split], labelled)
        add(data.split, reasons)
    if labelled:
        for name, reasons in _taught_faults(frame, data):
            add(name, reasons)
    columns = data.columns_read
    nothing = frame[columns].eq("").all(axis=1)
    told = [data.columns.get(name, name) for name in columns]
    empty = f"every input is empty: {', '.join(told)}"
    add("", pd.Series("", frame.index, dtype=object).mask(nothing, empty))
    known = paths.Folder(folder)
    for name, choice in data.inputs.items():
        if choice["kind"] not in VALUES:
            add(name, _each(frame[name], known.fault))
    return faults


def _each(cells, judge):
    """What `judge` says of each cell; asked once for equal ones. Series of str."""
    said = {cell: judge(cell) if cell else "" for cell in cells.unique()}
    return cells.map(said).astype(object)


def _splits(cells, labelled):
    """(names of the splits, what is wrong with them): two Series of str."""
    names = cells.str.lower().map(lambda name: splits.ALIASES.get(name, name))
    if not labelled:
        names = names.where(names.isin(SPLITS), "test")
    known = f". Splits: {', '.join([*SPLITS, *splits.ALIASES])}"
    told = {
        name: (f"`{name}` is not a split" if name else "the split is empty") + known
        for name in names.unique()
    }
    return names, names.map(told).mask(names.isin(SPLITS), "").astype(object)


def _weight_fault(cell):
    if targets.is_number(cell) and float(cell) >= 0:
        return ""
    return f"`{cell}` is no weight: write 0 or more, as 1 or 0.5"


def _taught_faults(frame, data):
    """(column, what is wrong with its cells) where they cannot be learned from.

    Of several targets some may be empty: the row then teaches the others.
    """
    if data.weight in frame:
        yield data.weight, _each(frame[data.weight], _weight_fault)
    chosen = data.targets
    given = frame[list(chosen)].ne("").any(axis=1)
    for name, choice in chosen.items():
        said = {cell: targets.fault(choice, cell) for cell in frame[name].unique()}
        excused = given & (frame[name] == "")
        yield name, frame[name].map(said).mask(excused, "").astype(object)


def _refuse(line, row, id_column, column, reason):
    return Rejected(int(line), row[id_column], column, reason, row)


def _unseen_labels(found, labels):
    train = found.frame[found.split_column] == "train"
    known = labels or targets.known(found.targets, found.frame[train])
    return {
        line: (name, f"{what} does not occur in the train split")
        for line, (name, what) in targets.unseen(found.frame, found.targets, known)
    }


def _duplicate_ids(found):
    repeated = found.frame[found.frame.duplicated(found.id, keep=False)]
    groups = repeated.groupby(found.id, sort=False)
    sentences = []
    for name, rows in itertools.islice(groups, 20):
        lines = ", ".join(str(line) for line in rows.index)
        same = len(rows.drop(columns=found.split_column).drop_duplicates()) == 1
        kind = "the same row" if same else "different rows"
        splits = ", ".join(rows[found.split_column].unique())
        sentences.append(f"id `{name}` stands on lines {lines} ({splits}): {kind}")
    if len(groups) > 20:
        sentences.append(f"{len(groups) - 20} more ids stand on several lines")
    return sentences
