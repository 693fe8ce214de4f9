"""FLAC, Ogg and MP3 -> the bytes of a WAV file: for training only.

A served graph has TensorFlow's operations alone, none of which reads these. So they are
unpacked by tensorflow-io where it works (`native`), else outside the graph by
libsndfile, and from there on every sound goes the same way: of the same PCM samples,
FLAC gives the same bits as WAV.
"""

import io

import tensorflow as tf

from mmkeras.modalities import native

MAGICS = (
    ("FLAC", {0: b"fLaC"}),
    ("Ogg", {0: b"OggS"}),
    ("MP3", {0: b"ID3"}),
    # Frames of layer III of MPEG 1, 2 and 2.5, with and without a checksum.
    *(("MP3", {0: bytes([0xFF, b])}) for b in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
)
# How samples are written: whole numbers stay what they are, others become floats.
SUBTYPES = {
    "PCM_S8": ("int16", "PCM_16"),
    "PCM_16": ("int16", "PCM_16"),
    "PCM_24": ("int32", "PCM_24"),
}


def unpacked(raws):
    """Files of any kind, those unpacked that are compressed; no operation to serve.

    Args:
        raws: (batch,) string, whole files.

    Returns:
        (raws, or the bytes of WAV files; faults): two (batch,) strings; "" and what is
        wrong where one cannot be unpacked.
    """

    def by_python(raw, kind):
        found, fault = tf.numpy_function(_attempt, [raw], (tf.string, tf.string))
        return tf.ensure_shape(found, ()), tf.ensure_shape(fault, ())

    return _unpacked(raws, by_python)


def portable(raws):
    """As `unpacked`, in other processes, which have no Python of ours.

    Args:
        raws: (batch,) string, whole files.

    Returns:
        The same; what Python would have to unpack is a fault.
    """

    def refused(raw, kind):
        told = " is unpacked by Python, which no data worker has: write the files once "
        return "", tf.strings.join([kind, told, "as WAV, `mmkeras prepare`"])

    return _unpacked(raws, refused)


def _unpacked(raws, otherwise):
    """By tensorflow-io where it can, else by a function of a file and its format."""
    begins = [tf.strings.substr(raws, 0, len(m[0])) == m[0] for _, m in MAGICS]
    packed = tf.reduce_any(begins, axis=0)
    first = tf.argmax(tf.cast(begins, tf.int32), axis=0)
    kinds = tf.gather([name for name, _ in MAGICS], first)
    string = tf.TensorSpec((), tf.string)
    return tf.cond(
        tf.reduce_any(packed),  # one condition a batch, where there is nothing to do
        lambda: tf.map_fn(
            lambda each: _one(*each, otherwise),
            (raws, packed, kinds),
            fn_output_signature=(string, string),
        ),
        lambda: (raws, tf.fill(tf.shape(raws), "")),
    )


def _one(raw, is_packed, name, otherwise):
    def others():
        return tf.cond(is_packed, lambda: otherwise(raw, name), lambda: (raw, ""))

    if not native.works():
        return others()
    which, rate_hz = native.kind(raw)

    def in_graph():
        found = native.wave(raw, which, rate_hz)
        broken = tf.strings.join(
            [name, " data is truncated or corrupt: so tensorflow-io"]
        )
        return found, tf.where(found == "", broken, "")

    return tf.cond(which != native.OTHER, in_graph, others)


def wave_bytes(raw):
    """The bytes of a file -> of a WAV file, in Python; of others, as they are.

    Raises:
        ValueError: it cannot be unpacked.
    """
    name = next((name for name, m in MAGICS if raw.startswith(m[0])), None)
    if name is None:
        return raw
    try:
        import soundfile
    except (ImportError, OSError):  # the second: no libsndfile
        raise ValueError(f"{name} needs: pip install soundfile") from None
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            kind, subtype = SUBTYPES.get(file.subtype, ("float32", "FLOAT"))
            samples, rate_hz = file.read(dtype=kind, always_2d=True), file.samplerate
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"{name} data is truncated or corrupt: {error}") from None
    written = io.BytesIO()
    soundfile.write(written, samples, rate_hz, subtype, format="WAV")
    return written.getvalue()


def _attempt(raw):
    try:
        return wave_bytes(raw), b""
    except ValueError as error:
        return b"", str(error).encode()
