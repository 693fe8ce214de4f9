"""Media brought once to what a model reads: pictures as PNG, sounds as WAV.

Upright pictures at the model's size, 8 bits; what the model hears of a sound, one
channel of 16 bits at its rate. Decoded again they are the same within half a step of 8
bits (1 / 510) and one step of 16 bits (2^-15), and the same bits where nothing had to
be scaled: pictures of the model's size, sounds of 16 bits, one channel and its rate.

A file is named by the content that it was made of: the same picture under two names is
written once, one that is moved is not written again, and one that changes is.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import wave
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmkeras import dataset, disk, modalities, progress
from mmkeras.manifest import ManifestError

MANIFEST, REJECTED, SETTINGS = "manifest.csv", "rejected.csv", "prepared.json"
# Within the folder of an input: what is beyond the limit, as it was.
ORIGINALS = "originals"


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write` did.

    Attributes:
        manifest: path of the new one.
        rows: the `manifest.Manifest` that was read, without the rows refused.
        files: how many were written.
        kept: how many were there already.
        originals: how many are beyond the limit, and stay as they were.
    """

    manifest: Path
    rows: object
    files: int
    kept: int
    originals: int


def write(recipe, rows, folder, *, limit_mb=None):
    """Writes the media of a manifest anew, and a manifest of them.

    What is there already is kept, so that a run that was stopped goes on; a file that
    has changed since is written again.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest` read with `recipe.data`.
        folder: where to; made here. Of pictures and sounds it holds `<input>/`.
        limit_mb: megabytes that the media in it may take; rows of what is beyond have
            their files as they are, by hard links. None: no limit.

    Returns:
        A `Written`.

    Raises:
        FileExistsError: the folder holds something else, or media of other settings,
            or another process writes there.
        ManifestError: no row can be used.
        OSError: a file beyond the limit cannot be linked.
    """
    folder = Path(folder)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    files = {name: each for name, each in decoders.items() if each.is_file}
    settings = {name: recipe.data.inputs[name] for name in files}
    with _claimed(folder, settings):
        inputs = [
            _Input(rows, decoder, folder, settings[name])
            for name, decoder in files.items()
        ]
        room = _Room(folder, inputs, limit_mb)
        for each in inputs:
            each.write(room)
        faults = dataset.faults(rows, decoders)
        for each in inputs:
            faults = each.by_line() | faults
        rows = rows.reject(faults)
        rows.write_rejected(folder / REJECTED)
        if not len(rows):
            told = f"see {folder / REJECTED}"
            raise ManifestError(f"{rows.path.name} has no row that can be used, {told}")
        _write_manifest(recipe.data, rows, inputs, folder / MANIFEST)
        for each in inputs:
            each.forget()
    counts = np.sum([each.counts for each in inputs] or [(0, 0, 0)], axis=0)
    return Written(folder / MANIFEST, rows, *counts.tolist())


@contextlib.contextmanager
def _claimed(folder, inputs):
    """Holds the folder for this process alone, and for these settings."""
    _claim(folder, inputs)
    with open(folder / SETTINGS, encoding="utf-8") as held:
        if not disk.locked(held):
            raise FileExistsError(
                f"another process writes into {folder}: let it end, or name another "
                "folder"
            )
        yield


def _claim(folder, inputs):
    """Makes the folder ours, for these settings."""
    settings, told = folder / SETTINGS, json.dumps(inputs, indent=2, sort_keys=True)
    if settings.is_file():
        had = settings.read_text(encoding="utf-8")
        if had != told:
            raise FileExistsError(
                f"{folder} was prepared for other settings, {_first(had, told)}. Name "
                "another folder, or delete it"
            )
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} holds something else: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with disk.replacing(settings) as partial:
        partial.write_text(told, encoding="utf-8")


def _first(had, told):
    pairs = zip(had.splitlines(), told.splitlines(), strict=False)
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), (had, told))
    return f"`{one.strip(' ,')}` and not `{other.strip(' ,')}`"


class _Input:
    """The files of one input, and what becomes of them.

    Args:
        rows: a `manifest.Manifest`.
        decoder: of the input.
        folder: where media are written to.
        settings: of the input, as a recipe has them.

    Attributes:
        names: {cell: its new cell}, of what can be opened.
        faults: {cell: what is wrong with its file}.
        counts: files written, kept, and beyond the limit.
    """

    def __init__(self, rows, decoder, folder, settings):
        self.name, self.decoder, self.folder = decoder.name, decoder, folder
        self.make, ending = _WAYS[isinstance(decoder, modalities.Audio)]
        frame = rows.frame
        self.cells = frame[self.name][frame[self.name] != ""]
        # A file may stand on many rows.
        index = self.cells.drop_duplicates().index
        first = dataclasses.replace(rows, frame=frame.loc[index])
        self.paths = dict(
            zip(first.frame[self.name], first.cells(self.name), strict=True)
        )
        _, closed = dataset.openable(decoder, list(self.paths.values()))
        told = zip(self.paths, closed.numpy(), strict=True)
        self.faults = {cell: fault.decode() for cell, fault in told if fault}
        good = [cell for cell in self.paths if cell not in self.faults]
        beginning = json.dumps([ending, settings], sort_keys=True).encode()
        digests = {cell: disk.digest(self.paths[cell], beginning) for cell in good}
        self.names = {
            cell: f"{self.name}/{digest[:32]}.{ending}"
            for cell, digest in digests.items()
        }
        self.counts = 0, 0, 0

    def write(self, room):
        """Writes what is not there, as far as there is room."""
        (self.folder / self.name).mkdir(exist_ok=True)
        first = {}
        for cell, new in self.names.items():
            first.setdefault(new, cell)
        todo = {n: c for n, c in first.items() if not room.holds(self.folder / n)}
        paths = tf.constant([self.paths[cell] for cell in todo.values()], tf.string)
        made = self.make(self.decoder, paths) if todo else ()
        broken, beyond = {}, {}
        with progress.bar(f"prepare {self.name}", len(todo)) as advance:
            for done, (new, (content, fault)) in enumerate(
                zip(todo, made, strict=True)
            ):
                if fault:
                    broken[new] = fault
                elif room.take(len(content)):
                    with disk.replacing(self.folder / new, synced=False) as partial:
                        partial.write_bytes(content)
                else:
                    beyond[new] = self._linked(new, self.paths[todo[new]])
                advance(done + 1, len(todo))
        for cell, new in self.names.items():
            if new in broken:
                self.faults[cell] = broken[new]
            self.names[cell] = beyond.get(new, new)
        written = len(todo) - len(broken) - len(beyond)
        self.counts = written, len(first) - len(todo), len(beyond)

    def _linked(self, new, path):
        """The cell of a file as it was, below the folder as a manifest's must be."""
        ending = re.sub(r"[^A-Za-z0-9.]", "", Path(path).suffix)[:10]
        cell = f"{self.name}/{ORIGINALS}/{Path(new).stem}{ending}"
        link = self.folder / cell
        link.parent.mkdir(exist_ok=True)
        try:
            link.unlink(missing_ok=True)
            os.link(os.path.realpath(path), link)
        except OSError as error:
            raise OSError(
                f"{path} is beyond --limit-mb and cannot be linked into {link.parent} "
                f"({error.strerror}): name a folder on the same file system, or a "
                "larger limit"
            ) from error
        return cell

    def by_line(self):
        """{line: (column, reason)} of rows whose file is bad."""
        bad = self.cells[self.cells.isin(list(self.faults))]
        return {int(line): (self.name, self.faults[cell]) for line, cell in bad.items()}

    def forget(self):
        """Deletes links that no row needs, and what a killed run was at."""
        needed = {self.folder / new for new in self.names.values()}
        below = self.folder / self.name
        for path in [*below.glob(f"{ORIGINALS}/*"), *below.glob(f"{disk.PARTIAL}*")]:
            if path not in needed:
                path.unlink()


class _Room:
    """The room that media may take in a folder: what no row needs goes, oldest first.

    Args:
        folder: of `_Input.folder`.
        inputs: the `_Input` of all.
        limit_mb: megabytes; None: no limit.
    """

    def __init__(self, folder, inputs, limit_mb):
        self.manifest = folder / MANIFEST
        self.most = float("inf") if limit_mb is None else limit_mb * 2**20
        needed = {folder / new for each in inputs for new in each.names.values()}
        there = [p for each in inputs for p in (folder / each.name).glob("*")]
        states = {path: path.stat() for path in there if path.is_file()}
        # An empty file is what a power cut leaves.
        self.sizes = {path: state.st_size for path, state in states.items()}
        aged = sorted(states, key=lambda path: (states[path].st_mtime_ns, path))
        self.spare = [path for path in aged if path not in needed]
        self.used = [path for path in aged if path in needed]
        while self.used and self._total(self.used) > self.most:
            self._delete(self.used.pop())
        self.bytes = self._total(self.used)
        self.spare_bytes = self._total(self.spare)
        self._make(0)

    def holds(self, path):
        """Whether a file is there and whole."""
        return self.sizes.get(path, 0) > 0

    def take(self, size):
        """Whether a file of so many bytes may be written; room is made for it."""
        fits = self.bytes + size <= self.most
        if fits:
            self._make(size)
            self.bytes += size
        return fits

    def _make(self, size):
        while self.spare and self.bytes + self.spare_bytes + size > self.most:
            self.spare_bytes -= self._delete(self.spare.pop(0))

    def _total(self, paths):
        return sum(self.sizes[path] for path in paths)

    def _delete(self, path):
        # The manifest that is there names it: one that is killed now leaves none.
        self.manifest.unlink(missing_ok=True)
        path.unlink()
        return self.sizes.pop(path)


def _pictures(decoder, paths):
    """(bytes of a PNG, fault) of each picture."""

    def encode(cells):
        tensors, faults = dataset.read(decoder, cells)
        levels = tf.cast(tf.round(tensors[decoder.name] * 255), tf.uint8)
        return tf.map_fn(
            tf.io.encode_png, levels, fn_output_signature=tf.string
        ), faults

    for contents, faults in _decoded(encode, paths):
        for content, fault in zip(contents, faults, strict=True):
            yield content, fault.decode()


def _sounds(decoder, paths):
    """(bytes of a WAV file, fault) of each sound."""
    name = decoder.name

    def encode(cells):
        tensors, faults = dataset.read(decoder, cells)
        levels = tf.clip_by_value(tf.round(tensors[name] * 2**15), -(2**15), 2**15 - 1)
        return tf.cast(levels, tf.int16), tensors[f"{name}_samples"], faults

    for levels, samples, faults in _decoded(encode, paths):
        for own, count, fault in zip(levels, samples, faults, strict=True):
            yield wav_bytes(own[:count], decoder.rate_hz), fault.decode()


def _decoded(encode, paths):
    """What `encode` makes of the files, by all cores, in their order."""
    chunks = tf.data.Dataset.from_tensor_slices(paths).batch(dataset.CHUNK)
    return chunks.map(encode, tf.data.AUTOTUNE).prefetch(2).as_numpy_iterator()


def wav_bytes(levels, rate_hz):
    """A WAV file of one channel.

    Args:
        levels: (samples,) int16.
        rate_hz: samples a second.
    """
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(levels.astype("<i2").tobytes())
    return written.getvalue()


# What makes the files of an input, and their ending: of pictures, and of sounds.
_WAYS = (_pictures, "png"), (_sounds, "wav")


def _write_manifest(data, rows, inputs, path):
    """The rows that are used, with their splits, as the recipe will read them."""
    frame = rows.frame.copy()
    for each in inputs:
        new = {"": "", **each.names}
        frame[each.name] = frame[each.name].map(new.__getitem__)
    frame = frame.rename(columns=rows.columns_in_file)
    with disk.replacing(path) as partial:
        frame.to_csv(partial, index=False, sep=data.separator, encoding=data.encoding)
