"""Cells and files -> decoded rows, held in memory or decoded when they are asked."""

import contextlib
import dataclasses
import os
import re

import numpy as np
import tensorflow as tf

from mmkeras.dataset.shelf import Shelved, name_of, read_faults, write, write_faults
from mmkeras.manifest import ManifestError

# Rows read and decoded as one piece of work; small enough that all cores get some.
CHUNK = 32
# Decoders use TensorFlow's conditions and loops, not Python's: converting their source
# would cost ten times more than tracing them.
as_written = tf.autograph.experimental.do_not_convert


def read(decoder, cells):
    """Decodes one input of a few rows.

    Args:
        decoder: one of `mmkeras.modalities`.
        cells: texts or paths, (rows,) string, (rows, columns) where the input reads
            several columns; "" is missing.

    Returns:
        ({key: (rows, ...)}, faults: strings in the shape of `cells`, "" where there is
        none).
    """
    if not decoder.is_file:
        return decoder.attempt_batch(cells)
    contents = tf.map_fn(
        lambda path: tf.cond(path == "", lambda: "", lambda: tf.io.read_file(path)),
        cells,
        fn_output_signature=tf.TensorSpec((), tf.string),
        parallel_iterations=8,
    )
    # To a decoder nothing is missing; a file with nothing in it is a fault.
    empty = (cells != "") & (contents == "")
    closed = tf.where(empty, "the file is empty", "")
    if hasattr(decoder, "unpacked"):
        contents, packed = decoder.unpacked(contents)
        closed = tf.where(empty, closed, packed)
    tensors, faults = decoder.attempt_batch(contents)
    return tensors, tf.where(closed != "", closed, faults)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The inputs of a manifest's rows, by row number: decoded already, or as files.

    Attributes:
        arrays: {key: (rows, ...)} of the inputs that are held decoded.
        cells: {input: (rows,) string} of the inputs that are decoded when asked for.
        decoders: {input: decoder} of the latter.
    """

    arrays: dict
    cells: dict
    decoders: dict

    def take(self, numbers):
        """The rows of these numbers, {key: (len(numbers), ...)}; for use in tf.data.

        Raises:
            InvalidArgumentError: a file that could be decoded before no longer can;
                names the file.
        """
        taken = {key: tf.gather(array, numbers) for key, array in self.arrays.items()}
        for name, decoder in self.decoders.items():
            cells = tf.gather(self.cells[name], numbers)
            tensors, faults = read(decoder, cells)
            cells, faults = tf.reshape(cells, (-1,)), tf.reshape(faults, (-1,))
            bad = tf.argmax(tf.cast(faults != "", tf.int32))
            check = tf.debugging.Assert(
                tf.reduce_all(faults == ""), [cells[bad], faults[bad]]
            )
            with tf.control_dependencies([check]):
                taken |= {key: tf.identity(tensor) for key, tensor in tensors.items()}
        return taken

    def keep(self, mask):
        """The rows where `mask`, (rows,) bool array, is True."""
        if mask.all():
            return self  # no second copy of what may be gigabytes
        pick = lambda column: tf.boolean_mask(column, mask)  # noqa: E731
        return Rows(
            {key: pick(array) for key, array in self.arrays.items()},
            {name: pick(cells) for name, cells in self.cells.items()},
            self.decoders,
        )

    def only(self, keys):
        """The inputs whose tensors are among these keys."""
        return Rows(
            {key: array for key, array in self.arrays.items() if key in keys},
            {name: cells for name, cells in self.cells.items() if name in keys},
            {name: each for name, each in self.decoders.items() if name in keys},
        )

    def __or__(self, other):
        """Both's inputs side by side; the rows must be the same."""
        return Rows(
            self.arrays | other.arrays,
            self.cells | other.cells,
            self.decoders | other.decoders,
        )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Rows of which some come more than once.

    Attributes:
        rows: `Rows`.
        numbers: (draws,) int64, the number of each draw's row.
    """

    rows: Rows
    numbers: np.ndarray

    def take(self, draws):
        """The rows of these draws, as `Rows.take` gives them."""
        return self.rows.take(tf.gather(self.numbers, draws))


def load(rows, decoders, *, cache_mb=2048, open_first=True, shelf=None, progress=None):
    """Decodes every row once: finds every fault, and keeps what fits in memory.

    Args:
        rows: a `manifest.Manifest`.
        decoders: {input: decoder}.
        cache_mb: megabytes that the decoded tensors may take; where they would take
            more, none is kept there.
        open_first: whether to decode also what is not kept, for its faults alone.
        shelf: a `Shelf` for what does not fit in memory; where it is None, or has no
            room for all, `Rows.take` decodes anew.
        progress: called with (rows done, rows) now and then.

    Returns:
        (Rows, {line: (column, reason)}); faulty inputs of a row are zeros in `Rows`.

    Raises:
        OSError: the shelf cannot be written.
    """
    if not decoders:
        return Rows({}, {}, {}), {}
    specs = {
        key: spec for each in decoders.values() for key, spec in each.specs.items()
    }
    size = _row_bytes(specs) * len(rows)
    keep = size <= cache_mb * 2**20
    if not keep and shelf and size <= shelf.most_bytes:
        return _shelved(rows, decoders, shelf, size, progress)
    if not (keep or open_first):
        cells = {name: tf.constant(rows.cells(name), tf.string) for name in decoders}
        return Rows({}, cells, dict(decoders)), {}
    cells, faults = _opened(rows, decoders)
    arrays = {
        key: np.empty((len(rows), *spec.shape), spec.dtype.as_numpy_dtype)
        for key, spec in (specs if keep else {}).items()
    }
    chunks = _decoded(cells, decoders, len(rows), keep)
    for place, tensors in _told(rows, chunks, faults, progress):
        for key, array in arrays.items():
            array[place] = tensors[key]
    if keep:
        held = {key: tf.constant(array) for key, array in arrays.items()}
        return Rows(held, {}, {}), faults
    return Rows({}, cells, dict(decoders)), faults


def _opened(rows, decoders):
    """({input: cells without files that cannot be opened}, their faults by line)."""
    cells, faults = {}, {}
    for name, decoder in decoders.items():
        cells[name], closed = openable(decoder, rows.cells(name))
        faults = _by_line(rows, 0, {name: closed}) | faults
    return cells, faults


def _told(rows, chunks, faults, progress):
    """Of each chunk where its rows stand, a slice, and its {key: tensor}.

    Puts what is wrong with them into `faults`, {line: (column, reason)}, where a line
    has none yet; calls `progress`, if any, with (rows done, rows).
    """
    done = 0
    for tensors, found in chunks:
        place = slice(done, done + len(next(iter(found.values()))))
        for line, fault in _by_line(rows, done, found).items():
            faults.setdefault(line, fault)
        yield place, tensors
        done = place.stop
        if progress:
            progress(done, len(rows))


def _shelved(rows, decoders, shelf, size, progress):
    """As `load`, of rows that stand on a shelf, or are put there now."""
    paths = {name: rows.cells(name) for name in decoders}
    name = name_of(decoders, paths, rows.frame.index)
    if not shelf.find(name):
        with shelf.making(name, size) as folder:
            cells, faults = _opened(rows, decoders)
            chunks = _decoded(cells, decoders, len(rows), True)
            told = _told(rows, chunks, faults, progress)
            write(folder, (tensors for _, tensors in told))
            write_faults(folder, faults)
    folder, numbers = shelf.folder / name, tf.range(len(rows), dtype=tf.int64)
    readers = {
        name: Shelved(name, decoder.specs, folder, len(rows))
        for name, decoder in decoders.items()
    }
    return Rows({}, dict.fromkeys(readers, numbers), readers), read_faults(folder)


def faults(rows, decoders):
    """What is wrong with cells that are no files, before anything is learnt of them.

    Args:
        rows: a `manifest.Manifest`.
        decoders: {input: decoder}; those without `faults` find none.

    Returns:
        {line: (column, reason)}.
    """
    found = {}
    for name, decoder in decoders.items():
        if hasattr(decoder, "faults"):
            cells = tf.constant(rows.cells(name), tf.string)
            found = _by_line(rows, 0, {name: decoder.faults(cells)}) | found
    return found


def openable(decoder, cells):
    """Cells with "" for every file that cannot be opened, and why, in one shape.

    The graph cannot go on after a file that it cannot open, as it can after one that
    it cannot decode.
    """
    if not decoder.is_file:
        cells = tf.constant(cells, tf.string)
        return cells, tf.zeros_like(cells)
    faults = [""] * len(cells)
    for position, path in enumerate(cells):
        if path and not os.access(path, os.R_OK):
            gone = "may not be read by this user" if os.path.exists(path) else "is gone"
            faults[position] = f"the file {gone}"
    cells = ["" if fault else cell for cell, fault in zip(cells, faults, strict=True)]
    return tf.constant(cells, tf.string), tf.constant(faults, tf.string)


@contextlib.contextmanager
def broken_files_named():
    """For what iterates: a file that broke since `load` is told in one sentence.

    Raises:
        ManifestError: instead of TensorFlow's account of graph, node and iterator.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not (found := broken(error)):
            raise
        path, reason = found
        raise ManifestError(
            f"{path} could be read when the run began and no longer can: {reason}"
        ) from error


def broken(error):
    """(path, what is wrong with it) of the file that an OpError is of; else None."""
    checked = re.search(r"assertion failed: \[(.*?)\] \[(.*)\]", str(error))
    opened = re.search(r"([^:\s][^:\n]*); (No such file.*|Perm.*)", str(error))
    found = checked or opened
    return found and tuple(part.replace("\\'", "'") for part in found.groups())


def _by_line(rows, first, found):
    """{input: faults} of the rows from `first` on -> {line: (column, reason)}."""
    faults = {}
    for name, reasons in found.items():
        columns = rows.columns(name)
        reasons = np.reshape(reasons, (-1, len(columns)))
        for position, at in np.argwhere(reasons != b"").tolist():
            line = int(rows.frame.index[first + position])
            faults.setdefault(line, (columns[at], reasons[position, at].decode()))
    return faults


def _row_bytes(specs):
    return sum(spec.dtype.size * spec.shape.num_elements() for spec in specs.values())


def _decoded(cells, decoders, count, keep):
    """Chunks of all rows: ({key: tensor} if `keep` else {}, {input: faults})."""

    @as_written
    def decode(numbers):
        tensors, found = {}, {}
        for name, decoder in decoders.items():
            own, found[name] = read(decoder, tf.gather(cells[name], numbers))
            tensors |= own
        return (tensors if keep else {}), found

    chunks = tf.data.Dataset.range(count).batch(CHUNK)
    return chunks.map(decode, tf.data.AUTOTUNE).prefetch(2)
