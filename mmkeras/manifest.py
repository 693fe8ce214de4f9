"""CSV -> Manifest: columns, splits, labels, paths; every bad row with its reason.

Rows read = rows used + rows refused, always. No TensorFlow here: what can be known
without opening a picture or a sound is known in seconds.
"""

import csv
import dataclasses
import functools
import io
import itertools
import os
import re
from pathlib import Path

import pandas as pd

from mmkeras import splits, targets
from mmkeras.families import VALUES, columns_of
from mmkeras.splits import SPLITS


class ManifestError(ValueError):
    """A manifest that cannot be used as a whole, or holds rows that were refused."""


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One refused row: where it stands, what is wrong, and all its cells.

    Attributes:
        line: line of the file where the row begins; the header is line 1.
        id: the row's id; the line number where it has none.
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
        folder = self.path.parent
        return [os.path.join(folder, cell) if cell else "" for cell in cells]

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
            A Manifest; the rows stand in `rejected`, in the order of the file.
        """
        refused = [
            _refuse(line, self.frame.loc[line].to_dict(), self.id, *fault)
            for line, fault in faults.items()
        ]
        rejected = sorted([*self.rejected, *refused], key=lambda row: row.line)
        frame = self.frame.drop(index=list(faults))
        return dataclasses.replace(self, frame=frame, rejected=tuple(rejected))

    def write_rejected(self, path):
        """Writes the refused rows as CSV: line, id, column, reason, then all cells."""
        own = ["line", "id", "column", "reason"]
        columns = list(dict.fromkeys(c for row in self.rejected for c in row.cells))
        # A column of the manifest may bear one of our four names.
        names = [f"manifest_{name}" if name in own else name for name in columns]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*own, *names])
            for row in self.rejected:
                cells = [row.cells.get(column, "") for column in columns]
                writer.writerow([row.line, row.id, row.column, row.reason, *cells])


def read(data, *, labels=None, targets_required=True, seed=0):
    """Reads and validates a manifest.

    Args:
        data: the `data` section of a recipe.
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
    header, rows = _read_csv(path, data.separator, data.encoding)
    training = targets_required and labels is None
    _require_columns(path, header, data, targets_required, training)
    chosen = {name: each for name, each in data.targets.items() if name in header}
    inputs = {name: choice["kind"] for name, choice in data.inputs.items()}
    path_fault = functools.cache(functools.partial(_path_fault, path.parent.resolve()))
    lines, kept, rejected = [], [], []
    for line, cells in rows:
        row = dict(zip(header, map(str.strip, cells), strict=False))
        row[data.id] = row.get(data.id) or str(line)
        fault = _ragged(header, cells, row)
        if fault := fault or _row_fault(row, data, targets_required, path_fault):
            rejected.append(_refuse(line, row, data.id, *fault))
        else:
            lines.append(line)
            kept.append(row)
    columns = list(dict.fromkeys([*header, data.id]))
    frame = pd.DataFrame(kept, index=lines, columns=columns, dtype=object)
    keys = data.id, data.split
    reads = {name: columns_of(name, choice) for name, choice in data.inputs.items()}
    found = Manifest(path, frame, inputs, chosen, *keys, tuple(rejected), (), reads)
    shares = data.shares if training else (0, 0, 1)
    taught = targets.of_rows(frame, chosen)
    warnings = splits.fill(frame, data.split, taught, shares, seed)
    if targets_required:
        found = found.reject(_unseen_labels(found, labels))
    warnings += _duplicate_ids(found)
    return dataclasses.replace(found, warnings=tuple(warnings))


def header(data):
    """Names of the columns, a list of str; arguments and errors as of `read`."""
    return _read_csv(Path(data.manifest), data.separator, data.encoding)[0]


def _read_csv(path, separator, encoding):
    """Header and [(line where the row begins, cells)]; empty lines are no rows."""
    if not path.is_file():
        kind = "a folder, not a CSV file" if path.is_dir() else "not there"
        raise FileNotFoundError(f"the manifest {path} is {kind}")
    text = io.StringIO(_decode(path, encoding), newline="")
    csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))
    # Strict: a quote that is never closed would swallow the rows after it.
    reader = csv.reader(text, delimiter=separator, strict=True)
    lines, start = [], 1
    try:
        for cells in reader:
            lines += [(start, cells)] if cells else []
            start = reader.line_num + 1  # a quoted cell may span several lines
    except csv.Error as error:
        raise ManifestError(
            f"{path.name} is not CSV in the row that begins on line {start}: {error}. "
            'A cell that begins with " ends with one, and each " within it is doubled'
        ) from None
    if not lines:
        raise ManifestError(f"{path.name} is empty: expected a header and rows")
    header = [cell.strip() for cell in lines[0][1]]
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        two = f"two columns called `{repeated[0]}`: rename one"
        raise ManifestError(f"{path.name} has {two}. Header: {header}")
    if not lines[1:]:
        raise ManifestError(f"{path.name} has a header but no rows. Header: {header}")
    return header, lines[1:]


def _decode(path, encoding):
    content = path.read_bytes()
    try:
        # utf-8-sig reads UTF-8 with and without the mark that spreadsheets put first.
        plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return content.decode("utf-8-sig" if plain else encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path.name} is not {encoding}: line {line} holds the byte "
            f"{content[error.start]:#04x}. Save it as UTF-8, or name its encoding with "
            "data.encoding (cp1252 and gb18030 are common)"
        ) from None
    except LookupError:
        raise ManifestError(f"data.encoding: no encoding `{encoding}`") from None


def _require_columns(path, header, data, targets_required, training):
    wanted = dict.fromkeys(_columns(data), "inputs")
    if targets_required:
        wanted |= {name: "targets" for name in data.targets}
    if training:  # These are made where they are absent, but not under a chosen name.
        chosen = {getattr(data, key): key for key in ("id", "split")}
        wanted |= {name: key for name, key in chosen.items() if name != key}
    if lacking := {name: k for name, k in wanted.items() if name not in header}:
        names = ", ".join(f"`{name}`" for name in lacking)
        keys = ", ".join(dict.fromkeys(f"data.{key}" for key in lacking.values()))
        raise ManifestError(
            f"{path.name} has no column {names}. Found {header}. Rename it, name your "
            f"own column under {keys}, or set data.separator if the cells are not "
            f"separated by `{data.separator}`"
        )


def _columns(data):
    """All columns that the inputs read, in the order of the recipe, each once."""
    columns = [columns_of(name, choice) for name, choice in data.inputs.items()]
    return list(dict.fromkeys(itertools.chain.from_iterable(columns)))


def _ragged(header, cells, row):
    """The fault of a row with too many or too few cells; keeps those too many."""
    if len(cells) == len(header):
        return None
    for number in range(len(header), len(cells)):
        row[f"cell {number + 1}"] = cells[number]
    return "", f"{len(cells)} cells where the header has {len(header)}"


def _row_fault(row, data, labelled, path_fault):
    """(column, reason) where the row cannot be used, else None; mends its split."""
    if fault := _split_fault(row, data.split, labelled):
        return fault
    if labelled and (fault := _target_fault(row, data.targets)):
        return fault
    if not any(row[column] for column in _columns(data)):
        return "", f"every input is empty: {', '.join(_columns(data))}"
    for name, choice in data.inputs.items():
        cell = "" if choice["kind"] in VALUES else row[name]
        if cell and (reason := path_fault(cell)):
            return name, reason
    return None


def _split_fault(row, column, labelled):
    if column not in row:
        return None
    name = row[column].lower()
    row[column] = name = splits.ALIASES.get(name, name)
    if not labelled and name not in SPLITS:
        row[column] = name = "test"
    if name in SPLITS:
        return None
    what = f"`{name}` is not a split" if name else "the split is empty"
    return column, f"{what}. Splits: {', '.join([*SPLITS, *splits.ALIASES])}"


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
    except (OSError, ValueError, RuntimeError) as error:  # Runtime: a loop of links
        return f"`{cell}` is no path: {error}"
    hint = "; write / between folders" if "\\" in cell else ""
    return f"the file `{cell}` {missing}{hint}"


def _refuse(line, row, id_column, column, reason):
    return Rejected(int(line), row[id_column], column, reason, row)


def _target_fault(row, chosen):
    """(column, reason) of a target that cannot be learned from, else None.

    Of several targets some may be empty: the row then teaches the others.
    """
    given = {name for name in chosen if row[name]} or set(chosen)
    for name in chosen:
        if name in given and (reason := targets.fault(chosen[name], row[name])):
            return name, reason
    return None


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
