"""Random changes of training rows, per modality: stateless, one seed a row.

The same (seed, epoch, row) gives the same change, whatever batch the row stands in
and whether or not the run was interrupted.
"""

import functools
import math

import tensorflow as tf

UNKNOWN, PADDING = 1, 0  # ids of `modalities.text`


def changes(options, inputs, words=None):
    """The function that changes a batch as a recipe says, or None for no change.

    Args:
        options: the `augment` section of a recipe.
        inputs: {input: kind} of the model at hand.
        words: {input: (id of the unknown word, ids that are no words)} of texts whose
            ids are not those of `modalities.text`.

    Returns:
        ({key: (batch, ...)}, seeds (batch, 2) int32) -> the same keys and shapes.
    """
    steps = []
    for name, kind in sorted(inputs.items()):
        if name in touched(options, {name: kind}):
            step, _ = STEPS[kind]
            if kind == "text" and words and name in words:
                step = functools.partial(step, words=words[name])
            steps.append((step, name))
    if options.modality_dropout and len(inputs) > 1:
        steps.append((drop_modalities, sorted(inputs)))
    if not steps:
        return None

    def change(tensors, seeds):
        for index, (step, target) in enumerate(steps):
            # Philox turns neighbouring seeds into unrelated numbers.
            tensors = step(tensors, target, options, seeds + [0, index])
        return tensors

    return change


def touched(options, inputs):
    """The inputs whose content is changed, a set; hiding them whole does not count.

    Args:
        options: the `augment` section of a recipe.
        inputs: {input: kind}.
    """
    return {
        name
        for name, kind in inputs.items()
        if kind in STEPS
        and any(getattr(options, key) != off for key, off in STEPS[kind][1].items())
    }


def uniform(seeds, count):
    """`count` numbers in [0, 1) a row, (batch, 2) seeds -> (batch, count) float32."""
    return tf.map_fn(
        lambda seed: tf.random.stateless_uniform((count,), seed),
        seeds,
        fn_output_signature=tf.TensorSpec((count,), tf.float32),
    )


def move_image(tensors, name, options, seeds):
    """Shifts, turns, enlarges and mirrors a picture, in one step; black comes in."""
    pixels = tensors[name]  # (batch, size, size, 3)
    centre = (pixels.shape[1] - 1) / 2
    signed = uniform(seeds, 2) * 2 - 1
    offsets = signed * options.image_shift * pixels.shape[1]
    turn, zoom, mirror = tf.unstack(uniform(seeds + [2, 0], 3), axis=1)
    angle = (turn * 2 - 1) * (options.image_rotation_degrees * math.pi / 180)
    scale = 1 / (1 + (zoom * 2 - 1) * options.image_zoom)
    side = tf.where((mirror < 0.5) & options.image_flip, -1.0, 1.0)
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    zeros = tf.zeros_like(cos)
    # Rows of a projective transform: the output's (x, y) reads the input's
    # (a x + b y + c, d x + e y + f), which leaves the centre in place.
    across = [side * cos, -sin, centre - centre * (side * cos - sin) + offsets[:, 0]]
    down = [side * sin, cos, centre - centre * (side * sin + cos) + offsets[:, 1]]
    transforms = tf.stack([*across, *down, zeros, zeros], axis=1)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=pixels.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return {**tensors, name: moved}


def add_noise(tensors, name, options, seeds):
    """Adds white noise to the real part of a sound.

    The ratio of the sound's power to the noise's is drawn, in dB, between
    `audio_snr_db` and `audio_snr_db` + 30.
    """
    wave, real = tensors[name], tensors[f"{name}_samples"]  # (batch, samples), (batch,)
    clip = wave.shape[1]
    inside = tf.range(clip)[None, :] < real[:, None]
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal((clip,), seed),
        seeds,
        fn_output_signature=tf.TensorSpec((clip,), tf.float32),
    )
    count = tf.maximum(tf.cast(real, tf.float32), 1)
    power = tf.reduce_sum(tf.square(wave), axis=1) / count
    snr_db = options.audio_snr_db + 30 * uniform(seeds + [1, 0], 1)[:, 0]
    level = tf.sqrt(power * 10 ** (-snr_db / 10))
    noisy = tf.where(inside, wave + level[:, None] * noise, wave)
    return {**tensors, name: noisy}


def drop_words(tensors, name, options, seeds, words=(UNKNOWN, (PADDING,))):
    """Turns words into the unknown word, each with this chance; padding stays."""
    ids, (unknown, specials) = tensors[name], words  # (batch, length)
    dropped = uniform(seeds, ids.shape[1]) < options.word_dropout
    for special in specials:
        dropped &= ids != special
    return {**tensors, name: tf.where(dropped, unknown, ids)}


def drop_modalities(tensors, names, options, seeds):
    """Hides present modalities, each with this chance, but never all of a row."""
    present = tf.stack([tensors[f"{name}_present"] for name in names], axis=1)
    left = present & (uniform(seeds, len(names)) >= options.modality_dropout)
    left = tf.where(tf.reduce_any(left, axis=1, keepdims=True), left, present)
    kept = {f"{name}_present": left[:, index] for index, name in enumerate(names)}
    return tensors | kept


# What changes an input of this kind, and the options that say how much, when off.
STEPS = {
    "text": (drop_words, {"word_dropout": 0.0}),
    "image": (
        move_image,
        {
            "image_shift": 0.0,
            "image_rotation_degrees": 0.0,
            "image_zoom": 0.0,
            "image_flip": False,
        },
    ),
    "audio": (add_noise, {"audio_snr_db": None}),
}
