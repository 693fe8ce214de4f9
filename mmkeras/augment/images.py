"""Random changes of pictures: place, part, colours, a hole."""

import math

import tensorflow as tf

from mmkeras.augment.seeds import uniform

# Sides' ratios of a crop and of an erased part, as in the papers' listings.
CROP_RATIOS, ERASE_RATIOS = (3 / 4, 4 / 3), (0.3, 1 / 0.3)


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
    return {**tensors, name: warped(pixels, transforms)}


def warped(pixels, transforms):
    """Pictures under projective transforms; black comes in.

    Args:
        pixels: (batch, size, size, 3).
        transforms: (batch, 8) or (1, 8), each the a, b, c, d, e, f, 0, 0 of above.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=pixels.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def crop_image(tensors, name, options, seeds):
    """Enlarges a random part to the whole (Szegedy et al. 2015, arXiv 1409.4842).

    The part is between 1 - `image_crop` and all of the area, its sides 3:4 to 4:3.
    """
    pixels = tensors[name]
    boxes = tf.map_fn(
        lambda seed: tf.image.stateless_sample_distorted_bounding_box(
            image_size=pixels.shape[1:],
            bounding_boxes=tf.zeros((1, 0, 4)),
            seed=seed,
            aspect_ratio_range=CROP_RATIOS,
            area_range=(1 - options.image_crop, 1.0),
            use_image_if_no_bounding_boxes=True,
        ).bboxes[0, 0],
        seeds,
        fn_output_signature=tf.TensorSpec((4,), tf.float32),
    )
    # Corners of pixels, as `crop_and_resize` counts them: the last one is size - 1.
    size = pixels.shape[1]
    boxes = tf.concat([boxes[:, :2] * size, boxes[:, 2:] * size - 1], 1) / (size - 1)
    rows = tf.range(tf.shape(pixels)[0])
    cropped = tf.image.crop_and_resize(pixels, boxes, rows, pixels.shape[1:3])
    return {**tensors, name: cropped}


def colour_image(tensors, name, options, seeds):
    """Brightness, contrast, saturation and hue, each drawn by itself."""
    chosen = [
        (options.image_brightness, _brightness),
        (options.image_contrast, _contrast),
        (options.image_saturation, _saturation),
        (options.image_hue, tf.image.stateless_random_hue),
    ]

    def change(row):
        pixels, seed = row
        for index, (most, step) in enumerate(chosen):
            if most:
                pixels = step(pixels, most, seed + [index, 0])
                pixels = tf.clip_by_value(pixels, 0.0, 1.0)
        return pixels

    return each_present(tensors, name, seeds, change)


def _brightness(pixels, most, seed):
    return tf.image.stateless_random_brightness(pixels, most, seed)


def _contrast(pixels, most, seed):
    return tf.image.stateless_random_contrast(pixels, 1 - most, 1 + most, seed)


def _saturation(pixels, most, seed):
    return tf.image.stateless_random_saturation(pixels, 1 - most, 1 + most, seed)


def erase_image(tensors, name, options, seeds):
    """Fills a part of every other picture with noise (Zhong et al. 2017, 1708.04896).

    The part has up to `image_erase` of the area and sides of 0.3 to 1 / 0.3.
    """
    pixels = tensors[name]
    size = pixels.shape[1]
    drawn = uniform(seeds, 5)
    area = drawn[:, 0] * options.image_erase * size * size
    low, high = map(math.log, ERASE_RATIOS)
    ratio = tf.exp(low + (high - low) * drawn[:, 1])
    height = tf.minimum(tf.sqrt(area * ratio), size)
    width = tf.minimum(tf.sqrt(area / ratio), size)
    is_hit = drawn[:, 4] < 0.5
    down = _within(drawn[:, 2] * (size - height), height, size)
    across = _within(drawn[:, 3] * (size - width), width, size)
    hole = is_hit[:, None, None] & down[:, :, None] & across[:, None, :]

    def fill(row):
        own, seed, inside = row
        noise = tf.random.stateless_uniform((size, size, 3), seed + [1, 0])
        return tf.where(inside[..., None], noise, own)

    return each_present(tensors, name, seeds, fill, hole)


def _within(start, length, size):
    """(batch, size) bool: places of which the centre is in a stretch."""
    centres = tf.range(size, dtype=tf.float32)[None, :] + 0.5
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


def each_present(tensors, name, seeds, change, *more):
    """`change` of each picture that is there, given it, its seed and so on."""
    pixels, present = tensors[name], tensors[f"{name}_present"]
    changed = tf.map_fn(
        change,
        (pixels, seeds, *more),
        fn_output_signature=tf.TensorSpec(pixels.shape[1:], tf.float32),
    )
    kept = tf.where(present[:, None, None, None], changed, pixels)
    return {**tensors, name: kept}
