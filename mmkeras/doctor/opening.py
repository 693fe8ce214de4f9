"""Files opened and decoded, by all cores: what is faulty, numbers about the rest."""

import dataclasses

import numpy as np
import pandas as pd
import tensorflow as tf

from mmkeras import dataset, modalities
from mmkeras.modalities import image_header, wav

# Facts are a few numbers a file, and always kept.
KEPT_MB = 2**20


def opened(recipe, rows, progress=None):
    """Decodes every file once, and reads every number.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest`.
        progress: called with (files done, files) now and then.

    Returns:
        ({input: DataFrame of numbers, one row a line, NaN where there is no file},
        {line: (column, reason)}).
    """
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    faults = dataset.faults(rows, decoders)
    files = {
        name: (_Pictures if isinstance(each, modalities.Image) else _Sounds)(each)
        for name, each in decoders.items()
        if each.is_file
    }
    # A file that stands on many rows is opened once.
    parts = {name: _distinct(rows, name) for name in files}
    total, done, facts = sum(map(len, parts.values())), 0, {}
    for name, part in parts.items():
        advance = progress and (
            lambda now, _, before=done: progress(before + now, total)
        )
        facts[name], found = _told(rows, part, name, files[name], advance)
        faults = found | faults
        done += len(part)
    return facts, faults


def _distinct(rows, name):
    """The first row of each file of an input."""
    frame = rows.frame[rows.frame[name] != ""]
    return dataclasses.replace(rows, frame=frame[~frame[name].duplicated()])


def _told(rows, part, name, facts, progress):
    """(numbers, faults) of all rows, from those of `part`."""
    loaded, found = dataset.load(
        part, {name: facts}, cache_mb=KEPT_MB, progress=progress
    )
    numbers = np.asarray(loaded.arrays[facts.key])
    table = pd.DataFrame(numbers, part.frame[name], facts.names)
    table = table.reindex(rows.frame[name]).set_axis(rows.frame.index)
    reasons = part.frame[name].loc[list(found)]
    reasons = {cell: found[line] for line, cell in reasons.items()}
    bad = rows.frame[name][rows.frame[name].isin(list(reasons))]
    return table, {int(line): reasons[cell] for line, cell in bad.items()}


class _Pictures:
    """Gives numbers about a picture where its decoder gives the pixels.

    Width and height are upright; `low` and `high` are the darkest and the brightest
    value at the model's size, in [0, 1].
    """

    is_file, names = True, ("width", "height", "low", "high")

    def __init__(self, decoder):
        # Black beside a picture that is made to fit would hide that it is all white.
        self.decoder = modalities.Image(decoder.name, size=decoder.size)
        self.key = f"{decoder.name}_facts"
        self.specs = {self.key: tf.TensorSpec((len(self.names),), tf.float64)}

    def attempt_batch(self, raws):
        """(batch,) files -> ({key: (batch, numbers)}, (batch,) faults)."""
        return _each(self, raws)

    def numbers(self, raw, row):
        """What is told of one file that was decoded to `row`."""
        header = image_header.read(raw)
        is_jpeg = header["format"] == image_header.JPEG
        width, height = tf.cond(
            is_jpeg & row[f"{self.decoder.name}_present"],
            lambda: _upright(raw),
            lambda: (header["width"], header["height"]),
        )
        pixels = row[self.decoder.name]
        return [width, height, tf.reduce_min(pixels), tf.reduce_max(pixels)]


class _Sounds:
    """Gives numbers about a sound where its decoder gives the samples.

    `frames` are those of the whole file, `lost_bytes` what was cut off from its end;
    `low` and `high` are the least and the greatest sample of what the model hears, in
    [-1, 1].
    """

    is_file = True
    names = ("rate_hz", "channels", "frames", "lost_bytes", "low", "high")

    def __init__(self, decoder):
        self.decoder, self.key = decoder, f"{decoder.name}_facts"
        self.unpacked = decoder.unpacked
        self.specs = {self.key: tf.TensorSpec((len(self.names),), tf.float64)}

    def attempt_batch(self, raws):
        """(batch,) files -> ({key: (batch, numbers)}, (batch,) faults)."""
        return _each(self, raws)

    def numbers(self, raw, row):
        """What is told of one file that was decoded to `row`."""
        header, name = wav.read(raw), self.decoder.name
        wave = row[name][: row[f"{name}_samples"]]
        told = [header[key] for key in self.names[:4]]
        return [*told, tf.reduce_min(wave), tf.reduce_max(wave)]


def _each(facts, raws):
    def one(raw):
        row, fault = facts.decoder.attempt(raw)
        numbers = facts.numbers(raw, row)
        return {facts.key: tf.stack([tf.cast(n, tf.float64) for n in numbers])}, fault

    specs = facts.specs, tf.TensorSpec((), tf.string)
    return tf.map_fn(one, raws, fn_output_signature=specs, parallel_iterations=8)


def _upright(raw):
    """(width, height) of a JPEG as it is looked at, int64."""
    height, width, _ = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(raw), tf.int64))
    lies = image_header.orientation(raw) >= 5
    return tf.where(lies, height, width), tf.where(lies, width, height)
