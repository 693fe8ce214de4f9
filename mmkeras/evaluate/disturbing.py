"""What may happen to rows on their way to a model, harder and harder.

Typing errors and JPEG compression are done to the texts and files themselves, which are
then decoded as always; what has no meaning before decoding (noise of a given ratio,
steps along a gradient) is done to the decoded tensors. The first strength is always
that of undisturbed rows.
"""

import functools
import io

import numpy as np
import tensorflow as tf

from mmkeras.evaluate.asking import UNCHANGED, Change

# Shares of the rows, %.
MISSING = (0, 30, 60, 90)
# Chance that a character is mistyped, %.
TYPOS = (0, 5, 10, 20, 40)
# Ratio of the sound's power to the noise's, dB.
SNR_DB = ("clean", 30, 20, 10, 0)
# Standard deviation of a blur, % of the picture's side.
BLUR = (0, 1, 2, 4, 8)
# Standard deviation of noise, in % of the way from black to white.
PIXEL_NOISE = (0, 5, 10, 20, 40)
# Quality of a JPEG of the picture in its own size.
JPEG = ("as it is", 50, 20, 10, 5)
# Steps along the sign of the gradient: in 1/255 of a pixel's range, in 1/1000 of a
# sound's full scale.
PIXEL_STEPS, SAMPLE_STEPS = (0, 1, 2, 4), (0, 1, 3, 10)

KEYS = "abcdefghijklmnopqrstuvwxyz"


def missing(name):
    """Takes an input from a share of the rows; {strength: `Change`}."""

    def make(share, tensors, random, numbers):
        present = tensors[f"{name}_present"]
        left = random.random(len(numbers)) >= share / 100
        return {f"{name}_present": present & left}

    return {share: Change(functools.partial(make, share)) for share in MISSING}


def typing_errors(name, decoder, cells):
    """Characters left out, doubled, exchanged with the next or another's; of texts.

    Args:
        name: of the input.
        decoder: of it.
        cells: of all rows, a list of str or of tuples of str.
    """

    def make(percent, tensors, random, numbers):
        given = [cells[number] for number in numbers]
        wrong = [
            mistyped(cell, percent / 100, random)
            if isinstance(cell, str)
            else tuple(mistyped(one, percent / 100, random) for one in cell)
            for cell in given
        ]
        return decoder.attempt_batch(tf.constant(wrong, tf.string))[0]

    return _each(name, TYPOS, make)


def mistyped(text, chance, random):
    """A text in which each letter is mistyped with this chance.

    Args:
        text: str.
        chance: in [0, 1].
        random: a `numpy.random.Generator`.
    """
    letters, done = list(text), []
    kinds = random.integers(0, 4, len(letters))
    struck = random.random(len(letters)) < chance
    others = random.integers(0, len(KEYS), len(letters))
    at = 0
    while at < len(letters):
        letter = letters[at]
        kind = kinds[at] if struck[at] and not letter.isspace() else -1
        if kind == 0 and at + 1 < len(letters):  # exchanged with the next
            done += [letters[at + 1], letter]
            at += 1
        elif kind == 1:  # doubled
            done += [letter, letter]
        elif kind == 2:  # the key of another letter
            done.append(KEYS[others[at]])
        elif kind in (-1, 0):
            done.append(letter)
        at += 1
    return "".join(done)


def sound_noise(name):
    """White noise on the real part of a sound, as loud as the ratio says."""

    def make(snr_db, tensors, random, numbers):
        wave = np.asarray(tensors[name])
        real = np.asarray(tensors[f"{name}_samples"])
        inside = np.arange(wave.shape[1]) < real[:, None]
        power = (wave**2).sum(axis=1) / np.maximum(real, 1)
        level = np.sqrt(power * 10 ** (-snr_db / 10))[:, None]
        noise = random.standard_normal(wave.shape, "float32")
        noisy = np.clip(wave + level * noise, -1, 1)
        return {name: tf.constant(np.where(inside, noisy, wave), tf.float32)}

    return _each(name, SNR_DB, make)


def blur(name):
    """A Gaussian blur; what lies outside is as the edge's mirror."""

    def make(percent, tensors, random, numbers):
        pixels = tf.cast(tensors[name], tf.float32)
        sigma = percent / 100 * pixels.shape[1]
        reach = min(int(np.ceil(3 * sigma)), pixels.shape[1] - 1)
        bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        bell = np.tile((bell / bell.sum())[:, None], (1, 3)).astype("float32")
        edge = [[0, 0], [reach, reach], [reach, reach], [0, 0]]
        wide = tf.pad(pixels, edge, "REFLECT")
        for shape in ((-1, 1, 3, 1), (1, -1, 3, 1)):
            kernel = tf.reshape(tf.constant(bell), shape)
            wide = tf.nn.depthwise_conv2d(wide, kernel, [1] * 4, "VALID")
        return {name: wide}

    return _each(name, BLUR, make)


def pixel_noise(name):
    """Noise on every channel of every pixel."""

    def make(percent, tensors, random, numbers):
        pixels = np.asarray(tensors[name])
        noise = random.standard_normal(pixels.shape, "float32") * percent / 100
        return {name: tf.constant(np.clip(pixels + noise, 0, 1), tf.float32)}

    return _each(name, PIXEL_NOISE, make)


def jpeg(name, decoder, paths):
    """The file written anew as a JPEG of low quality, in its own size.

    Args:
        name: of the input.
        decoder: of it.
        paths: of all rows' files, "" where missing.
    """
    # Row by row without a graph it takes longer than all else together.
    decode = tf.function(
        decoder.attempt_batch, input_signature=[tf.TensorSpec((None,), tf.string)]
    )

    def make(quality, tensors, random, numbers):
        files = [compressed(paths[number], quality) for number in numbers]
        return decode(tf.constant(files, tf.string))[0]

    return _each(name, JPEG, make)


def compressed(path, quality):
    """A picture's file as a JPEG; b"" where there is none.

    Transparency is flattened over white, as the decoder does, and the orientation that
    Exif tells is kept.
    """
    from PIL import Image

    if not path:
        return b""
    with Image.open(path) as picture:
        exif = picture.getexif()
        clear = picture.convert("RGBA")
    flat = Image.new("RGBA", clear.size, "white")
    flat.alpha_composite(clear)
    written = io.BytesIO()
    flat.convert("RGB").save(written, "JPEG", quality=quality, exif=exif)
    return written.getvalue()


def gradient_steps(name, asked, loss, kind):
    """One step along the sign of the loss' gradient, the worst small change there is.

    The fast gradient sign method (Goodfellow, Shlens and Szegedy 2015, arXiv
    1412.6572).

    Args:
        name: of the input.
        asked: an `asking.Asked`.
        loss: function ({target: (batch, ...)}, row numbers) -> (batch,).
        kind: `image` or `audio`.
    """
    steps, unit, low = (
        (PIXEL_STEPS, 1 / 255, 0.0) if kind == "image" else (SAMPLE_STEPS, 1e-3, -1.0)
    )
    found = {}

    def make(step, tensors, random, numbers):
        # The gradient is the same for every step.
        if found.get("numbers") is not numbers:
            sign = tf.sign(_gradient(asked, name, tensors, numbers, loss))
            found.update(numbers=numbers, sign=sign)
        moved = tf.cast(tensors[name], tf.float32) + step * unit * found["sign"]
        return {name: tf.clip_by_value(moved, low, 1.0)}

    return _each(name, steps, make)


def _gradient(asked, name, tensors, numbers, loss):
    point = tf.cast(tensors[name], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(point)
        features = asked.features({**tensors, name: point}, (name,))
        given = {key: features[key] for key in asked.core.input}
        outputs = asked.core(given, training=False)
        total = tf.reduce_sum(loss(outputs, numbers))
    found = tape.gradient(total, point)
    return tf.zeros_like(point) if found is None else found


def _each(name, strengths, make):
    """{strength: `Change`}, of which the first does nothing."""
    made = {
        strength: Change(functools.partial(make, strength), (name,))
        for strength in strengths[1:]
    }
    return {strengths[0]: UNCHANGED, **made}
