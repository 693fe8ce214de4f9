"""Rows of a manifest asked in batches, several at a time, answered in their order."""

import collections
import concurrent.futures
import os
from pathlib import Path

import pandas as pd

from mmkeras import manifest
from mmkeras.answering import sources, telling
from mmkeras.recipe import Data

BATCH_ROWS = 64  # the largest batch of an exported `batching.config`
# Of one batch's files; base64 makes a third more of them, and a server takes 64 MB.
BATCH_BYTES = 24 * 2**20
# While one batch is answered the files of the next are read.
AT_ONCE = max(2, os.cpu_count() or 1)


def questions(source, rows, folder=".", **keys):
    """The rows of a manifest without need of labels, a `manifest.Manifest`.

    Args:
        source: who will be asked.
        rows: path of a CSV or Parquet file with the inputs as columns, or a DataFrame.
        folder: where paths in the cells of a DataFrame start.
        **keys: `separator` and `encoding` of this file; without, those that the model
            was trained on.

    Raises:
        FileNotFoundError, ManifestError: see `manifest.read`.
        TypeError: `rows` is neither.
    """
    frame, path = None, rows
    if not isinstance(rows, str | Path | pd.DataFrame):
        raise TypeError(
            f"expected a DataFrame or the path of a table, got {rows!r:.80}"
        )
    if isinstance(rows, pd.DataFrame):
        frame, path = rows, Path(folder) / "the DataFrame"
    data = _data(source, str(path)).model_copy(update=keys)
    return manifest.read(data, frame=frame, targets_required=False)


def _data(source, path):
    """The section `data` of a recipe, for a manifest that is to be asked."""
    if source.data is not None:
        return source.data.model_copy(update={"manifest": path})
    # What each input is does not matter here, but whether its cells name files.
    inputs = {
        name: {"kind": "image"}
        if is_file(name, served)
        else {"kind": "text", "columns": served}
        for name, served in source.inputs.items()
    }
    return Data(manifest=path, inputs=inputs, targets={}, **source.keys)


def predict(place, rows, *, folder=".", exported=None):
    """Answers rows into a DataFrame, each row of them, in their order.

    Args:
        place: a run's folder, an exported one or a server's URL; a `run.Run`; or who
            answers, see `sources.source`.
        rows: see `questions`.
        folder: see `questions`.
        exported: the folder that a server serves: it knows neither the names of classes
            nor those of columns, nor what `missing` means.

    Returns:
        A DataFrame: `id`, what is told of each target, `missing`, `error`, and what is
        many numbers a row, `probabilities` in the order of the labels and `embedding`.
        Of a row that cannot be asked, as one whose file is not there, `error` says why
        and the rest is missing. Indexed as the DataFrame that was asked, else from 0.

    Raises:
        FileNotFoundError, ManifestError: see `manifest.read`.
        TypeError: `place` is none of these.
    """
    asked = place
    if not hasattr(place, "answer"):
        asked = sources.source(_place(place), exported=exported)
    answers = asked.answer(sources.nothing(asked.inputs))
    empty = telling.table(answers, [""], asked, long=True).iloc[:0]
    # What is true or false stays that beside rows that have neither.
    answerless = dict.fromkeys(empty.select_dtypes(bool), "boolean")
    empty = empty.astype(answerless)
    if isinstance(rows, pd.DataFrame) and rows.empty:
        return empty
    found = questions(asked, rows, folder)
    tables = [empty]
    for answers, at in batched(asked, found):
        table = telling.table(answers, found.ids[at], asked, long=True)
        tables.append(table.astype(answerless).set_index(found.frame.index[at]))
    if found.rejected:
        tables.append(_refused(found.rejected))
    whole = pd.concat(tables)
    whole = whole.sort_index(kind="stable").fillna({"error": ""})
    is_frame = isinstance(rows, pd.DataFrame)
    return whole.set_axis(rows.index if is_frame else range(len(whole)))


def _refused(rejected):
    """`id` and `error` of rows that cannot be asked, by their lines."""
    told = [f"{row.column}: {row.reason}".removeprefix(": ") for row in rejected]
    ids, lines = [row.id for row in rejected], [row.line for row in rejected]
    return pd.DataFrame({"id": ids, "error": told}, lines)


def _place(place):
    place = getattr(place, "folder", place)
    if not isinstance(place, str | Path):
        raise TypeError(
            f"expected a folder, a URL, a Run or a source to ask, got {place!r}"
        )
    return place


def batched(source, rows):
    """(answers of a batch, the slice of the rows that they are to), all in order."""
    done = 0
    for answers in answered(source, rows):
        stop = done + len(next(iter(answers.values())))
        yield answers, slice(done, stop)
        done = stop


def is_file(name, served):
    """Whether an input takes the bytes of files.

    Args:
        name: of the input.
        served: names of the strings it takes.
    """
    return served == [f"{name}_bytes"]


def answered(source, rows, *, start=0, stop=None, part_rows=None):
    """Asks rows in batches; the next are read while one is answered.

    Args:
        source: who answers.
        rows: a `manifest.Manifest`, see `questions`.
        start: first row.
        stop: the row after the last; all where None.
        part_rows: a batch ends after every so many rows, counted from the first.

    Yields:
        {output name: (rows, ...) array} of each batch, in order.

    Raises:
        FileNotFoundError: a file that is gone.
    """
    stop = len(rows) if stop is None else stop
    cells = {
        name: rows.cells(name)[start:stop]
        for name, served in source.inputs.items()
        if is_file(name, served)
    }
    frame, ids = rows.frame[start:stop], rows.ids[start:stop]

    def ask(span):
        columns = {}
        for name, served in source.inputs.items():
            if name in cells:
                columns[served[0]] = [
                    _sent(cells[name][at], name, ids[at]) for at in range(*span)
                ]
                continue
            for column in served:
                texts = frame[column].iloc[slice(*span)]
                columns[column] = [text.encode("utf-8") for text in texts]
        return source.answer(columns)

    pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
    waiting = collections.deque()
    try:
        for span in batches(list(cells.values()), stop - start, part_rows):
            waiting.append(pool.submit(ask, span))
            if len(waiting) > AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def batches(files, count, part_rows=None):
    """Cuts rows into batches of at most `BATCH_ROWS` rows and `BATCH_BYTES` of files.

    One row alone may have more.

    Args:
        files: lists of paths, "" for none, one a row each.
        count: rows.
        part_rows: no batch goes beyond a multiple of it; None: of nothing.

    Yields:
        (start, stop) of each.
    """
    start, total = 0, 0
    for at in range(count):
        size = sum(_size(paths[at]) for paths in files)
        is_full = at - start == BATCH_ROWS or total + size > BATCH_BYTES
        if at > start and (is_full or (part_rows and at % part_rows == 0)):
            yield start, at
            start, total = at, 0
        total += size
    if count > start:
        yield start, count


def _size(path):
    try:
        return os.path.getsize(path) if path else 0
    except OSError:  # told where it is read
        return 0


def _sent(path, name, identity):
    if not path:
        return b""
    try:
        return sources.sent(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"row `{identity}`, `{name}`: the file {path} is gone"
        ) from None
