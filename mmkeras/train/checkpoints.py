"""Checkpoints on disk: whole or not there, the last two kept, each with its checksum.

A file is a JSON header, arrays in NumPy's format and a SHA-256 over both. Keras'
`BackupAndRestore` writes weights and epoch number into files that a kill leaves half
written, and knows neither metrics in mid-epoch nor the state of other callbacks.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os

import numpy as np

from mmkeras import run

KEPT = 2
ENDING = ".checkpoint"
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class State:
    """All that a fit needs to go on as if it had not been interrupted.

    Attributes:
        meta: what JSON holds: `fit`, `phase`, `epoch` and `step` that come next,
            `history` and more; see `keeping.Keeper`.
        arrays: {group: list of arrays}.
    """

    meta: dict
    arrays: dict


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: made with the first one.
        log: called with a line of text now and then.
        is_writer: whether this process writes; other workers of a run only read.
        ends: of the last so many epochs the checkpoint at their end stays too.
    """

    def __init__(self, folder, log=print, is_writer=True, ends=0):
        self.folder, self.log, self.is_writer = folder, log, is_writer
        self.kept_ends = ends

    def add(self, state):
        """Writes a `State`; the last two stay, and the last epochs' ends.

        Raises:
            NotWrittenError: the disk is full or the folder cannot be written; what was
                there before stays.
        """
        if not self.is_writer:
            return
        with run.told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        files = self._files()
        number = int(files[-1].stem) + 1 if files else 1
        with run.replacing(self.folder / f"{number:08d}{ENDING}") as partial:
            write(partial, state)
        files = self._files()
        kept = files[-KEPT:]
        if self.kept_ends:
            own = {key: state.meta[key] for key in ("fit", "phase")}
            kept += self._ends(files, own)[-self.kept_ends :]
        for old in set(files) - set(kept):
            old.unlink(missing_ok=True)

    def newest(self, fit):
        """The last whole `State` of a fit, None where there is none.

        One that is broken is taken away and named in a line.

        Args:
            fit: its `meta["fit"]`.
        """
        for path in reversed(self._files()):
            state = self._whole(path, "going on from the one before it")
            if state and state.meta["fit"] == fit:
                return state
        return None

    def ends(self, place):
        """The whole `State`s at the ends of the last epochs, the oldest first.

        Args:
            place: {"fit", "phase"} of their `meta`.
        """
        paths = self._ends(self._files(), place)[-self.kept_ends :]
        found = [self._whole(path, "going on without it") for path in paths]
        return [state for state in found if state]

    def _whole(self, path, instead):
        """The `State` in a file; None where it is broken, which is told."""
        try:
            return read(path)
        except (OSError, ValueError) as error:
            self.log(f"{path} is broken ({error}): {instead}")
            with contextlib.suppress(OSError):
                if self.is_writer:
                    path.unlink()
            return None

    @staticmethod
    def _ends(paths, place):
        """Those of the files that were written at the end of an epoch of a fit."""
        wanted = {**place, "step": 0}
        return [path for path in paths if wanted.items() <= _meta(path).items()]

    @property
    def last(self):
        """Path of the newest file; None where there is none."""
        return next(reversed(self._files()), None)

    def clear(self):
        """Takes all away: what was fitted is saved. The folder says: not finished."""
        for path in self.folder.glob(f"*{ENDING}"):  # half written ones too
            path.unlink(missing_ok=True)

    def end(self):
        """Takes the folder away: the run is finished."""
        self.clear()
        with contextlib.suppress(OSError):  # somebody's file in it
            self.folder.rmdir()

    def _files(self):
        return sorted(self.folder.glob(f"[0-9]*{ENDING}"))


def write(path, state):
    """Writes a `State` to a file."""
    counts = {group: len(arrays) for group, arrays in state.arrays.items()}
    head = json.dumps({"meta": state.meta, "counts": counts}).encode()
    with open(path, "wb") as file:
        hashed = _Hashed(file)
        hashed.write(len(head).to_bytes(8, "little") + head)
        for array in itertools.chain(*state.arrays.values()):
            np.lib.format.write_array(hashed, np.asarray(array), allow_pickle=False)
        file.write(hashed.digest.digest())


class _Hashed:
    """A file that is written to, and a digest of what was."""

    def __init__(self, file):
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content):
        self.digest.update(content)
        return self.file.write(content)


def read(path):
    """The `State` in a file.

    Raises:
        ValueError: the file is not whole.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        _require_whole(file)
        size = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(size))
        arrays = {
            group: [np.lib.format.read_array(file) for _ in range(count)]
            for group, count in head["counts"].items()
        }
    return State(head["meta"], arrays)


def _meta(path):
    """The `meta` of a file whose checksum is not looked at; {} where it has none."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(min(size, path.stat().st_size)))["meta"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _require_whole(file):
    """Compares content and checksum, and stands at the file's begin again."""
    left = os.fstat(file.fileno()).st_size - DIGEST_BYTES
    digest = hashlib.sha256()
    while left > 0 and (part := file.read(min(left, 2**20))):
        digest.update(part)
        left -= len(part)
    if left or file.read() != digest.digest():
        raise ValueError("its checksum does not fit its content")
    file.seek(0)
