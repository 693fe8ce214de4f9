"""Manifest + decoders + targets -> batched tf.data of ({name: tensor}, {name: target}).

Rows are shuffled exactly and before anything is decoded: the order of an epoch is a
permutation of row numbers drawn from (seed, epoch), in constant memory.
"""

from mmkeras.dataset.batching import (
    WHOLE,
    Share,
    flow,
    labelled,
    ordered,
    permute,
    row_seeds,
    shuffled,
)
from mmkeras.dataset.reading import (
    CHUNK,
    Drawn,
    Rows,
    broken_files_named,
    faults,
    load,
    openable,
    read,
)
from mmkeras.dataset.service import Service, ServiceError
from mmkeras.dataset.shelf import Shelf

__all__ = [
    "CHUNK",
    "WHOLE",
    "Drawn",
    "Rows",
    "Service",
    "ServiceError",
    "Share",
    "Shelf",
    "broken_files_named",
    "faults",
    "flow",
    "labelled",
    "load",
    "openable",
    "ordered",
    "permute",
    "read",
    "row_seeds",
    "shuffled",
]
