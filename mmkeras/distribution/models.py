"""Losses, batch statistics and models over the rows of all replicas."""

import keras
import tensorflow as tf

from mmkeras.distribution.places import here, is_of_workers


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
    if not is_of_workers(strategy):
        return logs
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}


def synchronize(network):
    """Lets batch normalisation count the rows of all replicas."""
    if here().replicas == 1:
        return
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
