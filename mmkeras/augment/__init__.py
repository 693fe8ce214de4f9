"""Random changes of training rows, per modality: stateless, one seed a row.

The same (seed, epoch, row) gives the same change, whatever batch the row stands in
and whether or not the run was interrupted; only `mixing` needs the row's neighbour.
"""

import functools

import tensorflow as tf

from mmkeras.augment import images, mixing, sounds, texts
from mmkeras.augment.images import move_image
from mmkeras.augment.mixing import mixer
from mmkeras.augment.randaugment import rand_augment
from mmkeras.augment.seeds import uniform
from mmkeras.augment.sounds import add_noise
from mmkeras.augment.texts import UNKNOWN, drop_words

__all__ = [
    "STEPS",
    "UNKNOWN",
    "add_noise",
    "changes",
    "drop_modalities",
    "drop_words",
    "mixer",
    "move_image",
    "touched",
    "uniform",
]


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
    steps = [
        (_reading(step, name, words) if kind == "text" else step, name)
        for name, kind in sorted(inputs.items())
        for step, off in STEPS.get(kind, ())
        if _is_on(options, off)
    ]
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
        if any(_is_on(options, off) for _, off in STEPS.get(kind, ()))
        or (options.mixup and kind in mixing.MIXED)
    }


def _reading(step, name, words):
    """A step that knows which ids of this input are words."""
    known = words and name in words
    return functools.partial(step, words=words[name]) if known else step


def _is_on(options, off):
    return any(getattr(options, key) != value for key, value in off.items())


def drop_modalities(tensors, names, options, seeds):
    """Hides present modalities, each with this chance, but never all of a row."""
    present = tf.stack([tensors[f"{name}_present"] for name in names], axis=1)
    left = present & (uniform(seeds, len(names)) >= options.modality_dropout)
    left = tf.where(tf.reduce_any(left, axis=1, keepdims=True), left, present)
    kept = {f"{name}_present": left[:, index] for index, name in enumerate(names)}
    return tensors | kept


# What changes an input of this kind, one after the other, and the options that say how
# much, when off.
STEPS = {
    "text": [
        (drop_words, {"word_dropout": 0.0}),
        (texts.swap_words, {"word_swap": 0.0}),
    ],
    "image": [
        (
            move_image,
            {
                "image_shift": 0.0,
                "image_rotation_degrees": 0.0,
                "image_zoom": 0.0,
                "image_flip": False,
            },
        ),
        (images.crop_image, {"image_crop": 0.0}),
        (
            images.colour_image,
            {
                "image_brightness": 0.0,
                "image_contrast": 0.0,
                "image_saturation": 0.0,
                "image_hue": 0.0,
            },
        ),
        (rand_augment, {"image_randaugment": 0}),
        (images.erase_image, {"image_erase": 0.0}),
    ],
    "audio": [
        (add_noise, {"audio_snr_db": None}),
        (sounds.shift_sound, {"audio_shift": 0.0}),
        (sounds.gain_sound, {"audio_gain_db": 0.0}),
    ],
}
