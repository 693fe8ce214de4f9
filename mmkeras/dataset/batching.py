"""Decoded rows and targets -> batches, in the order of an epoch or of the file."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mmkeras.dataset.reading import as_written


class Share(NamedTuple):
    """What one process reads of each step, where several devices share it.

    Attributes:
        mine: numbers of the replicas that it feeds, one batch for each in turn.
        of: how many replicas there are.
        fixed: every step has all its rows, as a TPU wants: the last of an epoch is
            filled up with rows of weight 0.
        flow: who makes the batches, in the way of `flow`, which is this process itself
            and what None stands for; or `service.Service.flow`.
    """

    mine: tuple = (0,)
    of: int = 1
    fixed: bool = False
    flow: Callable | None = None


WHOLE = Share()


def ordered(rows, count, batch_size):
    """The inputs of all rows once, in order.

    Args:
        rows: `Rows`.
        count: how many rows there are.
        batch_size: rows a batch; the last may be smaller.

    Returns:
        tf.data of {key: (batch, ...)}.
    """
    numbers = tf.data.Dataset.range(count).batch(batch_size)
    return numbers.map(as_written(rows.take), tf.data.AUTOTUNE).prefetch(2)


def flow(give, first, last):
    """The batches of these numbers, in their order, made by this process.

    Args:
        give: function of a number, () int64 -> the batch; TensorFlow's operations.
        first: the first number.
        last: the one behind the last; None: without end.

    Returns:
        tf.data.
    """
    counter = tf.data.Dataset.counter
    numbers = counter(first) if last is None else tf.data.Dataset.range(first, last)
    # Deterministic: the order of batches is the order of their numbers.
    return numbers.map(as_written(give), tf.data.AUTOTUNE).prefetch(2)


def labelled(rows, targets, batch_size, share=WHOLE):
    """The inputs and targets of all rows once, in order; see `ordered`.

    Args:
        rows: `Rows`.
        targets: see `shuffled`.
        batch_size: rows a batch.
        share: a `Share`.
    """
    held, count = _taught(targets)
    held = tf.nest.map_structure(tf.constant, held)
    dealt = _Dealt(count, batch_size, share)

    def give(number):
        places = dealt.places(number)
        numbers = places % count
        return rows.take(numbers), *_told(held, places, numbers, share)

    return (share.flow or flow)(give, 0, dealt.batches)


def shuffled(
    rows, targets, *, batch_size, seed, augment=None, begin=(0, 0), share=WHOLE
):
    """Inputs and targets for `fit`, without end, each epoch in an order of its own.

    Args:
        rows: `Rows`.
        targets: {target: (rows, ...) array}; or a tuple of that and of {target: (rows,)
            float32}, what a row counts in the loss.
        batch_size: rows a batch; the last of an epoch may be smaller.
        seed: of the order and of the augmentation.
        augment: function ({key: (batch, ...)}, seeds (batch, 2) int32) -> the first,
            changed. A row's seed is drawn from (seed, epoch, row number). Or a pair of
            that and of a function (inputs, a tuple of targets and maybe weights, seeds)
            -> (inputs, the tuple); each may be None.
        begin: (epoch, step) where to begin, for a run that goes on; nothing of the
            steps before is decoded.
        share: a `Share`; its rows alone are read, every `of`th of a step.

    Returns:
        tf.data of ({key: (batch, ...)}, {target: (batch, ...)}), weights third where
        there are; an epoch has ceil(rows / batch_size) batches.
    """
    held, count = _taught(targets)
    held = tf.nest.map_structure(tf.constant, held)
    augment, mix = augment if isinstance(augment, tuple) else (augment, None)
    first_epoch, first_step = begin

    dealt = _Dealt(count, batch_size, share)

    def give(number):
        epoch, places = number // dealt.batches, dealt.places(number % dealt.batches)
        numbers = permute(places % count, count, seed, epoch)
        inputs = rows.take(numbers)
        if augment:
            inputs = augment(inputs, row_seeds(seed, epoch, numbers))
        told = _told(held, places, numbers, share)
        if mix:
            inputs, told = mix(inputs, told, row_seeds(seed, epoch, numbers))
        return inputs, *told

    first = first_epoch * dealt.batches + first_step * len(share.mine)
    return (share.flow or flow)(give, first, None)


class _Dealt(NamedTuple):
    """Which rows of an epoch are in which batch of a share.

    Attributes:
        count: rows of an epoch.
        batch_size: rows of a step.
        share: a `Share`.
    """

    count: int
    batch_size: int
    share: Share

    @property
    def batches(self):
        """How many an epoch has: one for each step and replica of this process."""
        return -(-self.count // self.batch_size) * len(self.share.mine)

    def places(self, number):
        """The places of the rows of a batch, (batch,) int64, in the order of an epoch.

        Those of a `fixed` share go on beyond the last row, to be counted from the
        first.
        """
        own = len(self.share.mine)
        first = number // own * self.batch_size
        last = first + self.batch_size
        if not self.share.fixed:
            last = tf.minimum(last, self.count)
        replica = tf.gather(tf.constant(self.share.mine, tf.int64), number % own)
        places = tf.range(first, last)[replica :: self.share.of]
        size = self.batch_size // self.share.of if self.share.fixed else None
        return tf.ensure_shape(places, (size,))


def _told(held, places, numbers, share):
    """Targets, and weights if any, of the rows of these numbers."""
    told = tf.nest.map_structure(lambda one: tf.gather(one, numbers), held)
    if not share.fixed:
        return told
    count = len(next(iter(held[0].values())))
    real = tf.cast(places < count, tf.float32)
    if len(told) == 1:
        return told[0], dict.fromkeys(told[0], real)
    return told[0], {target: one * real for target, one in told[1].items()}


def _taught(targets):
    """(a tuple of the targets, and of their weights if any; how many rows)."""
    held = targets if isinstance(targets, tuple) else (targets,)
    return held, len(next(iter(held[0].values())))


def permute(numbers, count, seed, epoch):
    """The epoch's order of rows at these places, (n,) int64 -> (n,) int64.

    A permutation of range(count) without holding it: a cipher's rounds on the number
    itself.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    # `tf.random.experimental.index_shuffle` is this with four rounds and a key as it
    # is given. Neighbouring keys of that cipher give related orders, in which some rows
    # come early in most epochs; a hashed key and more rounds do not.
    key = tf.random.stateless_uniform((3,), key, None, None, tf.uint32)
    return tf.raw_ops.RandomIndexShuffle(
        index=numbers, seed=key, max_index=tf.constant(count - 1, tf.int64), rounds=16
    )


def row_seeds(seed, epoch, numbers):
    """One seed a row, (n, 2) int32, from (seed, epoch, row number)."""
    key = tf.stack([tf.constant(seed, tf.int32), tf.cast(epoch, tf.int32)])
    return tf.map_fn(
        lambda number: tf.random.fold_in(key, number),
        tf.cast(numbers, tf.int32),
        fn_output_signature=tf.TensorSpec((2,), tf.int32),
    )
