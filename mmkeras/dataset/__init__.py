"""Manifest + decoders + targets -> batched tf.data of ({name: tensor}, {name: target}).

Rows are shuffled exactly and before anything is decoded: the order of an epoch is a
permutation of row numbers drawn from (seed, epoch), in constant memory.
"""

from mmkeras.dataset.batching import (
    WHOLE,
    Share,
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

__all__ = [
    "CHUNK",
    "WHOLE",
    "Drawn",
    "Rows",
    "Share",
    "broken_files_named",
    "faults",
    "labelled",
    "load",
    "openable",
    "ordered",
    "permute",
    "read",
    "row_seeds",
    "shuffled",
]
