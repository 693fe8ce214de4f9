"""Image branches: pixels -> corridor; one token a patch of the last feature map.

Inputs of each: `<name>`, (batch, size, size, 3) float32 in [0, 1], and
`<name>_present`, (batch,) bool.
"""

import keras
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.branches import patches
from mmkeras.branches.applications import (
    convnext,
    efficientnet,
    mobilenet,
    resnet50,
    vgg16,
    vgg19,
)
from mmkeras.branches.kerashub import image_kerashub
from mmkeras.branches.own import image_own
from mmkeras.families import Fraction


def cnn(
    name,
    *,
    size,
    filters: PositiveInt = 32,
    num_blocks: PositiveInt = 3,
    units: PositiveInt = 64,
    dropout: Fraction = 0.0,
    whole: bool = False,
):
    """Blocks of two convolutions and a pooling, trained from scratch.

    No normalisation: on small sets this network learns faster without.

    Args:
        name: of the input.
        size: pixels a side.
        filters: of the first block; each further block has twice as many.
        num_blocks: each halves the side.
        units: size of a token.
        dropout: share of channels, in [0, 1).
        whole: one token of the whole picture, not one a patch: where pictures are
            aligned, as faces are, it knows what stands where.

    Raises:
        ValueError: nothing would be left of the picture after so many blocks.
    """
    if size >> num_blocks < 1:
        raise ValueError(
            f"num_blocks: {num_blocks} blocks leave nothing of a picture of {size} "
            f"pixels; at most {size.bit_length() - 1}"
        )
    inputs = patches.inputs(name, size)
    # Each picture by itself to zero mean and unit variance: light or dark, it learns
    # from the first step.
    features = keras.layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, name=f"{name}_standardize"
    )(inputs[name])
    for block in range(num_blocks):
        for half in "ab":
            layer = f"{name}_conv{block}{half}"
            features = _convolution(filters << block, layer)(features)
        features = keras.layers.MaxPooling2D(name=f"{name}_pool{block}")(features)
    features = layers.channel_dropout(features, dropout, f"{name}_dropout")
    if whole:
        features = keras.layers.Reshape((1, 1, -1), name=f"{name}_whole")(features)
    tokens = patches.tokens(name, features, units)
    mask = patches.seen(name, inputs, features)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _convolution(filters, name):
    return keras.layers.Conv2D(
        filters,
        3,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )


IMAGE = {
    "cnn": cnn,
    "vgg16": vgg16,
    "resnet50": resnet50,
    "efficientnet": efficientnet,
    "vgg19": vgg19,
    "mobilenet": mobilenet,
    "convnext": convnext,
    "kerashub": image_kerashub,
    "own": image_own,
}
