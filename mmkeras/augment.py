"""Random changes of training rows, per modality: stateless, one seed a row.

The same (seed, epoch, row) gives the same change, whatever batch the row stands in
and whether or not the run was interrupted.
"""

import functools

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
            step, option, _ = STEPS[kind]
            if kind == "text" and words and name in words:
                step = functools.partial(step, words=words[name])
            steps.append((step, name, getattr(options, option)))
    if options.modality_dropout and len(inputs) > 1:
        steps.append((drop_modalities, sorted(inputs), options.modality_dropout))
    if not steps:
        return None

    def change(tensors, seeds):
        for index, (step, target, amount) in enumerate(steps):
            # Philox turns neighbouring seeds into unrelated numbers.
            tensors = step(tensors, target, amount, seeds + [0, index])
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
        if kind in STEPS and getattr(options, STEPS[kind][1]) != STEPS[kind][2]
    }


def uniform(seeds, count):
    """`count` numbers in [0, 1) a row, (batch, 2) seeds -> (batch, count) float32."""
    return tf.map_fn(
        lambda seed: tf.random.stateless_uniform((count,), seed),
        seeds,
        fn_output_signature=tf.TensorSpec((count,), tf.float32),
    )


def shift_image(tensors, name, share, seeds):
    """Moves a picture by up to `share` of its size each way; black comes in."""
    pixels = tensors[name]  # (batch, size, size, 3)
    reach = share * pixels.shape[1]
    offsets = (uniform(seeds, 2) * 2 - 1) * reach
    ones, zeros = tf.ones_like(offsets[:, :1]), tf.zeros_like(offsets[:, :1])
    # Rows of a projective transform: output (x, y) reads input (x + dx, y + dy).
    transforms = tf.concat(
        [ones, zeros, offsets[:, :1], zeros, ones, offsets[:, 1:], zeros, zeros], axis=1
    )
    shifted = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=pixels.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return {**tensors, name: shifted}


def add_noise(tensors, name, least_snr_db, seeds):
    """Adds white noise to the real part of a sound.

    The ratio of the sound's power to the noise's is drawn, in dB, between
    `least_snr_db` and `least_snr_db` + 30.
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
    snr_db = least_snr_db + 30 * uniform(seeds + [1, 0], 1)[:, 0]
    level = tf.sqrt(power * 10 ** (-snr_db / 10))
    noisy = tf.where(inside, wave + level[:, None] * noise, wave)
    return {**tensors, name: noisy}


def drop_words(tensors, name, share, seeds, words=(UNKNOWN, (PADDING,))):
    """Turns words into the unknown word, each with this chance; padding stays."""
    ids, (unknown, specials) = tensors[name], words  # (batch, length)
    dropped = uniform(seeds, ids.shape[1]) < share
    for special in specials:
        dropped &= ids != special
    return {**tensors, name: tf.where(dropped, unknown, ids)}


def drop_modalities(tensors, names, share, seeds):
    """Hides present modalities, each with this chance, but never all of a row."""
    present = tf.stack([tensors[f"{name}_present"] for name in names], axis=1)
    left = present & (uniform(seeds, len(names)) >= share)
    left = tf.where(tf.reduce_any(left, axis=1, keepdims=True), left, present)
    kept = {f"{name}_present": left[:, index] for index, name in enumerate(names)}
    return tensors | kept


# What changes an input of this kind, the option that says how much, and its "off".
STEPS = {
    "text": (drop_words, "word_dropout", 0.0),
    "image": (shift_image, "image_shift", 0.0),
    "audio": (add_noise, "audio_snr_db", None),
}
