"""What an image file stores, as integers: the core decoders and a try in the graph."""

import tensorflow as tf

from mmkeras.modalities import binary, image_header


def attempt(raw, number, is_deep):
    """A try in the graph: what the file stores, and whether it could be decoded.

    Args:
        raw: scalar string, the whole file.
        number: its format, index into `image_header.FORMATS`.
        is_deep: whether it is a PNG of 16 bits a channel.

    Returns:
        (height, width, channels, bytes) uint8, two bytes where `is_deep`, else one; a
        single zero where it could not be decoded or a JPEG claims too large a size.
        (3,) int32, height, width, channels that a JPEG claims. Success, scalar bool.
    """
    way = tf.where(is_deep, 2, tf.cast(number == image_header.JPEG, tf.int32))
    ways = [
        lambda: _other(raw, _image),
        lambda: _jpeg(raw),
        lambda: _other(raw, _deep_png),
    ]
    stored, shape, decoded = tf.switch_case(way, ways)
    return tf.ensure_shape(stored, (None, None, None, None)), shape, decoded


def corrupt(number):
    """The fault of a file whose header is good and whose data is not."""
    name = tf.gather(image_header.FORMATS, number)
    return binary.sentence(name, " data is truncated or corrupt")


def bmp_colours(raw, pixels, header):
    """Colours of a BMP, (height, width, 3) uint8: the core decoder knows no palette.

    Args:
        raw: scalar string, the whole file.
        pixels: (height, width, channels) uint8, what `attempt` gave.
        header: what `image_header.read` gave.
    """
    pixels.set_shape((None, None, None))
    palette = tf.reshape(binary.window(raw, header["palette"], 1024), (256, 4))
    palette = tf.cast(palette[:, 2::-1], tf.uint8)  # (256, 3), stored as B, G, R, 0
    return tf.cond(
        header["depth"] == 8,
        lambda: tf.gather(palette, tf.cast(pixels[..., 0], tf.int32)),
        # The fourth byte of 32 bits is reserved, and zero in most files: no alpha.
        lambda: pixels[..., :3],
    )


def _other(raw, decode):
    """The results of `attempt` for what is no JPEG."""
    stored, decoded = _tried(raw, decode, _nothing())
    return stored, tf.constant([1, 1, 1]), decoded


def _jpeg(raw):
    shape, told = _tried(raw, tf.io.extract_jpeg_shape, [1, 1, 1])
    pixels, decoded = tf.cond(
        told & (image_header.jpeg_fault(shape) == ""),
        lambda: _tried(raw, _accurate, _nothing()),
        lambda: (_nothing(), told),
    )
    return pixels, shape, decoded


def _image(raw):
    # Not tf.io.decode_webp for WebP: a server that does not know that operation would
    # refuse the whole model. This one refuses only the file.
    return tf.io.decode_image(raw, expand_animations=False)[..., tf.newaxis]


def _deep_png(raw):
    return tf.bitcast(tf.io.decode_png(raw, dtype=tf.uint16), tf.uint8)


def _accurate(raw):
    # The accurate transform, as other decoders have it; the default differs from it by
    # up to 3 of 255.
    pixels = tf.io.decode_jpeg(raw, channels=3, dct_method="INTEGER_ACCURATE")
    return pixels[..., tf.newaxis]


def _tried(raw, decode, otherwise):
    """(what `decode` gives of a file, True), or (`otherwise`, False) where it raises.

    A core decoder raises on corrupt data, which would fail the whole batch; a dataset
    of one element can leave out what raised. Only a decoder is inside, because each
    dataset is made anew for each file, in time that grows with its operations, and
    would be looked through for optimisations each time.
    """
    tried = tf.data.Dataset.from_tensors(raw).map(lambda raw: (decode(raw), True))
    failed = tf.data.Dataset.from_tensors((otherwise, False))
    plain = tf.data.Options()
    plain.autotune.enabled = False
    plain.experimental_optimization.apply_default_optimizations = False
    found = tried.ignore_errors().concatenate(failed).take(1).with_options(plain)
    return found.get_single_element()


def _nothing():
    return tf.zeros((1, 1, 1, 1), tf.uint8)
