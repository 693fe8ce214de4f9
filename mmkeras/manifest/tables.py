"""A table of texts from a CSV, a Parquet file or a DataFrame: the cells as they are."""

import array
import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd

PARQUET = (".parquet", ".pq")


class ManifestError(ValueError):
    """A manifest that cannot be used as a whole, or holds rows that were refused."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of a table.

    Attributes:
        frame: one row each, all cells texts without spaces around them, "" where
            empty; indexed by the line where a row begins (the header of a CSV is 1),
            or by the row's number from 1 on where the table is no CSV.
        ragged: {line: cells} of a CSV's rows with too many or too few.
    """

    frame: pd.DataFrame
    ragged: dict


def read(path, separator=",", encoding="utf-8"):
    """Reads a CSV, or a Parquet file by its ending.

    Args:
        path: the file.
        separator: of a CSV's cells.
        encoding: of a CSV.

    Raises:
        FileNotFoundError: no such file.
        ImportError: Parquet without pyarrow.
        ManifestError: the file as a whole cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder, not a CSV file" if path.is_dir() else "not there"
        if not path.exists() and not path.is_absolute():
            kind += f": relative paths start where the command runs, {Path.cwd()}"
        raise FileNotFoundError(f"the manifest {path} is {kind}")
    if path.suffix.lower() in PARQUET:
        return of_frame(_read_parquet(path), path.name)
    return _read_csv(path, separator, encoding)


def of_frame(frame, name="the DataFrame"):
    """The table of a DataFrame: numbers become texts, what is missing becomes "".

    Whole numbers stay whole where pandas made floats of them for want of some: 3, not
    3.0.

    Raises:
        ManifestError: no rows, two columns of one name, cells that are no plain values.
    """
    header = [str(column).strip() for column in frame.columns]
    _require(name, header, len(frame))
    columns = {
        column: _texts(name, column, frame.iloc[:, place])
        for place, column in enumerate(header)
    }
    index = range(1, len(frame) + 1)
    return Table(pd.DataFrame(columns, index, dtype=object), {})


def called(table, columns, name="the DataFrame"):
    """The table with the columns called as a recipe calls them.

    Args:
        table: a `Table`.
        columns: {name in the recipe: the file's}; those that are not there stay out.
        name: of the file, for the error.

    Raises:
        ManifestError: another column has a name that the recipe gives.
    """
    there = {column: own for own, column in columns.items() if column in table.frame}
    for column, own in there.items():
        if own in table.frame and own not in there:
            raise ManifestError(
                f"{name} has a column `{own}` beside `{column}`, which data.columns "
                f"calls `{own}`: choose another name there"
            )
    return dataclasses.replace(table, frame=table.frame.rename(columns=there))


def _read_parquet(path):
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path.name} is Parquet, which needs: pip install 'mmkeras[parquet]'"
        ) from error
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError) as error:
        told = str(error).splitlines()[0]
        raise ManifestError(f"{path.name} is no Parquet file: {told}") from None


def _texts(name, column, values):
    values = values.convert_dtypes()
    plain = values.isna()
    if values.dtype == object:  # what pandas knows no better type for
        plain |= values.map(lambda cell: isinstance(cell, str | int | float))
    if not plain.all() and values.dtype == object:
        at = plain.to_numpy().argmin()
        kind = type(values.iloc[at]).__name__
        raise ManifestError(
            f"{name}, row {at + 1}: column `{column}` holds a value of type {kind}. A "
            "manifest holds texts, numbers and paths of files"
        )
    missing = values.isna()
    return [
        "" if gone else str(c).strip() for c, gone in zip(values, missing, strict=True)
    ]


def _read_csv(path, separator, encoding):
    text = _text(path, encoding)
    csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))
    # Strict: a quote that is never closed would swallow the rows after it.
    reader = csv.reader(text, delimiter=separator, strict=True)
    kept, lines, ragged, start = None, array.array("q"), {}, 1
    try:
        for cells in reader:  # an empty line is no row
            if cells and kept is None:
                kept = _Columns([cell.strip() for cell in cells])
            elif cells and len(cells) == len(kept.header):
                lines.append(start)
                kept.add(cells)
            elif cells:
                ragged[start] = cells
            start = reader.line_num + 1  # a quoted cell may span several lines
    except csv.Error as error:
        raise ManifestError(
            f"{path.name} is not CSV in the row that begins on line {start}: {error}. "
            'A cell that begins with " ends with one, and each " within it is doubled'
        ) from None
    if kept is None:
        raise ManifestError(f"{path.name} is empty: expected a header and rows")
    _require(path.name, kept.header, len(lines) + len(ragged))
    index = np.frombuffer(lines, "int64") if lines else []
    return Table(pd.DataFrame(kept.taken(), index, dtype=object), ragged)


class _Columns:
    """Rows as they come, held column by column in little memory: there may be millions.

    A list for each row would take more than its cells do. Equal cells of a column, as
    labels and files are, become one text; where most differ, that is given up.

    Attributes:
        header: names of the columns.
    """

    PILE, KNOWN = 4096, 20_000

    def __init__(self, header):
        self.header = header
        self._rows, self._columns = [], [[] for _ in header]
        self._known = [{} for _ in header]

    def add(self, cells):
        """Takes the cells of a row."""
        self._rows.append(cells)
        if len(self._rows) == self.PILE:
            self._settle()

    def taken(self):
        """{name: (rows,) array of str}; nothing is left here."""
        self._settle()
        columns, self._columns = self._columns[::-1], []
        return {name: np.array(columns.pop(), object) for name in self.header}

    def _settle(self):
        for place, cells in enumerate(zip(*self._rows, strict=True)):
            cells, known = map(str.strip, cells), self._known[place]
            if len(known) < self.KNOWN:
                cells = [known.setdefault(cell, cell) for cell in cells]
            self._columns[place].extend(cells)
        self._rows = []


def _require(name, header, rows):
    """Columns of different names, and rows."""
    if repeated := sorted({each for each in header if header.count(each) > 1}):
        two = f"two columns called `{repeated[0]}`: rename one"
        raise ManifestError(f"{name} has {two}. Header: {header}")
    if not rows:
        raise ManifestError(f"{name} has a header but no rows. Header: {header}")


def _text(path, encoding):
    """A CSV to read line by line: a StringIO would take four bytes a letter."""
    content, named = path.read_bytes(), encoding
    try:
        # utf-8-sig reads UTF-8 with and without the mark that spreadsheets put first.
        plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        encoding = "utf-8-sig" if plain else encoding
        content.decode(encoding)  # whole: a reader of parts tells wrong places
        return io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path.name} is not {named}: line {line} holds the byte "
            f"{content[error.start]:#04x}. Save it as UTF-8, or name its encoding: "
            "data.encoding in a recipe, --encoding behind a command (cp1252 and "
            "gb18030 are common)"
        ) from None
    except LookupError:
        raise ManifestError(f"data.encoding: no encoding `{named}`") from None
