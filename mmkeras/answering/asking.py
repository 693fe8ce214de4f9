"""Rows of a manifest asked in batches, several at a time, answered in their order."""

import collections
import concurrent.futures
import os

from mmkeras import manifest
from mmkeras.answering import sources
from mmkeras.recipe import Data

BATCH_ROWS = 64  # the largest batch of an exported `batching.config`
# Of one batch's files; base64 makes a third more of them, and a server takes 64 MB.
BATCH_BYTES = 24 * 2**20
# While one batch is answered the files of the next are read.
AT_ONCE = max(2, os.cpu_count() or 1)


def questions(source, path):
    """The rows of a manifest without need of labels, a `manifest.Manifest`.

    Args:
        source: who will be asked.
        path: of a CSV or Parquet file with the inputs as columns.

    Raises:
        FileNotFoundError, ManifestError: see `manifest.read`.
    """
    if source.data is not None:
        data = source.data.model_copy(update={"manifest": str(path)})
        return manifest.read(data, targets_required=False)
    # What each input is does not matter here, but whether its cells name files.
    inputs = {
        name: {"kind": "image"}
        if is_file(name, served)
        else {"kind": "text", "columns": served}
        for name, served in source.inputs.items()
    }
    data = Data(manifest=str(path), inputs=inputs, targets={}, **source.keys)
    return manifest.read(data, targets_required=False)


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
