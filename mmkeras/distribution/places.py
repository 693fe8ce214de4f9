"""Where a fit runs, what each process reads there, and what workers agree on."""

import contextlib
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mmkeras.config import RecipeError
from mmkeras.dataset import Share
from mmkeras.distribution.team import workers


class Place(NamedTuple):
    """Where a fit runs.

    Attributes:
        replicas: devices that share each step.
        share: the `dataset.Share` of this process.
        worker: index of this process.
        strategy: tf.distribute's.
    """

    replicas: int
    share: Share
    worker: int
    strategy: object

    @property
    def is_chief(self):
        """Whether this process writes the run's folder."""
        return self.worker == 0


def here():
    """The `Place` of the strategy in whose scope this is called."""
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    worker = workers().index if is_of_workers(strategy) else 0
    own = replicas // workers().count if is_of_workers(strategy) else replicas
    mine = tuple(range(worker * own, (worker + 1) * own))
    fixed = isinstance(strategy, tf.distribute.TPUStrategy)
    return Place(replicas, Share(mine, replicas, fixed), worker, strategy)


def is_of_workers(strategy):
    """Whether it is that of several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def scope(strategy):
    """Inside its `with`, models are made for a strategy; nothing changes for None."""
    return strategy.scope() if strategy else contextlib.nullcontext()


def spread(batches):
    """Batches for `fit`; one of this process' shares after the other, for many.

    Args:
        batches: tf.data, made with the `share` of `here`.
    """
    if here().replicas == 1:
        return batches
    return here().strategy.distribute_datasets_from_function(lambda context: batches)


def wait():
    """Waits until every worker is here; at once where there is one."""
    agreed(0)


def agreed(number):
    """The largest of the integers that the workers give, on all of them."""
    place, team = here(), workers()
    if not is_of_workers(place.strategy) or team.count == 1:
        return number
    own = np.zeros(team.count, "int32")
    own[team.index] = number
    summed = _summed(place.strategy)(tf.constant(own))
    return int(tf.reduce_max(summed)) // (place.replicas // team.count)


@functools.cache
def _summed(strategy):
    """A function of a vector, summed over all workers."""

    def give(own):
        # A tensor that stands on no device yet has nowhere to be summed up.
        placed = tf.identity(own)
        return tf.distribute.get_replica_context().all_reduce("SUM", placed)

    @tf.function
    def summed(own):
        return strategy.run(give, args=(own,))

    # Every replica of a worker gives its vector: the sum is as many times as large.
    return lambda own: strategy.experimental_local_results(summed(own))[0]


def require_rows(counts, options):
    """Every replica must have a row in every step.

    Args:
        counts: {split: rows}.
        options: the `train` section of a recipe.

    Raises:
        RecipeError: one would have none; tells other batch sizes.
    """
    place, size = here(), batch_size(options)
    rows, replicas = counts["train"], place.replicas
    if place.share.fixed and size % replicas:
        raise RecipeError(
            f"train.batch_size: {size} rows a step are not a multiple of the "
            f"{replicas} cores of this TPU"
        )
    last = rows % size or size
    if last < replicas and not place.share.fixed:
        per = size // options.batch_size
        sizes = range(options.batch_size, options.batch_size + rows + replicas)
        fits = [n for n in sizes if (rows % (n * per) or n * per) >= replicas]
        raise RecipeError(
            f"train.batch_size: {size} rows a step leave {last} of {rows} for the last "
            f"one, and each of {replicas} devices needs one. Set it to {fits[0]}, or "
            "train on fewer devices"
        )
    if 0 < counts["valid"] < replicas and not place.share.fixed:
        raise RecipeError(
            f"the valid split has {counts['valid']} rows, and each of {replicas} "
            "devices needs one: add rows, or train on fewer devices"
        )


def require_own_rows(options):
    """What mixes rows of a step needs them all on one device.

    Args:
        options: the `augment` section of a recipe.

    Raises:
        RecipeError: there are several devices.
    """
    if options.mixup and here().replicas > 1:
        raise RecipeError(
            f"augment.mixup: {options.mixup:g} mixes each row with the next of its "
            f"step, and {here().replicas} devices share the steps: drop it, or train "
            "with train.strategy: one"
        )


def batch_size(options):
    """Rows a step, of all replicas; `options` are the `train` section of a recipe."""
    each = options.batch_size_per == "replica"
    return options.batch_size * (here().replicas if each else 1)


def even(count, most, share):
    """The largest batch, `most` or near it, that every replica has a part of.

    Args:
        count: rows in all, no fewer than replicas.
        most: rows a batch; more where there are more replicas.
        share: a `dataset.Share`; a `fixed` one takes a multiple of its replicas.
    """
    most = -(-most // share.of) * share.of
    if share.fixed:
        return most
    sizes = range(most, 0, -1)
    return next(size for size in sizes if (count % size or size) >= share.of)
