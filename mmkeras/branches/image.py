"""Image branches: pixels -> corridor; one token a patch of the last feature map.

Inputs of each: `<name>`, (batch, size, size, 3) float32 in [0, 1], and
`<name>_present`, (batch,) bool.
"""

import os
from pathlib import Path

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.branches import pretrained
from mmkeras.families import Fraction


def cnn(
    name,
    *,
    size,
    filters: PositiveInt = 32,
    num_blocks: PositiveInt = 3,
    units: PositiveInt = 64,
    dropout: Fraction = 0.0,
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

    Raises:
        ValueError: nothing would be left of the picture after so many blocks.
    """
    if size >> num_blocks < 1:
        raise ValueError(
            f"num_blocks: {num_blocks} blocks leave nothing of a picture of {size} "
            f"pixels; at most {size.bit_length() - 1}"
        )
    inputs = _inputs(name, size)
    # Each picture by itself to zero mean and unit variance: light or dark, it learns
    # from the first step.
    features = keras.layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, name=f"{name}_standardize"
    )(inputs[name])
    for block in range(num_blocks):
        for half in "ab":
            features = keras.layers.Conv2D(
                filters << block,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"{name}_conv{block}{half}",
            )(features)
        features = keras.layers.MaxPooling2D(name=f"{name}_pool{block}")(features)
    features = keras.layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(features)
    corridor = {
        "tokens": _tokens(name, features, units),
        "mask": _seen(name, inputs, features),
    }
    return keras.Model(inputs, corridor, name=f"{name}_branch")


def vgg16(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """VGG16 without its top (Simonyan and Zisserman 2015, arXiv 1409.1556).

    Args:
        name: of the input.
        size: pixels a side, at least 32; ImageNet's weights were made at 224.
        weights: `imagenet`, none (`null` in a recipe), or the path of a local file.
        trainable: False freezes the backbone, True trains it; a share in [0, 1) trains
            that share of its layers from the output's end, a name the layer of that
            name and all after it.
        units: size of a token.
    """
    return _pretrained(keras.applications.VGG16, name, size, weights, trainable, units)


def resnet50(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """ResNet-50 without its top (He et al. 2016, arXiv 1512.03385).

    Args:
        name: of the input.
        size: pixels a side, at least 32; ImageNet's weights were made at 224.
        weights: `imagenet`, none (`null` in a recipe), or the path of a local file.
        trainable: False freezes the backbone, True trains it; a share in [0, 1) trains
            that share of its layers from the output's end, a name the layer of that
            name and all after it.
        units: size of a token.
    """
    return _pretrained(
        keras.applications.ResNet50, name, size, weights, trainable, units
    )


def efficientnet(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """EfficientNetV2-B0 without its top (Tan and Le 2021, arXiv 2104.00298).

    Args:
        name: of the input.
        size: pixels a side, at least 32; ImageNet's weights were made at 224.
        weights: `imagenet`, none (`null` in a recipe), or the path of a local file.
        trainable: False freezes the backbone, True trains it; a share in [0, 1) trains
            that share of its layers from the output's end, a name the layer of that
            name and all after it.
        units: size of a token.
    """
    return _pretrained(
        keras.applications.EfficientNetV2B0, name, size, weights, trainable, units
    )


def _pretrained(application, name, size, weights, trainable, units):
    """A keras.applications backbone between its own preprocessing and the patches."""
    if size < 32:
        raise ValueError(
            f"data.inputs.{name}.size: {size} pixels are too few for "
            f"{application.__name__}, 32 at least"
        )
    inputs = _inputs(name, size)
    backbone = _load(application, size, weights)
    pretrained.freeze(backbone, trainable)
    frozen = not backbone.trainable_weights
    # training=False keeps a frozen backbone's batch statistics as they were learned.
    features = backbone(
        _prepare(application, inputs[name]), training=False if frozen else None
    )
    key = f"{name}_features"  # (batch, height, width, channels)
    return pretrained.branch(
        name,
        inputs,
        {key: features},
        tokens=lambda given: _tokens(name, given[key], units),
        mask=lambda given: _seen(name, given, given[key]),
    )


def _load(application, size, weights):
    shape = (size, size, 3)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(
            f"no weights file `{weights}` for {application.__name__}. Expected a path, "
            "`imagenet`, or null for random weights"
        )
    try:
        return application(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        if weights != "imagenet":
            raise ValueError(
                f"`{weights}` does not fit {application.__name__} without its top at "
                f"{size} pixels: {error}"
            ) from error
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise FileNotFoundError(
            f"the ImageNet weights of {application.__name__} are not in {cache} and "
            f"could not be fetched ({error}). Put the file there, name a local one "
            "with `weights: path`, or start without: `weights: null, trainable: true`"
        ) from error


def _prepare(application, pixels):
    """Pixels in [0, 1] -> what the weights were trained on."""
    if application is keras.applications.EfficientNetV2B0:
        return pixels * 255.0  # it rescales inside
    # Caffe's way, for VGG16 and ResNet-50: BGR, the mean of ImageNet taken away.
    return ops.flip(pixels, axis=-1) * 255.0 - ops.array([103.939, 116.779, 123.68])


def _inputs(name, size):
    return {
        name: keras.Input((size, size, 3), dtype="float32", name=name),
        f"{name}_present": keras.Input((), dtype="bool", name=f"{name}_present"),
    }


def _tokens(name, features, units):
    """Feature map (batch, height, width, channels) -> (batch, patches, units)."""
    height, width, channels = features.shape[1:]
    patches = ops.reshape(features, (-1, height * width, channels))
    tokens = keras.layers.Dense(units, name=f"{name}_units")(patches)
    tokens = layers.Positions(name=f"{name}_positions")(tokens)
    return keras.layers.Activation("gelu", name=f"{name}_gelu")(tokens)


def _seen(name, inputs, features):
    """All patches of the pictures that are there, (batch, patches) bool."""
    height, width = features.shape[1:3]
    seen = inputs[f"{name}_present"][:, None]
    return ops.logical_and(seen, ops.ones((1, height * width), dtype="bool"))


IMAGE = {
    "cnn": cnn,
    "vgg16": vgg16,
    "resnet50": resnet50,
    "efficientnet": efficientnet,
}
