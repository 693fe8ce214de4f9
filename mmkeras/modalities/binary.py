"""Numbers, names and faults out of a string of bytes, in the graph.

Nothing here believes a position or a length which a file claims: what lies outside
the bytes at hand reads as nothing, or as zeros.
"""

import numpy as np
import tensorflow as tf


def cut(raw, position, length):
    """At most `length` bytes of `raw` from `position` on, scalar string."""
    # In 64 bits: a chunk may claim four gigabytes.
    end = tf.cast(tf.strings.length(raw), tf.int64)
    position = tf.clip_by_value(tf.cast(position, tf.int64), 0, end)
    length = tf.maximum(tf.cast(length, tf.int64), 0)
    return tf.strings.substr(raw, position, length)


def window(raw, position, length):
    """`length` bytes from `position` on, (length,) int64; zeros behind the end."""
    piece = tf.strings.join([cut(raw, position, length), b"\0" * length])
    return tf.cast(_bytes(tf.strings.substr(piece, 0, length), length), tf.int64)


def fields(numbers, layout):
    """The unsigned integers of a header, all in one product.

    Args:
        numbers: (length,) int64, each a byte.
        layout: {name: (position, bytes, "little" or "big")}, at most 6 bytes each.

    Returns:
        {name: scalar int64}.
    """
    weights = np.zeros((len(layout), numbers.shape[0]))
    for row, (position, count, order) in enumerate(layout.values()):
        powers = np.arange(count) if order == "little" else np.arange(count)[::-1]
        weights[row, position : position + count] = 256.0**powers
    # Exact: float64 holds every integer below 2 ** 53.
    values = tf.linalg.matvec(weights, tf.cast(numbers, tf.float64))
    return dict(zip(layout, tf.unstack(tf.cast(values, tf.int64)), strict=True))


def matches(numbers, magics):
    """Which magics stand in a header, (len(magics),) bool.

    Args:
        numbers: (length,) int64, each a byte.
        magics: list of {position: bytes}; all parts of one must be there.
    """
    expected = np.full((len(magics), numbers.shape[0]), -1)
    for row, parts in enumerate(magics):
        for position, magic in parts.items():
            expected[row, position : position + len(magic)] = list(magic)
    return tf.reduce_all((numbers == expected) | (expected < 0), axis=1)


def printable(raw, length=8):
    """The first bytes of `raw` to show in a message: "." for what no one can read."""
    text = tf.strings.unicode_transcode(
        cut(raw, 0, length), "UTF-8", "UTF-8", errors="replace"
    )
    return tf.strings.regex_replace(text, r"[^ -~]", ".")


def hint(raw):
    """What to say behind the first bytes of a file that is none, scalar string.

    Over REST many send base64 as it is, and a server takes it for the file.
    """
    beginning = (
        r"(data:[a-z]+/|/9j/|iVBORw0KGgo|R0lGOD|UklGR).*"  # JPEG, PNG, GIF, RIFF
    )
    encoded = tf.strings.regex_full_match(cut(raw, 0, 32), beginning)
    return tf.where(encoded, '; as base64: over REST send {"b64": "..."}', "")


def first_fault(faults):
    """The text of the first condition that holds, "" where none does.

    Args:
        faults: (scalar bool, function that gives its text) pairs. No text is put
            together for a healthy file: that would cost more than reading its header.
    """
    conditions = tf.stack([condition for condition, _ in faults])

    def text():
        found = tf.constant("")
        for condition, sentence in reversed(faults):
            found = tf.where(condition, sentence(), found)
        return found

    return tf.cond(tf.reduce_any(conditions), text, lambda: tf.constant(""))


def sentence(*parts):
    """Strings and scalar tensors put together to one string."""
    return tf.strings.join(
        [part if isinstance(part, str) else tf.as_string(part) for part in parts]
    )


def raise_fault(fault):
    """Raises where `fault` is not "".

    Returns:
        The operation to depend on, None in eager mode.

    Raises:
        InvalidArgumentError: with `fault` in its message.
    """
    if tf.executing_eagerly():
        text = fault.numpy().decode("utf-8")
        if text:
            raise tf.errors.InvalidArgumentError(None, None, text)
        return None
    return tf.debugging.Assert(fault == "", [fault])


def _bytes(piece, length):
    return tf.ensure_shape(tf.io.decode_raw(piece, tf.uint8), (length,))
