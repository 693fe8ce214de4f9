"""What the first bytes of an image file say: format, size, orientation, faults.

Sources: ITU-T T.81 annex B (JPEG markers), Exif 2.32 section 4.6 (orientation), PNG
(ISO/IEC 15948) section 11.2.2, GIF89a section 18, BITMAPINFOHEADER, RFC 9649 (WebP).
"""

import tensorflow as tf

from mmkeras.modalities import binary

FORMATS = ("", "JPEG", "PNG", "GIF", "BMP", "WebP")
JPEG, PNG, GIF, BMP, WEBP = range(1, 6)
# More than any phone's full-size photo, and 192 MB once decoded. A file of a few
# kilobytes can claim 60000 x 60000 pixels: the claim is read before room is made.
MAX_PIXELS = 64_000_000
# Segments looked at before the size of a JPEG; real ones have a dozen.
MAX_SEGMENTS = 512

_HEAD_BYTES = 70
_MAGICS = (
    {0: b"\xff\xd8\xff"},
    {0: b"\x89PNG\r\n\x1a\n", 12: b"IHDR"},
    {0: b"GIF87a"},
    {0: b"BM"},
    {0: b"RIFF", 8: b"WEBP"},
    {0: b"GIF89a"},
    {12: b"VP8L"},
    {12: b"VP8X"},
)
_LAYOUT = {
    "jpeg_first": (3, 1, "little"),
    "jpeg_length": (4, 2, "big"),
    "jpeg_second": (21, 1, "little"),
    "png_width": (16, 4, "big"),
    "png_height": (20, 4, "big"),
    "png_depth": (24, 1, "little"),
    "gif_width": (6, 2, "little"),
    "gif_height": (8, 2, "little"),
    "bmp_header": (14, 4, "little"),
    "bmp_width": (18, 4, "little"),
    "bmp_height": (22, 4, "little"),
    "bmp_depth": (28, 2, "little"),
    "bmp_compression": (30, 4, "little"),
    "bmp_red": (54, 4, "little"),
    "bmp_green": (58, 4, "little"),
    "bmp_blue": (62, 4, "little"),
    "vp8_width": (26, 2, "little"),
    "vp8_height": (28, 2, "little"),
    "vp8l_bits": (21, 4, "little"),
    "vp8x_flags": (20, 1, "little"),
    "vp8x_width": (24, 3, "little"),
    "vp8x_height": (27, 3, "little"),
}


def read(raw):
    """The header of one image file.

    Args:
        raw: scalar string, the whole file.

    Returns:
        Dict of scalars: `format` int32 (index into FORMATS, 0 unknown), `depth` int64
        (bits a channel of a PNG, bits a pixel of a BMP, else 0), `palette` int64 (where
        a BMP's begins, bytes), `width` and `height` int64 (stored pixels, 0 of a JPEG),
        `is_plain` bool (a JPEG that is known here to have no `orientation`), `fault`
        string, "" where none. The size of a JPEG stands behind any number of segments:
        `jpeg_fault` looks at it.
    """
    head = binary.window(raw, 0, _HEAD_BYTES)
    found = binary.matches(head, _MAGICS)
    number = tf.reduce_max(
        tf.cast(found, tf.int32) * tf.constant([JPEG, PNG, GIF, BMP, WEBP, GIF, 0, 0])
    )
    has = binary.fields(head, _LAYOUT)
    width, height = _size(has, number, found[6], found[7])
    depth = tf.gather([0, 0, has["png_depth"], 0, has["bmp_depth"], 0], number)
    # Not a matter of taste: TensorFlow 2.21 writes outside its buffer, and the process
    # dies, where an animation has no alpha channel.
    is_animated = found[4] & found[7] & (has["vp8x_flags"] // 2 % 2 == 1)
    fault = binary.first_fault(
        [
            (number == 0, lambda: _unknown(raw)),
            *_size_faults(number != JPEG, width, height),
            (is_animated, lambda: "animated WebP is not supported"),
            *_bmp_faults(has, number == BMP),
        ]
    )
    palette = 14 + has["bmp_header"]
    return {
        "format": number,
        "depth": depth,
        "palette": palette,
        "width": width,
        "height": height,
        "is_plain": _is_plain(has),
        "fault": fault,
    }


def jpeg_fault(shape, decoded):
    """The fault of a JPEG whose header is good: of its size or its data.

    Args:
        shape: (3,) integers, height and width first; ones where they cannot be read.
        decoded: scalar bool, whether the data could be decoded.

    Returns:
        Scalar string, "" where there is none.
    """
    height, width = tf.unstack(tf.cast(shape, tf.int64)[:2])
    faults = _size_faults(True, width, height)
    return binary.first_fault([*faults, (~decoded, lambda: corrupt(JPEG))])


def has_room(shape):
    """Whether a picture of this shape, (3,) integers, is to be decoded: scalar bool."""
    pixels = tf.reduce_prod(tf.cast(shape, tf.int64)[:2])
    return (pixels > 0) & (pixels <= MAX_PIXELS)


def corrupt(number):
    """The fault of a file of this format whose header is good and its data is not."""
    name = tf.gather(FORMATS, number)
    return binary.sentence(name, " data is truncated or corrupt")


def orientation(raw):
    """How a JPEG lies, 1 to 8 as Exif counts them, scalar int32; 1 where unknown."""
    end = tf.cast(tf.strings.length(raw), tf.int64)

    def unfinished(position, value, count):
        return (value < 0) & (position + 4 <= end) & (count < MAX_SEGMENTS)

    def step(position, value, count):
        head = _bytes(raw, position, 4)
        marker, length = head[1], head[2] * 256 + head[3]
        is_before = (head[0] == 0xFF) & _may_hold_exif(marker)
        value = tf.cond(
            is_before & (marker == 0xE1),
            lambda: _exif_orientation(raw, position + 4, length - 2),
            lambda: tf.where(is_before, value, 0),
        )
        return position + 2 + length, value, count + 1

    start = (tf.constant(2, tf.int64), tf.constant(-1), 0)
    _, value, _ = tf.while_loop(unfinished, step, start, parallel_iterations=1)
    return tf.maximum(value, 1)


def _size(has, number, is_lossless, is_extended):
    """(width, height) of any format but JPEG, in stored pixels."""
    bits = has["vp8l_bits"]
    webp_width = tf.where(
        is_extended,
        1 + has["vp8x_width"],
        tf.where(is_lossless, 1 + bits % 2**14, has["vp8_width"] % 2**14),
    )
    webp_height = tf.where(
        is_extended,
        1 + has["vp8x_height"],
        tf.where(is_lossless, 1 + bits // 2**14 % 2**14, has["vp8_height"] % 2**14),
    )
    # A negative height means rows from the top: only its amount is of interest.
    bmp_height = tf.minimum(has["bmp_height"], 2**32 - has["bmp_height"])
    widths = [0, 0, has["png_width"], has["gif_width"], has["bmp_width"], webp_width]
    heights = [0, 0, has["png_height"], has["gif_height"], bmp_height, webp_height]
    return tf.gather(widths, number), tf.gather(heights, number)


def _is_plain(has):
    """Whether no segment but JFIF's own stands before a JPEG's picture, as in most."""
    first, second = (_may_hold_exif(has[key]) for key in ("jpeg_first", "jpeg_second"))
    return ~first | ((has["jpeg_length"] == 16) & (has["jpeg_first"] == 0xE0) & ~second)


def _may_hold_exif(marker):
    """Whether Exif may stand in or behind this segment.

    It stands among the first segments, application data and comments; the picture's
    own begin behind them.
    """
    return (marker // 16 == 0xE) | (marker == 0xFE)


def _bytes(raw, position, count):
    """(count,) int64 from bytes known to be there."""
    piece = tf.strings.substr(raw, position, tf.constant(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.int64)


def _exif_orientation(raw, start, length):
    """Orientation 1..8 in the APP1 payload at `start`; -1 where it holds none."""
    layout = {
        "byte_order": (6, 2, "little"),
        "big": (10, 4, "big"),
        "little": (10, 4, "little"),
    }
    head = binary.window(raw, start, 14)
    has = binary.fields(head, layout)
    is_big = has["byte_order"] == 0x4D4D
    is_exif = binary.matches(head, [{0: b"Exif\0"}])[0]
    # The offset is the file's claim: kept inside the segment, at most 64 KB long.
    offset = tf.minimum(tf.where(is_big, has["big"], has["little"]), 2**16)
    directory = start + 6 + offset
    table = binary.cut(raw, directory + 2, start + length - directory - 2)
    table = tf.cast(tf.io.decode_raw(table, tf.uint8), tf.int32)
    count = tf.cast(binary.window(raw, directory, 2), tf.int32)
    count = tf.where(is_big, count[0] * 256 + count[1], count[1] * 256 + count[0])
    count = tf.minimum(count, tf.size(table) // 12)
    table = tf.reshape(table[: count * 12], (-1, 12))
    weights = tf.where(is_big, [256, 1], [1, 256])
    tags = tf.reduce_sum(table[:, :2] * weights, axis=1)
    values = tf.reduce_sum(table[:, 8:10] * weights, axis=1)
    values = tf.where((tags == 0x0112) & (values >= 1) & (values <= 8), values, -1)
    found = tf.reduce_max(tf.concat([values, [-1]], 0))
    return tf.where(is_exif, found, -1)


def _size_faults(is_read, width, height):
    most = 2**31  # so that the product of two claims stays inside int64
    pixels = tf.minimum(width, most) * tf.minimum(height, most)

    def size(verdict):
        return binary.sentence("image of ", width, " x ", height, " pixels ", verdict)

    return [
        (is_read & (pixels == 0), lambda: size("is empty")),
        (
            is_read & (pixels > MAX_PIXELS),
            lambda: size(f"is over the limit of {MAX_PIXELS} pixels"),
        ),
    ]


def _unknown(raw):
    return binary.sentence(
        "not a JPEG, PNG, GIF, BMP or WebP image (begins with '",
        binary.printable(raw),
        "'",
        binary.hint(raw),
        ")",
    )


def _bmp_faults(has, is_bmp):
    depth, compression = has["bmp_depth"], has["bmp_compression"]
    masks = (
        (has["bmp_red"] == 0xFF0000)
        & (has["bmp_green"] == 0x00FF00)
        & (has["bmp_blue"] == 0x0000FF)
    )
    plain = (compression == 0) | ((compression == 3) & (depth == 32) & masks)
    depths = (depth == 8) | (depth == 24) | (depth == 32)
    return [
        (
            is_bmp & (has["bmp_header"] < 40),
            lambda: "BMP header of OS/2 1.x is not supported",
        ),
        (
            is_bmp & ~depths,
            lambda: binary.sentence(
                "BMP with pixels of ", depth, " bits is not supported (8, 24, 32 are)"
            ),
        ),
        (
            is_bmp & ~plain,
            lambda: binary.sentence(
                "BMP compression ", compression, " is not supported (plain BMP is)"
            ),
        ),
    ]
