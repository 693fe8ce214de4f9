"""The few shared layers: sound features, missing tokens, positions, pooling, blocks."""

from mmkeras.layers.blocks import channel_dropout, conformer_block, transformer_block
from mmkeras.layers.heads import MeanOfPresent
from mmkeras.layers.learned import PCEN, GaborFilters, pcen, smooth
from mmkeras.layers.sound import (
    MFCC,
    LogMel,
    SpecMask,
    Standardize,
    dct_matrix,
    mel_edges,
    mel_filters,
)
from mmkeras.layers.tokens import (
    MissingToken,
    Pool,
    Positions,
    masked_max,
    masked_mean,
)

__all__ = [
    "MFCC",
    "PCEN",
    "GaborFilters",
    "LogMel",
    "MeanOfPresent",
    "MissingToken",
    "Pool",
    "Positions",
    "SpecMask",
    "Standardize",
    "channel_dropout",
    "conformer_block",
    "dct_matrix",
    "masked_max",
    "masked_mean",
    "mel_edges",
    "mel_filters",
    "pcen",
    "smooth",
    "transformer_block",
]
