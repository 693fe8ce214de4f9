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


def read(raw):
    """The header of one image file.

    Args:
        raw: scalar string, the whole file.

    Returns:
        Dict of scalars: `format` int32 (index into FORMATS, 0 unknown), `width` and
        `height` int64 in stored pixels, `orientation` int32 in 1..8 as Exif counts
        them, `depth` int32 (bits a channel of a PNG, bits a pixel of a BMP, else 0),
        `fault` string, "" where none.
    """
    head = binary.window(raw, 0, _HEAD_BYTES)
    number = _format(head)
    width, height, depth = tf.switch_case(
        number,
        [
            lambda: _sizes(0, 0, 0),
            lambda: _sizes(0, 0, 0),
            lambda: _png(head),
            lambda: _sizes(binary.little(head, 6, 2), binary.little(head, 8, 2), 0),
            lambda: _bmp(head),
            lambda: _webp(head),
        ],
    )
    scanned = tf.cond(
        number == JPEG,
        lambda: _scan_jpeg(raw),
        lambda: (width, height, tf.constant(1)),
    )
    width, height, orientation = scanned
    return {
        "format": number,
        "width": width,
        "height": height,
        "orientation": orientation,
        "depth": depth,
        "fault": _fault(raw, head, number, width, height, depth),
    }


def _format(head):
    """Index into FORMATS by the magic bytes of `head`, (70,) int64."""
    matches = [
        binary.equals(head, 0, b"\xff\xd8\xff"),
        binary.equals(head, 0, b"\x89PNG\r\n\x1a\n") & binary.equals(head, 12, b"IHDR"),
        binary.equals(head, 0, b"GIF87a") | binary.equals(head, 0, b"GIF89a"),
        binary.equals(head, 0, b"BM"),
        binary.equals(head, 0, b"RIFF") & binary.equals(head, 8, b"WEBP"),
    ]
    numbers = tf.range(1, len(FORMATS)) * tf.cast(tf.stack(matches), tf.int32)
    return tf.reduce_max(numbers)


def _sizes(width, height, depth):
    return tf.cast(width, tf.int64), tf.cast(height, tf.int64), tf.cast(depth, tf.int32)


def _png(head):
    return _sizes(binary.big(head, 16, 4), binary.big(head, 20, 4), head[24])


def _bmp(head):
    # A negative height means rows from the top: only its amount is of interest.
    height = tf.bitcast(tf.cast(binary.little(head, 22, 4), tf.uint32), tf.int32)
    return _sizes(
        binary.little(head, 18, 4),
        tf.abs(tf.cast(height, tf.int64)),
        binary.little(head, 28, 2),
    )


def _webp(head):
    lossless = binary.little(head, 21, 4)
    extended = binary.equals(head, 12, b"VP8X")
    width, height, _ = tf.case(
        [
            (
                binary.equals(head, 12, b"VP8L"),
                lambda: _sizes(1 + lossless % 2**14, 1 + lossless // 2**14 % 2**14, 0),
            ),
            (
                extended,
                lambda: _sizes(
                    1 + binary.little(head, 24, 3), 1 + binary.little(head, 27, 3), 0
                ),
            ),
        ],
        default=lambda: _sizes(
            binary.little(head, 26, 2) % 2**14, binary.little(head, 28, 2) % 2**14, 0
        ),
    )
    return _sizes(width, height, 0)


def _scan_jpeg(raw):
    """Walks the segments of a JPEG up to its frame: (width, height, orientation)."""
    end = tf.strings.length(raw)

    def unfinished(position, width, height, orientation, count):
        return (width < 0) & (position + 4 <= end) & (count < MAX_SEGMENTS)

    def step(position, width, height, orientation, count):
        head = binary.window(raw, position, 9)
        marker, length = head[1], binary.big(head, 2, 2)
        in_step = head[0] == 0xFF
        alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        is_frame = (
            in_step
            & (marker >= 0xC0)
            & (marker <= 0xCF)
            & (marker != 0xC4)
            & (marker != 0xC8)
            & (marker != 0xCC)
        )
        over = ~in_step | (marker == 0xD9) | (marker == 0xDA)
        orientation = tf.cond(
            (marker == 0xE1) & (orientation == 0),
            lambda: _exif_orientation(raw, position + 4, length - 2),
            lambda: orientation,
        )
        # Any number of 0xFF may stand before a marker.
        skipped = tf.where(
            alone,
            tf.constant(2, tf.int64),
            tf.where(marker == 0xFF, tf.constant(1, tf.int64), 2 + length),
        )
        none = tf.where(over, tf.zeros_like(width), width)
        return (
            position + tf.cast(skipped, tf.int32),
            tf.where(is_frame, binary.big(head, 7, 2), none),
            tf.where(is_frame, binary.big(head, 5, 2), height),
            orientation,
            count + 1,
        )

    start = (tf.constant(2), -tf.ones((), tf.int64), tf.zeros((), tf.int64), 0, 0)
    _, width, height, orientation, _ = tf.while_loop(
        unfinished, step, start, parallel_iterations=1
    )
    return tf.maximum(width, 0), height, tf.maximum(orientation, 1)


def _exif_orientation(raw, start, length):
    """Orientation 1..8 in the APP1 payload at `start`; 0 where it holds none."""
    head = binary.window(raw, start, 14)
    is_big = binary.equals(head, 6, b"MM")
    is_exif = binary.equals(head, 0, b"Exif\0") & (
        is_big | binary.equals(head, 6, b"II")
    )
    tiff, end = start + 6, start + tf.cast(length, tf.int32)
    offset = tf.where(is_big, binary.big(head, 10, 4), binary.little(head, 10, 4))
    # Offsets are the file's claim: kept inside the segment, at most 64 KB long.
    directory = tiff + tf.cast(tf.minimum(offset, 2**16), tf.int32)
    table = binary.cut(raw, directory + 2, tf.maximum(end - directory - 2, 0))
    count = binary.window(raw, directory, 2)
    count = tf.where(is_big, binary.big(count, 0, 2), binary.little(count, 0, 2))
    table = tf.cast(tf.io.decode_raw(table, tf.uint8), tf.int32)
    entries = tf.minimum(tf.cast(count, tf.int32), tf.size(table) // 12)
    table = tf.reshape(table[: entries * 12], (-1, 12))
    low, high = tf.where(is_big, 1, 0), tf.where(is_big, 0, 1)
    tags = tf.gather(table, low, axis=1) + 256 * tf.gather(table, high, axis=1)
    values = tf.gather(table, 8 + low, axis=1) + 256 * tf.gather(
        table, 8 + high, axis=1
    )
    values = tf.where((tags == 0x0112) & (values <= 8), values, 0)
    found = tf.reduce_max(tf.concat([values, [0]], 0))
    return tf.where(is_exif, found, 0)


def _fault(raw, head, number, width, height, depth):
    """The first fault that the header shows, "" where there is none."""
    most = 2**31  # so that the product of two claims stays inside int64
    pixels = tf.minimum(width, most) * tf.minimum(height, most)
    # Not a matter of taste: TensorFlow 2.21 writes outside its buffer, and the process
    # dies, where an animation has no alpha channel.
    is_animated = binary.equals(head, 12, b"VP8X") & (head[20] // 2 % 2 == 1)

    def size(*verdict):
        return binary.sentence("image of ", width, " x ", height, " pixels", *verdict)

    return binary.first_fault(
        [
            (number == 0, lambda: _unknown(raw)),
            (
                (number == JPEG) & (pixels == 0),
                lambda: "JPEG data is truncated or corrupt",
            ),
            (pixels == 0, lambda: size(" is empty")),
            (
                pixels > MAX_PIXELS,
                lambda: size(f" is over the limit of {MAX_PIXELS} pixels"),
            ),
            (
                (number == WEBP) & is_animated,
                lambda: "animated WebP is not supported",
            ),
            *_bmp_faults(head, number == BMP, depth),
        ]
    )


def _unknown(raw):
    return binary.sentence(
        "not a JPEG, PNG, GIF, BMP or WebP image (begins with '",
        binary.printable(raw),
        "')",
    )


def _bmp_faults(head, is_bmp, depth):
    compression = binary.little(head, 30, 4)
    masks = (
        (binary.little(head, 54, 4) == 0xFF0000)
        & (binary.little(head, 58, 4) == 0x00FF00)
        & (binary.little(head, 62, 4) == 0x0000FF)
    )
    plain = (compression == 0) | ((compression == 3) & (depth == 32) & masks)
    depths = (depth == 8) | (depth == 24) | (depth == 32)
    return [
        (
            is_bmp & (binary.little(head, 14, 4) < 40),
            lambda: "BMP header of OS/2 1.x is not supported",
        ),
        (
            is_bmp & ~depths,
            lambda: binary.sentence(
                "BMP with pixels of ",
                depth,
                " bits is not supported (8, 24 and 32 are)",
            ),
        ),
        (
            is_bmp & ~plain,
            lambda: binary.sentence(
                "BMP compression ", compression, " is not supported (only plain BMP is)"
            ),
        ),
    ]
