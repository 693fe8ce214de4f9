"""What an image file stores, as integers: the core decoders and a try in the graph."""

import tensorflow as tf

from mmkeras.modalities import binary, image_header


def attempt(raw, number, is_deep):
    """A try in the graph: what the file stores, and whether it could be decoded.

    A core decoder raises on corrupt data, which would fail the whole batch; a dataset
    of one element can leave out what raised. Only the decoders are inside, because
    each dataset costs time in proportion to its operations.

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
    tried = tf.data.Dataset.from_tensors((raw, way)).map(
        lambda raw, way: (*_stored(raw, way), True)
    )
    failed = tf.data.Dataset.from_tensors((_nothing(), [1, 1, 1], False))
    return tried.ignore_errors().concatenate(failed).take(1).get_single_element()


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


def _stored(raw, way):
    """The first two results of `attempt`; raises where the data is corrupt."""
    # Not tf.io.decode_webp for WebP: a server that does not know that operation would
    # refuse the whole model. This one refuses only the file.
    ways = [
        lambda: (
            tf.io.decode_image(raw, expand_animations=False)[..., tf.newaxis],
            tf.constant([1, 1, 1]),
        ),
        lambda: _stored_jpeg(raw),
        lambda: (
            tf.bitcast(tf.io.decode_png(raw, dtype=tf.uint16), tf.uint8),
            tf.constant([1, 1, 1]),
        ),
    ]
    stored, shape = tf.switch_case(way, ways)
    return tf.ensure_shape(stored, (None, None, None, None)), shape


def _stored_jpeg(raw):
    shape = tf.io.extract_jpeg_shape(raw)
    pixels = tf.cond(
        image_header.jpeg_fault(shape) == "",
        # The accurate transform, as other decoders have it; the default differs from
        # it by up to 3 of 255.
        lambda: tf.io.decode_jpeg(raw, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: _nothing()[..., 0],
    )
    return pixels[..., tf.newaxis], shape


def _nothing():
    return tf.zeros((1, 1, 1, 1), tf.uint8)
