"""What an image file stores, as integers, by the core decoders."""

import tensorflow as tf

from mmkeras.modalities import binary, image_header, trying


def stored(raw, is_deep, careful):
    """What a file other than a JPEG stores.

    Args:
        raw: scalar string, the whole file.
        is_deep: whether it is a PNG of 16 bits a channel.
        careful: scalar bool; where False, corrupt data raises.

    Returns:
        (height, width, channels, bytes) uint8, two bytes where `is_deep`, else one; a
        single zero where it could not be decoded. Success, scalar bool.
    """
    failed = (tf.zeros((1, 1, 1, 1), tf.uint8), False)
    return tf.cond(
        careful,
        lambda: trying.carefully(_stored, failed, raw, is_deep),
        lambda: _stored(raw, is_deep),
    )


def stored_jpeg(raw, careful):
    """What a JPEG stores.

    Args:
        raw: scalar string, the whole file.
        careful: scalar bool; where False, corrupt data raises.

    Returns:
        (height, width, 3) uint8; a single zero where it could not be decoded or claims
        too large a size. (3,) int32, height, width, channels that it claims, ones where
        that cannot be read. Success, scalar bool.
    """
    failed = (tf.zeros((1, 1, 3), tf.uint8), [1, 1, 1], False)
    return tf.cond(
        careful,
        lambda: trying.carefully(_stored_jpeg, failed, raw),
        lambda: _stored_jpeg(raw),
    )


def bmp_colours(raw, pixels, header):
    """Colours of a BMP, (height, width, 3) uint8: the core decoder knows no palette.

    Args:
        raw: scalar string, the whole file.
        pixels: (height, width, channels) uint8, what `stored` gave.
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


def _stored(raw, is_deep):
    """The results of `stored`; raises where the data is corrupt."""
    # Not tf.io.decode_webp for WebP: a server that does not know that operation would
    # refuse the whole model. This one refuses only the file.
    found = tf.cond(
        is_deep,
        lambda: tf.bitcast(tf.io.decode_png(raw, dtype=tf.uint16), tf.uint8),
        lambda: tf.io.decode_image(raw, expand_animations=False)[..., tf.newaxis],
    )
    return tf.ensure_shape(found, (None, None, None, None)), tf.constant(True)


def _stored_jpeg(raw):
    """The results of `stored_jpeg`; raises where the data is corrupt."""
    shape = tf.io.extract_jpeg_shape(raw)
    pixels = tf.cond(
        image_header.has_room(shape),
        # The accurate transform, as other decoders have it; the default differs from
        # it by up to 3 of 255.
        lambda: tf.io.decode_jpeg(raw, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.zeros((1, 1, 3), tf.uint8),
    )
    return tf.ensure_shape(pixels, (None, None, 3)), shape, tf.constant(True)
