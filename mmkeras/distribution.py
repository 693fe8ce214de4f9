"""Which tf.distribute strategy, and what Keras needs to run under it.

A step means the same rows and the same mathematics on one device and on many: each
replica reads its own rows of the step, losses are taken over the rows of all of them,
batch statistics too. So weights differ by rounding alone, partial batches included.
"""

import contextlib
import functools
import json
import os
import re
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mmkeras.config import RecipeError
from mmkeras.dataset import Share

# What `fit` of Keras under several workers was seen to work with (keras#20585).
TESTED_KERAS = (3, 15)
# What TensorFlow raises where a worker that it waits for is gone.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class WorkerLostError(RuntimeError):
    """Another worker of the run is gone; the message says which, and how to go on."""


class Workers(NamedTuple):
    """The processes of a run, as TF_CONFIG tells them.

    Attributes:
        count: how many there are.
        index: of this one; 0 is the chief, which alone writes the run's folder.
        addresses: (count,) `host:port`.
    """

    count: int = 1
    index: int = 0
    addresses: tuple = ()


def workers():
    """The `Workers` of this run; one where TF_CONFIG is not set.

    Raises:
        RecipeError: TF_CONFIG cannot be used; says what it should hold.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return Workers()
    try:
        told = json.loads(text)
        cluster, task = told.get("cluster", {}), told.get("task", {})
        chief = list(cluster.get("chief", ()))
        addresses = (*chief, *cluster.get("worker", ()))
        index = int(task.get("index", 0))
        index += len(chief) * (task.get("type", "worker") == "worker")
        if not 0 <= index < max(len(addresses), 1):
            raise ValueError(f"there is no worker {index}")
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"TF_CONFIG cannot be used ({error}): {text}. Expected, on each worker "
            'with its own index: {"cluster": {"worker": ["host1:4444", "host2:4444"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from None
    return Workers(max(len(addresses), 1), index, addresses)


def kind_of(options):
    """The strategy that a recipe asks for or, where it says `auto`, this machine.

    Args:
        options: the `train` section of a recipe.

    Returns:
        `one`, `mirrored`, `multiworker` or `tpu`.

    Raises:
        RecipeError: what it asks for is not here.
    """
    many, kind = workers().count > 1, options.strategy
    if kind == "auto" and many:
        return "multiworker"
    if kind == "auto" and _has_tpu():
        return "tpu"
    if kind == "auto":
        return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if many != (kind == "multiworker"):
        told = (
            f"TF_CONFIG names {workers().count} workers"
            if many
            else ("TF_CONFIG names no other worker")
        )
        raise RecipeError(
            f"train.strategy: {kind}, but {told}. Start several with `mmkeras launch "
            "--workers 2 -- train RECIPE --run DIR`, see docs/scaling.md, or leave the "
            "key away"
        )
    return kind


def _has_tpu():
    return bool(os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"))


def strategy_of(options):
    """The tf.distribute strategy of a recipe; None for one device.

    To be called before TensorFlow does anything else: workers find each other here.

    Args:
        options: the `train` section of a recipe.

    Raises:
        RecipeError: what it asks for is not here, or cannot run under it.
    """
    kind = kind_of(options)
    if kind == "one":
        return None
    require_runnable(options, kind)
    if kind == "multiworker":
        return _multiworker()
    if kind == "tpu":
        return _tpu()
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise RecipeError(
            "train.strategy: mirrored needs two devices, and this machine has "
            f"{devices[0].name}. Leave the key away: it is chosen where there are more"
        )
    return _mirrored(*[device.name for device in devices])


def require_runnable(options, kind):
    """Refuses what is known to fail, or to do nothing, under a strategy.

    Args:
        options: the `train` section of a recipe.
        kind: what `kind_of` gave.

    Raises:
        RecipeError: names the keys.
    """
    version = tuple(map(int, keras.__version__.split(".")[:2]))
    if kind == "multiworker" and version != TESTED_KERAS:
        raise RecipeError(
            "several workers were tested with Keras "
            f"{'.'.join(map(str, TESTED_KERAS))}, whose `fit` needs two methods "
            f"replaced for them (keras#20585); this is {keras.__version__}. Install "
            "the other, or train with one worker"
        )
    if options.jit_compile and kind != "tpu":
        raise RecipeError(
            f"train.jit_compile fails in Keras under the strategy {kind}: drop one. "
            "(On a TPU every step is compiled, with or without it.)"
        )
    if options.time_limit_minutes and kind == "multiworker":
        raise RecipeError(
            "train.time_limit_minutes: the clocks of several workers do not agree when "
            "to end. Say it in steps: train.max_steps"
        )


# One strategy a process: a second one would use the keys of the first one's collective
# operations, and fail where their shapes differ.
@functools.cache
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multiworker():
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(
            os.environ.get("TPU_NAME", "local")
        )
    except Exception as error:  # whatever the network or the driver says
        raise RecipeError(
            f"train.strategy: no TPU answers ({str(error).splitlines()[0]}). Set "
            "TPU_NAME to its name, or to `local` on a TPU machine itself"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


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
    worker = workers().index if _of_workers(strategy) else 0
    own = replicas // workers().count if _of_workers(strategy) else replicas
    mine = tuple(range(worker * own, (worker + 1) * own))
    fixed = isinstance(strategy, tf.distribute.TPUStrategy)
    return Place(replicas, Share(mine, replicas, fixed), worker, strategy)


def _of_workers(strategy):
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
    if not _of_workers(place.strategy) or team.count == 1:
        return number
    own = np.zeros(team.count, "int32")
    own[team.index] = number
    summed = _summed(place.strategy)(tf.constant(own))
    return int(tf.reduce_max(summed)) // (place.replicas // team.count)


@functools.cache
def _summed(strategy):
    """A function of a vector, summed over all workers."""

    @tf.function
    def summed(own):
        return strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce("SUM", own)
        )

    # Every replica of a worker gives its vector: the sum is as many times as large.
    return lambda own: strategy.experimental_local_results(summed(own))[0]


@contextlib.contextmanager
def loss_of_workers_told():
    """For what needs other workers: that one is gone is told in one sentence.

    Raises:
        WorkerLostError: instead of TensorFlow's account of a collective operation.
    """
    try:
        yield
    except tf.errors.OpError as error:
        team = workers()
        if team.count == 1 or not isinstance(error, LOST):
            raise
        named = sorted(set(map(int, re.findall(r"/task:(\d+)", str(error)))))
        gone = [at for at in named if at != team.index] or ["unknown"]
        addresses = [team.addresses[at] for at in gone if at != "unknown"]
        which = f"worker {gone[0]}" + (f" ({addresses[0]})" if addresses else "")
        raise WorkerLostError(
            f"{which} no longer answers worker {team.index}, and no step goes on "
            "without it. What it said last stands in its own output. Start all workers "
            "again with the same arguments and --resume: they go on from the last "
            "checkpoint"
        ) from error


def gathered(tensor):
    """The rows of all replicas in the order of the step, differentiable.

    Each puts its rows where they stand in the step (see `dataset.Share`) between zeros,
    and all is summed up: `all_gather` fails under several workers in TensorFlow 2.21.

    Args:
        tensor: (rows here, ...) -> (rows of the step, ...).
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return tensor
    tensor = tf.convert_to_tensor(tensor)
    own, number = tf.shape(tensor), replica.replica_id_in_sync_group
    rows = replica.all_reduce("SUM", own[0])
    places = number + replica.num_replicas_in_sync * tf.range(own[0])
    shape = tf.concat([[rows], own[1:]], axis=0)
    placed = tf.scatter_nd(places[:, None], tensor, shape)
    every = replica.all_reduce("SUM", placed)
    return tf.ensure_shape(every, (None, *tensor.shape[1:]))


@keras.saving.register_keras_serializable("mmkeras")
class OfAllRows(keras.losses.Loss):
    """A loss over the rows of all replicas, equal on each of them.

    The mean of replicas' means is not the mean of all rows where one has more of them,
    and a contrast between rows needs them all.

    Args:
        loss: the Keras loss.
    """

    def __init__(self, loss):
        super().__init__(name=loss.name)
        self.loss = loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Keras' reduction over all rows, divided by the replicas as Keras does."""
        if sample_weight is not None:
            sample_weight = gathered(sample_weight)
        return self.loss(gathered(y_true), gathered(y_pred), sample_weight)

    def call(self, y_true, y_pred):
        """(all rows,)."""
        return self.loss.call(gathered(y_true), gathered(y_pred))

    def get_config(self):
        """The argument."""
        return {"loss": keras.saving.serialize_keras_object(self.loss)}


def losses(each):
    """{target: loss} as they are for one device, over all rows for many."""
    if here().replicas == 1:
        return each
    return {target: OfAllRows(loss) for target, loss in each.items()}


def model_class(parent):
    """A class of models to fit: itself for one device, mended for many.

    Args:
        parent: `keras.Model`, or a class of that kind.
    """
    place = here()
    if place.replicas == 1:
        return parent

    class Spread(parent):
        """What `fit` of Keras lacks under tf.distribute."""

        has_metrics = False

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            # Keras takes the mean over replicas of a batch as an example of one, which
            # fails for shares of different size and for several workers (keras#20585);
            # and it takes one from an iterator that may be at its end.
            if self.has_metrics:
                return
            if iterator is not None:
                _, _, batches = next(iter(iterator))
                data_batch = keras.tree.map_structure(
                    lambda value: place.strategy.experimental_local_results(value)[0],
                    next(batches),
                )
            with place.strategy.scope():
                self._symbolic_build(data_batch=data_batch)
            self.has_metrics = True

        def train_step(self, data):
            return _logs(super().train_step(data), place.strategy)

        def test_step(self, data):
            return _logs(super().test_step(data), place.strategy)

    Spread.__name__ = parent.__name__
    return Spread


def _logs(logs, strategy):
    """Logs of a step as Keras can reduce them: over several workers, along an axis."""
    if not _of_workers(strategy):
        return logs
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}


def synchronize(network):
    """Lets batch normalisation count the rows of all replicas."""
    if here().replicas == 1:
        return
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


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
