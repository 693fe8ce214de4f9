"""Media brought once to what a model reads: pictures as PNG, sounds as WAV.

Upright pictures at the model's size, 8 bits; what the model hears of a sound, one
channel of 16 bits at its rate. Decoded again they are the same within half a step of 8
bits (1 / 510) and one step of 16 bits (2^-15), and the same bits where nothing had to
be scaled: pictures of the model's size, sounds of 16 bits, one channel and its rate.
"""

import dataclasses
import hashlib
import io
import json
import os
import re
import wave
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmkeras import dataset, modalities, progress
from mmkeras.manifest import ManifestError

MANIFEST, REJECTED, SETTINGS = "manifest.csv", "rejected.csv", "prepared.json"


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write` did.

    Attributes:
        manifest: path of the new one.
        rows: the `manifest.Manifest` that was read, without the rows refused.
        files: how many were written.
        kept: how many were there already.
    """

    manifest: Path
    rows: object
    files: int
    kept: int


def write(recipe, rows, folder):
    """Writes the media of a manifest anew, and a manifest of them.

    What is there already is kept, so that a run that was stopped goes on; a file that
    has changed since is written again.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest` read with `recipe.data`.
        folder: where to; made here. Of pictures and sounds it holds `<input>/`.

    Returns:
        A `Written`.

    Raises:
        FileExistsError: the folder holds something else, or media of other settings.
        ManifestError: no row can be used.
    """
    folder = Path(folder)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    files = {name: each for name, each in decoders.items() if each.is_file}
    _claim(folder, {name: recipe.data.inputs[name] for name in files})
    faults, names, counts = dataset.faults(rows, decoders), {}, np.zeros(2, int)
    for name, decoder in files.items():
        names[name], found, done = _write_input(rows, name, decoder, folder)
        faults |= {line: why for line, why in found.items() if line not in faults}
        counts += done
    rows = rows.reject(faults)
    rows.write_rejected(folder / REJECTED)
    if not len(rows):
        told = f"see {folder / REJECTED}"
        raise ManifestError(f"{rows.path.name} has no row that can be used, {told}")
    _write_manifest(recipe.data, rows, names, folder / MANIFEST)
    return Written(folder / MANIFEST, rows, *map(int, counts))


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
    _replace(settings, told.encode("utf-8"))


def _first(had, told):
    pairs = zip(had.splitlines(), told.splitlines(), strict=False)
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), (had, told))
    return f"`{one.strip(' ,')}` and not `{other.strip(' ,')}`"


def _write_input(rows, name, decoder, folder):
    """({cell: new cell}, {line: (column, reason)}, (files written, files kept))."""
    make, ending = _WAYS[isinstance(decoder, modalities.Audio)]
    cells = rows.frame[name][rows.frame[name] != ""]
    index = cells.drop_duplicates().index  # a file may stand on many rows
    first = dataclasses.replace(rows, frame=rows.frame.loc[index])
    paths, closed = dataset.openable(decoder, first.cells(name))
    reasons, names, todo = {}, {}, []
    for place, (cell, path) in enumerate(zip(cells[index], paths.numpy(), strict=True)):
        if reason := closed[place].numpy():
            reasons[cell] = reason.decode()
            continue
        names[cell] = f"{name}/{_new_name(os.fsdecode(path), ending)}"
        todo += [place] * (not (folder / names[cell]).is_file())
    (folder / name).mkdir(exist_ok=True)
    missing = cells[index].iloc[todo]
    made = make(decoder, tf.gather(paths, tf.constant(todo, tf.int32)))
    with progress.bar(f"prepare {name}", len(missing)) as advance:
        for done, (cell, (content, fault)) in enumerate(
            zip(missing, made, strict=True)
        ):
            if fault:
                reasons[cell] = fault
            else:
                _replace(folder / names[cell], content)
            advance(done + 1, len(missing))
    bad = cells[cells.isin(list(reasons))]
    faults = {int(line): (name, reasons[cell]) for line, cell in bad.items()}
    failed = sum(cell in reasons for cell in missing)
    return names, faults, (len(missing) - failed, len(names) - len(missing))


def _new_name(path, ending):
    """A name that tells of the old one, and changes where the file does."""
    state = os.stat(path)
    key = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", Path(path).stem)[:40]
    return f"{stem}-{digest[:12]}.{ending}"


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


def _write_manifest(data, rows, names, path):
    """The rows that are used, with their splits, as the recipe will read them."""
    frame = rows.frame.copy()
    for name, new in names.items():
        frame[name] = frame[name].map(lambda cell, new=new: new[cell] if cell else "")
    text = frame.to_csv(index=False, sep=data.separator)
    _replace(path, text.encode(data.encoding))


def _replace(path, content):
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, path)
