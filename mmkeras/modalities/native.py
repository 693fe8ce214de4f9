"""FLAC, Ogg Vorbis and MP3 -> WAV by tensorflow-io's operations, where those work.

In the graph, so that other processes can do it too, and no Python lock is waited for. A
release of tensorflow-io fits one of TensorFlow; with others it can be imported, and
each operation raises.

Sources: RFC 9639 (FLAC), Vorbis I and RFC 3533 (Ogg), ISO/IEC 11172-3 (MP3), ID3v2.
"""

import functools

import numpy as np
import tensorflow as tf

from mmkeras.modalities import binary, trying

FLAC8, FLAC16, FLAC24, VORBIS, MP3, OTHER = range(6)
NAMES = ("FLAC", "FLAC", "FLAC", "Ogg", "MP3", "")
PCM, FLOAT = 1, 3  # tags of WAV
# Hz, by the two bits that tell a frame's version and the two of its rate.
_MP3_RATES = np.array(
    [
        [11_025, 12_000, 8_000, 0],
        [0, 0, 0, 0],
        [22_050, 24_000, 16_000, 0],
        [44_100, 48_000, 32_000, 0],
    ],
    "int64",
)
_VORBIS = {0: b"OggS", 26: b"\x01", 28: b"\x01vorbis"}
# The block with rate and bits comes first; the top bit of its kind says: the last, too.
_FLACS = [{0: b"fLaC\0"}, {0: b"fLaC\x80"}]


@functools.cache
def works():
    """Whether tensorflow-io is here and its operations run; asked of one of them."""
    with tf.init_scope():
        try:
            import tensorflow_io

            tensorflow_io.audio.decode_flac(b"none", dtype=tf.int16)
        except tf.errors.InvalidArgumentError:
            return True  # it ran, and says that this is no FLAC
        except Exception:  # whatever a library for another TensorFlow does
            return False
    return False


def kind(raw):
    """What a file is, and its rate, by its first bytes.

    Args:
        raw: scalar string, the whole file.

    Returns:
        (one of FLAC8 to OTHER, int32; Hz, int64, 0 of OTHER).
    """
    head = binary.window(raw, 0, 44)
    bits = (head[20] % 2) * 16 + head[21] // 16 + 1
    flac_hz = head[18] * 2**12 + head[19] * 2**4 + head[20] // 16
    is_flac = tf.reduce_any(binary.matches(head, _FLACS))
    depth = tf.where(bits == 8, FLAC8, tf.where(bits == 16, FLAC16, FLAC24))
    is_flac &= tf.reduce_any(bits == [8, 16, 24])
    (is_vorbis,) = tf.unstack(binary.matches(head, [_VORBIS]))
    vorbis_hz = binary.fields(head, {"hz": (40, 4, "little")})["hz"]
    mp3_hz = _mp3_hz(raw, head)
    found = tf.stack([is_flac, is_vorbis, mp3_hz > 0, True])
    first = tf.argmax(tf.cast(found, tf.int32))
    return (
        tf.gather(tf.stack([depth, VORBIS, MP3, OTHER]), first),
        tf.gather(tf.stack([flac_hz, vorbis_hz, mp3_hz, 0]), first),
    )


def _mp3_hz(raw, head):
    """The rate that the first frame of an MP3 tells, behind its ID3 tag; 0: no MP3."""
    (is_tagged,) = tf.unstack(binary.matches(head, [{0: b"ID3"}]))
    size = tf.reduce_sum(head[6:10] * [2**21, 2**14, 2**7, 1])  # seven bits a byte
    frame = binary.window(raw, tf.where(is_tagged, 10 + size, 0), 4)
    is_third_layer = (frame[1] // 32 == 7) & (frame[1] // 2 % 4 == 1)
    hz = tf.gather_nd(_MP3_RATES, tf.stack([frame[1] // 8 % 4, frame[2] // 4 % 4]))
    return tf.where((frame[0] == 0xFF) & is_third_layer, hz, 0)


def wave(raw, which, rate_hz):
    """The bytes of a WAV file of the same samples, scalar string; "": it is broken.

    Args:
        raw: scalar string, the whole file.
        which: what `kind` gave, not OTHER.
        rate_hz: the same.
    """
    import tensorflow_io

    audio = tensorflow_io.audio

    def decode(raw):
        def flac(dtype):
            return _written(audio.decode_flac(raw, dtype=dtype), rate_hz, PCM)

        written = tf.switch_case(
            which,
            [
                lambda: flac(tf.uint8),
                lambda: flac(tf.int16),
                lambda: flac(tf.int32),
                lambda: _written(audio.decode_vorbis(raw), rate_hz, FLOAT),
                lambda: _written(audio.decode_mp3(raw), rate_hz, FLOAT),
            ],
        )
        return tf.ensure_shape(written, ())

    return trying.carefully(decode, tf.constant(""), raw)


def _written(samples, rate_hz, tag):
    """(frames, channels) of a whole type or float32 -> the bytes of a WAV file."""
    width = samples.dtype.size
    channels = tf.shape(samples)[1]
    size, block = tf.size(samples) * width, channels * width
    rate_hz = tf.cast(rate_hz, tf.int32)
    riff, wave, fmt, data = (_word(each) for each in ("RIFF", "WAVE", "fmt ", "data"))
    words = [riff, 36 + size, wave, fmt, 16, tag + channels * 2**16]
    words += [rate_hz, rate_hz * block, block + 8 * width * 2**16, data, size]
    return tf.strings.join([_bytes(tf.stack(words)), _bytes(samples)])


def _word(letters):
    return int.from_bytes(letters.encode(), "little")


def _bytes(tensor):
    """The numbers of a tensor as bytes, the lowest of each first; scalar string."""
    # TensorFlow's message of a tensor ends with exactly these.
    message = tf.io.serialize_tensor(tensor)
    size = tf.size(tensor) * tensor.dtype.size
    return tf.strings.substr(message, tf.strings.length(message) - size, size)
