"""Resampling in the graph: a windowed sinc, from any rate to a fixed one.

Source: J. O. Smith, "Digital Audio Resampling" (ccrma.stanford.edu/~jos/resample);
the Kaiser window and its beta after Kaiser and Schafer (1980).
"""

import math

import numpy as np
import tensorflow as tf

# Half the filter's length, in samples of the lower of the two rates.
HALF_WIDTH = 56
# For 90 dB: 0.1102 * (90 - 8.7). With HALF_WIDTH the transition is then a tenth of the
# lower Nyquist frequency wide: it ends at Nyquist and the pass band at 0.9 of it.
BETA = 8.96
CUTOFF = 0.95
# Outputs of one row of the product: fewer make it slow.
MIN_BLOCK = 128
# Entries of the filter matrix, 8 MB; ratios that need more go the slower way.
MAX_MATRIX = 2**21
# Rows of the kernel's table where the ratio is odd. Linear interpolation between rows
# errs by (pi / 256)^2 / 8 at most, -94 dB.
PHASES = 256
GATHERED = 2**20


def output_length(frames, source_hz, target_hz):
    """How many samples `frames` at `source_hz` are at `target_hz`, rounded up."""
    return -(-frames * target_hz // source_hz)


def source_length(samples, source_hz, target_hz):
    """Frames at `source_hz` that the first `samples` at `target_hz` are made of."""
    return samples * source_hz // target_hz + _half(source_hz, target_hz) + 1


def filters(source_hz, target_hz):
    """What `resample` takes as `known`: the filters of one rate, made once.

    Args:
        source_hz: scalar int64, positive.
        target_hz: int.

    Returns:
        (`source_hz`, (inputs, outputs) float32; (0, 0) where they are not needed).
    """
    up, down = _ratio(source_hz, target_hz)
    rows, columns = _matrix_shape(up, down)
    matrix = tf.cond(
        (up != down) & (rows * columns <= MAX_MATRIX),
        lambda: _matrix(up, down, rows, columns),
        lambda: tf.zeros((0, 0)),
    )
    return source_hz, tf.ensure_shape(matrix, (None, None))


def resample(wave, source_hz, target_hz, samples, known=None):
    """The first `samples` of a sound at another rate.

    Before its start and after its end the sound is silence.

    Args:
        wave: (frames,) float32 at `source_hz`.
        source_hz: scalar int64.
        target_hz: int.
        samples: scalar int64, at most `output_length` of the frames.
        known: `filters` of the rate that most sounds have, to be made once for all.

    Returns:
        (samples,) float32 at `target_hz`. Equal rates: `wave` itself, bit for bit.
    """
    up, down = _ratio(source_hz, target_hz)
    rows, columns = _matrix_shape(up, down)

    def matrix():
        make = lambda: _matrix(up, down, rows, columns)  # noqa: E731
        if known is None:
            return make()
        return tf.cond(source_hz == known[0], lambda: known[1], make)

    return tf.case(
        [
            (up == down, lambda: wave[:samples]),
            (
                rows * columns <= MAX_MATRIX,
                lambda: _by_blocks(wave, up, down, samples, matrix()),
            ),
        ],
        default=lambda: _by_positions(wave, up, down, samples),
    )


def _ratio(source_hz, target_hz):
    """The ratio target / source in lowest terms: (up, down), int64."""
    # The divisors of the target are known beforehand: no Euclid's loop in the graph.
    divisors = [d for d in range(1, target_hz + 1) if target_hz % d == 0]
    divisors = tf.constant(divisors, tf.int64)
    common = tf.reduce_max(tf.where(source_hz % divisors == 0, divisors, 1))
    return target_hz // common, source_hz // common


def _half(source_hz, target_hz):
    """Half the filter's length in source samples, rounded up, int64."""
    widest = HALF_WIDTH * tf.maximum(source_hz, target_hz)
    return -(-widest // target_hz)


def _kernel(position):
    """The low-pass at |position| samples of the lower rate from its centre, float32."""
    inside = tf.maximum(1.0 - tf.square(position * (1.0 / HALF_WIDTH)), 0.0)
    bent = BETA * tf.sqrt(inside)
    # I0(bent) / I0(BETA) by the scaled Bessel function, which is the faster one. Here
    # and below, constants stand where graph optimisers cannot move them: what is
    # computed in another order is rounded otherwise, and serving would differ.
    window = tf.math.bessel_i0e(bent) * tf.exp(bent - math.log(np.i0(BETA)))
    angle = math.pi * CUTOFF * position
    # The choice comes last because no optimiser moves a product past it.
    sinc = tf.math.divide_no_nan(tf.sin(angle), angle)
    return tf.where(position == 0.0, window, window * sinc)


def _matrix_shape(up, down):
    """(inputs, outputs) of one block: whole periods, at least MIN_BLOCK outputs."""
    periods = -(-MIN_BLOCK // up)
    return 2 * _half(down, up) + periods * down, periods * up


def _by_blocks(wave, up, down, samples, matrix):
    """Rows of input times one matrix of filters: for ratios of small numbers."""
    rows, columns = _matrix_shape(up, down)
    hop = columns // up * down
    overlap = -(-rows // hop)
    blocks = -(-samples // columns)
    half = _half(down, up)
    length = (blocks + overlap) * hop
    wave = wave[: length - half]
    wave = tf.pad(wave, [[half, length - half - tf.size(wave, tf.int64)]])
    hops = tf.reshape(wave, tf.stack([-1, hop]))  # (blocks + overlap, hop)
    starts = tf.range(blocks)[:, tf.newaxis] + tf.range(overlap)
    frames = tf.reshape(tf.gather(hops, starts), tf.stack([blocks, overlap * hop]))
    return tf.reshape(tf.matmul(frames[:, :rows], matrix), [-1])[:samples]


def _matrix(up, down, rows, columns):
    """(rows, columns) float32: column j makes output j of a block."""
    # Distances between inputs and outputs are whole numbers of 1 / (up * source_hz):
    # each value of the kernel is computed once and then only looked up.
    up, down, rows, columns = (tf.cast(n, tf.int32) for n in (up, down, rows, columns))
    unit = tf.maximum(up, down)
    last = HALF_WIDTH * unit
    steps = tf.cast(tf.range(last + 1), tf.float32)
    kernel = _kernel(steps / tf.cast(unit, tf.float32)) * _gain(up, unit)
    kernel = tf.concat([kernel, [0.0]], 0)
    inputs = (tf.range(rows) - _half(down, up)) * up
    distance = tf.abs(inputs[:, tf.newaxis] - tf.range(columns) * down)
    return tf.gather(kernel, tf.minimum(distance, last + 1))


def _gain(up, unit):
    """What makes the filter's sum 1, to its 90 dB: a constant stays that constant."""
    return CUTOFF * tf.cast(up, tf.float32) / tf.cast(unit, tf.float32)


def _by_positions(wave, up, down, samples):
    """Each output from its own surroundings: for ratios like 16000 / 44101."""
    half = _half(down, up)
    taps = 2 * half + 1
    table = _table(up, down, half, taps)
    count = tf.maximum(GATHERED // taps, 1)  # outputs at a time, to bound the memory
    wave = tf.pad(wave, [[half, half + down // up + 2]])
    last = tf.size(wave, tf.int64) - taps

    def some(start):
        place = (start + tf.range(count)) * down
        first = tf.minimum(place // up, last)
        phase = tf.cast(place % up, tf.float32) / tf.cast(up, tf.float32) * PHASES
        row = tf.minimum(tf.cast(phase, tf.int64), PHASES - 1)
        share = (phase - tf.cast(row, tf.float32))[:, tf.newaxis]
        low, high = tf.gather(table, row), tf.gather(table, row + 1)  # (count, taps)
        near = tf.gather(wave, first[:, tf.newaxis] + tf.range(taps))
        return tf.reduce_sum(near * (low + share * (high - low)), axis=1)

    starts = tf.range(0, samples, count)
    parts = tf.map_fn(some, starts, fn_output_signature=tf.float32)
    return tf.reshape(parts, [-1])[:samples]


def _table(up, down, half, taps):
    """(PHASES + 1, taps) float32: the filter for an output between two inputs."""
    offsets = tf.cast(tf.range(taps) - half, tf.float32)
    phases = tf.range(PHASES + 1, dtype=tf.float32) / PHASES
    distance = tf.abs(offsets - phases[:, tf.newaxis])
    unit = tf.maximum(up, down)
    scale = tf.cast(up, tf.float32) / tf.cast(unit, tf.float32)
    return _kernel(distance * scale) * _gain(up, unit)
