"""RandAugment: a few of fourteen changes, drawn for each picture.

Source: Cubuk et al. 2019, arXiv 1909.13719; the ranges are those of AutoAugment (Cubuk
et al. 2018, arXiv 1805.09501, table 6), a magnitude of 1 being their end.
"""

import functools
import math

import keras
import tensorflow as tf

from mmkeras.augment.images import each_present, warped

# Largest turn, degrees; shear; shift, share of the size; change of a factor; bits lost.
TURN, SHEAR, SHIFT, FACTOR, BITS = 30, 0.3, 0.45, 0.9, 4


def rand_augment(tensors, name, options, seeds):
    """Applies `image_randaugment` changes to each picture, one after the other."""
    steps = _steps(options.image_randaugment_magnitude)

    def change(row):
        pixels, seed = row
        pixels = pixels[None]
        for number in range(options.image_randaugment):
            own = seed + [number, 1]
            which = tf.random.stateless_uniform((), own, 0, len(steps), tf.int32)
            is_up = tf.random.stateless_uniform((), own + [0, 1]) < 0.5
            sign = tf.where(is_up, 1.0, -1.0)
            ways = [lambda s=step, p=pixels, n=sign: s(p, n) for step in steps]
            pixels = tf.clip_by_value(tf.switch_case(which, ways), 0.0, 1.0)
            pixels = tf.ensure_shape(pixels, (1, *row[0].shape))
        return pixels[0]

    return each_present(tensors, name, seeds, change)


def _steps(m):
    """The changes, functions of (pixels (1, size, size, 3), sign) at magnitude m."""
    contrast, equal, sharp = _layers()
    turn = math.radians(TURN) * m

    def sharper(pixels, sign):
        # The layer doubles the factor, of which 1 then changes nothing.
        factor = tf.reshape((1 + sign * FACTOR * m) / 2, (1,))
        return sharp.transform_images(pixels, {"factor": factor})

    return [
        lambda pixels, sign: pixels,
        lambda pixels, sign: contrast.transform_images(pixels),
        lambda pixels, sign: equal.transform_images(pixels, None),
        sharper,
        lambda pixels, sign: tf.where(pixels < 1 - m, pixels, 1 - pixels),
        lambda pixels, sign: _posterized(pixels, round(BITS * m)),
        lambda pixels, sign: pixels * (1 + sign * FACTOR * m),
        lambda pixels, sign: tf.image.adjust_contrast(pixels, 1 + sign * FACTOR * m),
        lambda pixels, sign: _colour(pixels, 1 + sign * FACTOR * m),
        lambda pixels, sign: _moved(
            pixels,
            (tf.cos(turn * sign), -tf.sin(turn * sign)),
            (tf.sin(turn * sign), tf.cos(turn * sign)),
        ),
        lambda pixels, sign: _moved(pixels, (1.0, sign * SHEAR * m), (0.0, 1.0)),
        lambda pixels, sign: _moved(pixels, (1.0, 0.0), (sign * SHEAR * m, 1.0)),
        lambda pixels, sign: _moved(pixels, shift=(sign * SHIFT * m, 0.0)),
        lambda pixels, sign: _moved(pixels, shift=(0.0, sign * SHIFT * m)),
    ]


@functools.cache
def _layers():
    ours = {"value_range": (0, 1), "dtype": "float32"}
    with tf.init_scope():  # the last one has a generator of its own, which is not used
        return (
            keras.layers.AutoContrast(**ours),
            keras.layers.Equalization(**ours),
            keras.layers.RandomSharpness(1.0, seed=0, **ours),
        )


def _posterized(pixels, bits):
    """Without the lowest of eight bits."""
    step = 2.0**bits
    return tf.floor(tf.round(pixels * 255) / step) * step / 255


def _colour(pixels, factor):
    grey = tf.image.rgb_to_grayscale(pixels)
    return grey + (pixels - grey) * factor


def _moved(pixels, across=(1.0, 0.0), down=(0.0, 1.0), shift=(0.0, 0.0)):
    """A linear map about the centre; black comes in. Shifts in shares of the size."""
    size = pixels.shape[1]
    centre = (size - 1) / 2
    rows = []
    for (a, b), part in zip((across, down), shift, strict=True):
        rows += [a, b, centre - centre * (a + b) + part * size]
    transform = tf.stack([tf.cast(each, tf.float32) for each in [*rows, 0.0, 0.0]])
    return warped(pixels, transform[None])
