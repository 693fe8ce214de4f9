"""WAV files: what the header says, in the graph.

`tf.audio.decode_wav` reads 16-bit PCM with a plain header only. This reads PCM of 8
to 32 bits, IEEE float, A-law and mu-law, with any channel count and order of chunks.

Sources: Microsoft "Multiple Channel Audio Data and WAVE Files", EBU Tech 3306 (RF64).
"""

import numpy as np
import tensorflow as tf

from mmkeras.modalities import binary, compressed

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# (format tag, bytes a sample): what `pcm` can turn into samples, in its order.
KINDS = (
    (PCM, 1),
    (PCM, 2),
    (PCM, 3),
    (PCM, 4),
    (FLOAT, 4),
    (FLOAT, 8),
    (ALAW, 1),
    (MULAW, 1),
)
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
# Chunks looked at before the samples: editors write a few, never hundreds.
MAX_CHUNKS = 128
_STREAMED = 0xFFFFFFFF

_HEADER = {
    "tag": (0, 2, "little"),
    "channels": (2, 2, "little"),
    "rate_hz": (4, 4, "little"),
    "block_bytes": (12, 2, "little"),
    "bits": (14, 2, "little"),
    # The first bytes of WAVE_FORMAT_EXTENSIBLE's sub-format GUID: the real tag.
    "sub_tag": (24, 2, "little"),
}
# Most files begin like this: a fmt chunk of 16 bytes, and the samples.
_PLAIN = ({12: b"fmt \x10\0\0\0", 36: b"data"},)
_PLAIN_BYTES = 44
_SIZES = {
    "riff": (4, 4, "little"),
    "rate_hz": (24, 4, "little"),
    "plain": (40, 4, "little"),
}
_WAVES = tuple({0: magic, 8: b"WAVE"} for magic in (b"RIFF", b"RF64", b"BW64"))
_OTHERS = (
    *compressed.MAGICS,
    ("M4A/MP4", {4: b"ftyp"}),
    ("AIFF", {0: b"FORM"}),
    ("Matroska/WebM", {0: b"\x1a\x45\xdf\xa3"}),
)


def read(raw):
    """The header of one WAV file.

    Args:
        raw: scalar string, the whole file.

    Returns:
        Dict of scalars: `kind` int32 (index into KINDS), `channels`, `rate_hz`,
        `block_bytes` (all channels at one moment), `start` (of the samples, bytes),
        `frames` (moments that are really there, whatever the header promises) and
        `lost_bytes` (that it promises and are not there), int64;
        `fault` string, "" where none.
    """
    chunks = _scan(raw)
    header = binary.fields(binary.window(raw, chunks["format_start"], 40), _HEADER)
    sub_tag = header.pop("sub_tag")
    header["tag"] = tf.where(header["tag"] == EXTENSIBLE, sub_tag, header["tag"])
    header["start"] = chunks["data_start"]
    header["lost_bytes"] = chunks["lost_bytes"]
    matches = _matches(header)
    header["kind"] = tf.argmax(matches, output_type=tf.int32)
    header["frames"] = chunks["data_bytes"] // tf.maximum(header["block_bytes"], 1)
    header["fault"] = _fault(raw, header, chunks, tf.reduce_any(matches))
    return header


def plain_rate(raw):
    """The sample rate that a file claims which begins as most do, Hz, int64; else 0."""
    sizes, is_plain = _plain(raw)
    return tf.where(is_plain, sizes["rate_hz"], 0)


def _plain(raw):
    """(numbers of the first bytes, whether the file begins as most do)."""
    head = binary.window(raw, 0, _PLAIN_BYTES)
    is_whole = tf.strings.length(raw) >= _PLAIN_BYTES
    return binary.fields(head, _SIZES), binary.matches(head, _PLAIN)[0] & is_whole


def _scan(raw):
    """Where the fmt and data chunks lie: dict of int64 scalars, -1 where not found."""
    end = tf.cast(tf.strings.length(raw), tf.int64)
    sizes, is_plain = _plain(raw)

    def unfinished(position, count, format_start, data_start, data_bytes):
        found = (format_start >= 0) & (data_start >= 0)
        return ~found & (position + 8 <= end) & (count < MAX_CHUNKS)

    def step(position, count, format_start, data_start, data_bytes):
        head = tf.strings.substr(raw, position, tf.constant(8, tf.int64))
        name = tf.strings.substr(head, 0, 4)
        size = tf.io.decode_raw(head, tf.int32)[1]
        size = tf.bitwise.bitwise_and(tf.cast(size, tf.int64), _STREAMED)
        is_format = (name == "fmt ") & (format_start < 0)
        is_data = (name == "data") & (data_start < 0)
        start = position + 8
        return (
            start + size + size % 2,  # chunks are padded to even sizes
            count + 1,
            tf.where(is_format, start, format_start),
            tf.where(is_data, start, data_start),
            tf.where(is_data, size, data_bytes),
        )

    def known(plain, otherwise):
        return tf.where(is_plain, tf.constant(plain, tf.int64), otherwise)

    # Where all is known the loop, which takes longer than all else here, ends at once.
    start = tf.constant(12, tf.int64), 0, known(20, -1), known(_PLAIN_BYTES, -1)
    start = *start, tf.where(is_plain, sizes["plain"], 0)
    _, _, format_start, data_start, claimed = tf.while_loop(
        unfinished, step, start, parallel_iterations=1
    )
    # A program that writes to a pipe cannot go back to fill in the sizes. It leaves
    # 0xFFFFFFFF, or 0 with a RIFF size that does not count what follows.
    riff_bytes = 8 + sizes["riff"]
    is_streamed = (claimed == _STREAMED) | ((claimed == 0) & (riff_bytes <= data_start))
    rest = tf.maximum(end - data_start, 0)
    return {
        "format_start": format_start,
        "data_start": data_start,
        "data_bytes": tf.where(is_streamed, rest, tf.minimum(claimed, rest)),
        "lost_bytes": tf.where(
            is_streamed, tf.zeros_like(rest), tf.maximum(claimed - rest, 0)
        ),
    }


def _matches(header):
    """(kinds,) bool: at most one holds, none where the format is not supported."""
    tags, widths = np.array(KINDS, np.int64).T
    return (
        (header["tag"] == tags)
        & (header["block_bytes"] == widths * header["channels"])
        & ((header["bits"] + 7) // 8 == widths)
        & (header["channels"] > 0)
    )


def _fault(raw, header, chunks, is_supported):
    """The first fault of the file, "" where there is none."""
    head = binary.window(raw, 0, 12)
    is_wave = tf.reduce_any(binary.matches(head, _WAVES))
    rate_hz = header["rate_hz"]
    in_range = (rate_hz >= MIN_RATE_HZ) & (rate_hz <= MAX_RATE_HZ)
    return binary.first_fault(
        [
            (~is_wave, lambda: _other(raw, head)),
            (chunks["format_start"] < 0, lambda: "WAV file has no fmt chunk"),
            (chunks["data_start"] < 0, lambda: "WAV file has no data chunk"),
            (~is_supported, lambda: _unsupported(header)),
            (
                ~in_range,
                lambda: binary.sentence(
                    "WAV sample rate of ",
                    rate_hz,
                    f" Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
                ),
            ),
            (header["frames"] == 0, lambda: "WAV file holds no samples"),
        ]
    )


def _unsupported(header):
    """Why the format is none of KINDS."""
    tag, channels, bits = header["tag"], header["channels"], header["bits"]
    is_known = tf.reduce_any(tag == tf.constant([PCM, FLOAT, ALAW, MULAW], tf.int64))
    is_consistent = (bits + 7) // 8 * channels == header["block_bytes"]
    return binary.first_fault(
        [
            (
                ~is_known,
                lambda: binary.sentence(
                    "WAV format tag ",
                    tag,
                    " is not supported (PCM, float, A-law, mu-law are)",
                ),
            ),
            (
                ~is_consistent | (channels == 0),
                lambda: binary.sentence(
                    "WAV header is inconsistent: ",
                    channels,
                    " channels of ",
                    bits,
                    " bits in blocks of ",
                    header["block_bytes"],
                    " bytes",
                ),
            ),
            (
                True,
                lambda: binary.sentence(
                    "WAV samples of ",
                    bits,
                    " bits with format tag ",
                    tag,
                    " are not supported",
                ),
            ),
        ]
    )


def _other(raw, head):
    """The fault of a file that is no WAV; names the format where it is a known one."""
    found = tf.unstack(binary.matches(head, [magic for _, magic in _OTHERS]))
    names = [
        (is_it, lambda name=name: _convert(name))
        for is_it, (name, _) in zip(found, _OTHERS, strict=True)
    ]
    return binary.first_fault([*names, (True, lambda: _unknown(raw))])


def _convert(name):
    if name in dict(compressed.MAGICS):  # unpacked in training, and never here
        return f"not a WAV file but {name}: send WAV; {name} is for training only"
    return f"not a WAV file but {name}: convert it with ffmpeg first"


def _unknown(raw):
    shown = binary.printable(raw)
    return binary.sentence(
        "not a WAV file (begins with '", shown, "'", binary.hint(raw), ")"
    )
