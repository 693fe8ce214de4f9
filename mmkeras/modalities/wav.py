"""WAV files: header and samples, in the graph.

`tf.audio.decode_wav` reads 16-bit PCM with a plain header only. This reads PCM of 8
to 32 bits, IEEE float, A-law and mu-law, with any channel count and order of chunks.

Sources: Microsoft "Multiple Channel Audio Data and WAVE Files", EBU Tech 3306 (RF64),
ITU-T G.711 (A-law, mu-law).
"""

import numpy as np
import tensorflow as tf

from mmkeras.modalities import binary

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# (format tag, bytes a sample), in the order of the branches of `samples`.
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

_OTHERS = (
    ("FLAC", 0, b"fLaC"),
    ("Ogg", 0, b"OggS"),
    ("MP3", 0, b"ID3"),
    ("MP3", 0, b"\xff\xfb"),
    ("MP3", 0, b"\xff\xf3"),
    ("M4A/MP4", 4, b"ftyp"),
    ("AIFF", 0, b"FORM"),
    ("Matroska/WebM", 0, b"\x1a\x45\xdf\xa3"),
)


def read(raw):
    """The header of one WAV file.

    Args:
        raw: scalar string, the whole file.

    Returns:
        Dict of scalars: `kind` int32 (index into KINDS), `channels`, `rate_hz`,
        `block_bytes` (all channels at one moment), `start` (of the samples, bytes) and
        `frames` (moments that are really there, whatever the header promises), int64;
        `fault` string, "" where none.
    """
    chunks = _scan(raw)
    numbers = binary.window(raw, chunks["format_start"], 40)
    tag = binary.little(numbers, 0, 2)
    # WAVE_FORMAT_EXTENSIBLE keeps the tag in the first bytes of the sub-format's GUID.
    tag = tf.where(tag == EXTENSIBLE, binary.little(numbers, 24, 2), tag)
    header = {
        "tag": tag,
        "channels": binary.little(numbers, 2, 2),
        "rate_hz": binary.little(numbers, 4, 4),
        "block_bytes": binary.little(numbers, 12, 2),
        "bits": binary.little(numbers, 14, 2),
        "start": chunks["data_start"],
    }
    matches = _matches(header)
    header["kind"] = tf.argmax(matches, output_type=tf.int32)
    header["frames"] = chunks["data_bytes"] // tf.maximum(header["block_bytes"], 1)
    header["fault"] = _fault(raw, header, chunks, tf.reduce_any(matches))
    return header


def samples(raw, header, frames):
    """The first `frames` moments, all channels mixed to one.

    Args:
        raw: scalar string, the whole file.
        header: what `read` gave, without a fault.
        frames: how many are wanted at most, int64.

    Returns:
        (frames,) float32 in [-1, 1]. PCM16 is exactly the integer / 32768; floats that
        are no finite number are 0, and those beyond 1 are clipped.
    """
    size = tf.minimum(frames, header["frames"]) * header["block_bytes"]
    piece = binary.cut(raw, header["start"], size)
    readers = [_pcm8, _pcm16, _pcm24, _pcm32, _float32, _float64, _alaw, _mulaw]
    wave = tf.switch_case(
        header["kind"], [lambda reader=reader: reader(piece) for reader in readers]
    )
    channels = tf.cast(header["channels"], tf.int32)
    return tf.cond(channels == 1, lambda: wave, lambda: _mono(wave, channels))


def _scan(raw):
    """Where the fmt and data chunks lie: dict of int64 scalars, -1 where not found."""
    end = tf.cast(tf.strings.length(raw), tf.int64)
    none = -tf.ones((), tf.int64)

    def unfinished(position, count, format_start, data_start, data_bytes):
        found = (format_start >= 0) & (data_start >= 0)
        return ~found & (position + 8 <= end) & (count < MAX_CHUNKS)

    def step(position, count, format_start, data_start, data_bytes):
        head = binary.window(raw, position, 8)
        size = binary.little(head, 4, 4)
        is_format = binary.equals(head, 0, b"fmt ") & (format_start < 0)
        is_data = binary.equals(head, 0, b"data") & (data_start < 0)
        start = position + 8
        return (
            start + size + size % 2,  # chunks are padded to even sizes
            count + 1,
            tf.where(is_format, start, format_start),
            tf.where(is_data, start, data_start),
            tf.where(is_data, size, data_bytes),
        )

    start = (tf.constant(12, tf.int64), 0, none, none, tf.zeros((), tf.int64))
    _, _, format_start, data_start, claimed = tf.while_loop(
        unfinished, step, start, parallel_iterations=1
    )
    # A program that writes to a pipe cannot go back to fill in the sizes. It leaves
    # 0xFFFFFFFF, or 0 with a RIFF size that does not count what follows.
    riff_bytes = 8 + binary.little(binary.window(raw, 4, 4), 0, 4)
    is_streamed = (claimed == _STREAMED) | ((claimed == 0) & (riff_bytes <= data_start))
    rest = tf.maximum(end - data_start, 0)
    return {
        "format_start": format_start,
        "data_start": data_start,
        "data_bytes": tf.where(is_streamed, rest, tf.minimum(claimed, rest)),
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
    is_riff = tf.reduce_any(
        [binary.equals(head, 0, magic) for magic in (b"RIFF", b"RF64", b"BW64")]
    )
    rate_hz = header["rate_hz"]
    in_range = (rate_hz >= MIN_RATE_HZ) & (rate_hz <= MAX_RATE_HZ)
    return binary.first_fault(
        [
            (~is_riff | ~binary.equals(head, 8, b"WAVE"), lambda: _other(raw, head)),
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
    names = [
        (binary.equals(head, position, magic), lambda name=name: _convert(name))
        for name, position, magic in _OTHERS
    ]
    return binary.first_fault([*names, (True, lambda: _unknown(raw))])


def _convert(name):
    return f"not a WAV file but {name}: convert it with soundfile or ffmpeg first"


def _unknown(raw):
    return binary.sentence("not a WAV file (begins with '", binary.printable(raw), "')")


def _pcm8(piece):
    wave = tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.float32)
    return (wave - 128.0) / 128.0


def _pcm16(piece):
    return tf.cast(tf.io.decode_raw(piece, tf.int16), tf.float32) / 2.0**15


def _pcm24(piece):
    parts = tf.reshape(tf.io.decode_raw(piece, tf.uint8), (-1, 3))
    low = tf.cast(parts[:, :2], tf.int32)
    high = tf.cast(tf.bitcast(parts[:, 2], tf.int8), tf.int32)  # carries the sign
    wave = low[:, 0] + 2**8 * low[:, 1] + 2**16 * high
    return tf.cast(wave, tf.float32) / 2.0**23


def _pcm32(piece):
    return tf.cast(tf.io.decode_raw(piece, tf.int32), tf.float32) / 2.0**31


def _float32(piece):
    return _finite(tf.io.decode_raw(piece, tf.float32))


def _float64(piece):
    return tf.cast(_finite(tf.io.decode_raw(piece, tf.float64)), tf.float32)


def _alaw(piece):
    return _expanded(piece, _ALAW)


def _mulaw(piece):
    return _expanded(piece, _MULAW)


def _finite(wave):
    wave = tf.where(tf.math.is_finite(wave), wave, tf.zeros_like(wave))
    return tf.clip_by_value(wave, -1.0, 1.0)


def _expanded(piece, table):
    return tf.gather(table, tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.int32))


def _mono(wave, channels):
    """(frames * channels,) -> (frames,): the mean of the channels."""
    wave = tf.reshape(wave, tf.stack([-1, channels]))  # (frames, channels)
    weights = tf.fill(tf.stack([channels, 1]), 1.0 / tf.cast(channels, tf.float32))
    return tf.matmul(wave, weights)[:, 0]  # far faster than a mean over a short axis


def _alaw_table():
    """(256,) float32: what each A-law byte stands for (G.711, table 1)."""
    code = np.arange(256) ^ 0x55
    segment, step = code // 16 % 8, code % 16
    amount = np.where(
        segment == 0, 16 * step + 8, (16 * step + 264) * 2.0 ** (segment - 1)
    )
    return np.where(code >= 128, amount, -amount).astype(np.float32) / 2**15


def _mulaw_table():
    """(256,) float32: what each mu-law byte stands for (G.711, table 2)."""
    code = 255 - np.arange(256)
    amount = (8 * (code % 16) + 132) * 2.0 ** (code // 16 % 8) - 132
    return np.where(code >= 128, -amount, amount).astype(np.float32) / 2**15


_ALAW, _MULAW = _alaw_table(), _mulaw_table()
