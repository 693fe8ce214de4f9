"""Which tf.distribute strategy, and what Keras needs to run under it.

A step means the same rows and the same mathematics on one device and on many: each
replica reads its own rows of the step, losses are taken over the rows of all of them,
batch statistics too. So weights differ by rounding alone, partial batches included.
"""

from mmkeras.distribution.models import gathered, losses, model_class, synchronize
from mmkeras.distribution.places import (
    agreed,
    batch_size,
    even,
    here,
    require_own_rows,
    require_rows,
    scope,
    spread,
    wait,
)
from mmkeras.distribution.strategies import kind_of, strategy_of
from mmkeras.distribution.team import (
    WorkerLostError,
    Workers,
    loss_of_workers_told,
    workers,
)

__all__ = [
    "WorkerLostError",
    "Workers",
    "agreed",
    "batch_size",
    "even",
    "gathered",
    "here",
    "kind_of",
    "loss_of_workers_told",
    "losses",
    "model_class",
    "require_own_rows",
    "require_rows",
    "scope",
    "spread",
    "strategy_of",
    "synchronize",
    "wait",
    "workers",
]
