"""Decoded rows on disk, where they do not fit in memory: decoded once, then read.

Each set of rows has a folder of its own, named by a hash of what its decoders do and of
the bytes of every file: what changes is decoded anew, what moves or is copied is not. A
set is written beside and renamed when it is whole, so a kill leaves none half.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmkeras import __version__, disk

FAULTS = "faults.json"
# A partial set that nothing was written to for so long was left by a killed process.
LEFT_SECONDS = 3600


class Shelf:
    """A folder of decoded sets, of which the longest unused go first.

    Args:
        folder: where they are; made where it is not there.
        most_mb: megabytes that all of them together may take.
    """

    def __init__(self, folder, most_mb):
        self.folder, self.most_bytes = Path(folder), most_mb * 2**20

    def find(self, name):
        """The folder of a whole set, which counts as used now; None."""
        path = self.folder / name
        if not (path / FAULTS).is_file():
            return None
        os.utime(path)
        return path

    @contextlib.contextmanager
    def making(self, name, size):
        """A new folder to write a set to; it is the set's when all went well.

        Args:
            name: of the set.
            size: bytes that it will take.

        Raises:
            OSError: it cannot be written, as on a full disk.
        """
        try:
            self._shrink(self.most_bytes - size)
            with disk.filling(self.folder / name) as partial:
                yield partial
        except OSError as error:
            raise OSError(
                f"decoded rows cannot be kept in {self.folder} ({error}). Name another "
                "folder with MMKERAS_CACHE, or decode them in every epoch: "
                "data.disk_mb = 0"
            ) from error

    def _shrink(self, most_bytes):
        """Deletes the longest unused sets, and what killed processes left."""
        found = {path: _state(path) for path in self.folder.glob("*")}
        partial = {path for path in found if _is_partial(path)}
        left = [p for p in partial if time.time() - found[p][0] > LEFT_SECONDS]
        whole = sorted(found.keys() - partial, key=found.get)
        total = sum(found[path][1] for path in whole)
        while whole and total > most_bytes:
            left.append(whole.pop(0))
            total -= found[left[-1]][1]
        for path in left:
            # Whoever reads it goes on: an open file stays until it is closed.
            shutil.rmtree(path, ignore_errors=True)


class Shelved:
    """Reads rows of a set, in the way of a decoder: cells are numbers of rows.

    Args:
        name: of the input.
        specs: {key: tf.TensorSpec} of one row.
        folder: of the set.
        count: rows of the set.
    """

    is_file = False

    def __init__(self, name, specs, folder, count):
        self.name, self.specs = name, specs
        self._arrays = {
            key: np.memmap(folder / _file(key), kind, "r", shape=(count, *spec.shape))
            for key, spec in specs.items()
            for kind in [spec.dtype.as_numpy_dtype]
        }

    def attempt_batch(self, cells):
        """(batch,) numbers -> ({key: (batch, ...)}, (batch,) faults, all "")."""
        read = tf.numpy_function(
            lambda numbers: [array[numbers] for array in self._arrays.values()],
            [cells],
            [spec.dtype for spec in self.specs.values()],
        )
        rows = {
            key: tf.ensure_shape(values, (None, *spec.shape))
            for (key, spec), values in zip(self.specs.items(), read, strict=True)
        }
        return rows, tf.fill(tf.shape(cells), "")


def name_of(decoders, cells, lines):
    """The name of a set: a hash, hex.

    Args:
        decoders: {input: decoder}.
        cells: {input: paths of the files, a list of str}; "" is missing. All are read.
        lines: of the rows, (rows,) int64.
    """
    settings = {name: [type(d).__name__, vars(d)] for name, d in decoders.items()}
    settings["versions"] = [__version__, tf.__version__]
    found = hashlib.blake2b(digest_size=16)
    found.update(json.dumps(settings, sort_keys=True, default=str).encode())
    found.update(np.ascontiguousarray(lines, "int64"))
    for name in sorted(cells):
        paths = dict.fromkeys(cells[name])  # a file may stand on many rows
        known = {p: disk.digest(p) for p in paths if os.access(p, os.R_OK)}
        for path in cells[name]:
            # Of what cannot be opened: whether it is there, or gone, or none.
            state = known.get(path) or path and str(os.path.exists(path))
            found.update(f"{state}\n".encode())
    return found.hexdigest()


def write(folder, chunks):
    """Writes the rows of a set, as they are decoded.

    Args:
        folder: where to.
        chunks: {key: tensor} of some rows each.
    """
    with contextlib.ExitStack() as stack:
        files = {}
        for tensors in chunks:
            for key, tensor in tensors.items():
                if key not in files:
                    files[key] = stack.enter_context(open(folder / _file(key), "wb"))
                files[key].write(np.ascontiguousarray(tensor.numpy()))


def write_faults(folder, faults):
    """Writes {line: (column, reason)}, which makes a set whole."""
    told = [[line, *fault] for line, fault in faults.items()]
    (folder / FAULTS).write_text(json.dumps(told), encoding="utf-8")


def read_faults(folder):
    """Reads what `write_faults` wrote."""
    told = json.loads((folder / FAULTS).read_text(encoding="utf-8"))
    return {line: (column, reason) for line, column, reason in told}


def _file(key):
    """The name of a tensor's file: a column may be called anything."""
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _state(path):
    """(when it was last used or written to, its bytes) of a set."""
    files = [each.stat() for each in path.iterdir()]
    times = [path.stat().st_mtime, *(each.st_mtime for each in files)]
    used = max(times) if _is_partial(path) else times[0]
    return used, sum(each.st_size for each in files)


def _is_partial(path):
    return path.name.startswith(disk.PARTIAL)
