"""Image branches from keras.applications: pretrained backbones without their tops.

All take the same options:

- `weights`: `imagenet`, none (`null` in a recipe), or the path of a local file: weights
  as keras.applications takes them, or a `.keras` model, as a run's, that has a backbone
  of this kind within.
- `trainable`: False freezes the backbone, True trains it; a share in [0, 1) trains that
  share of its layers from the output's end, a name the layer of that name and all
  after it.
- `units`: size of a token.

`size` is the pixels a side, 32 at least; ImageNet's weights were made at 224. A token
stands for 32 x 32 pixels. All raise:

- `ValueError`: too few pixels, no layer of that name, or weights of something else.
- `FileNotFoundError`: weights that are neither there nor to be fetched.
"""

import os
from pathlib import Path

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras.branches import patches, pretrained
from mmkeras.families import Fraction


def vgg16(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """VGG16, 15 million weights (Simonyan and Zisserman 2015, arXiv 1409.1556)."""
    return _branch("VGG16", name, size, weights, trainable, units)


def vgg19(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """VGG19, 20 million weights (Simonyan and Zisserman 2015, arXiv 1409.1556)."""
    return _branch("VGG19", name, size, weights, trainable, units)


def resnet50(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """ResNet-50, 24 million weights (He et al. 2016, arXiv 1512.03385)."""
    return _branch("ResNet50", name, size, weights, trainable, units)


def efficientnet(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """EfficientNetV2-B0, 6 million weights (Tan and Le 2021, arXiv 2104.00298)."""
    return _branch("EfficientNetV2B0", name, size, weights, trainable, units)


def mobilenet(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """MobileNetV3-Small, 1 million weights (Howard et al. 2019, arXiv 1905.02244).

    Small, the quickest of all here: what the large one costs buys more as
    `efficientnet`.
    """
    return _branch("MobileNetV3Small", name, size, weights, trainable, units)


def convnext(
    name,
    *,
    size,
    weights: str | None = "imagenet",
    trainable: bool | Fraction | str = False,
    units: PositiveInt = 64,
):
    """ConvNeXt-Tiny, 28 million weights (Liu et al. 2022, arXiv 2201.03545).

    Layer normalisation only: tuned at small batches, it behaves as at large ones.
    """
    return _branch("ConvNeXtTiny", name, size, weights, trainable, units)


def _bytes(pixels):
    return pixels * 255.0


def _caffe(pixels):
    """BGR in [0, 255], the mean of ImageNet taken away."""
    return ops.flip(pixels, axis=-1) * 255.0 - ops.array([103.939, 116.779, 123.68])


# Pixels in [0, 1] -> what the weights were trained on. Those that take bytes scale them
# inside.
PREPARE = {
    "VGG16": _caffe,
    "VGG19": _caffe,
    "ResNet50": _caffe,
    "EfficientNetV2B0": _bytes,
    "MobileNetV3Small": _bytes,
    "ConvNeXtTiny": _bytes,
}


def _branch(application, name, size, weights, trainable, units):
    """A keras.applications backbone between its own preprocessing and the patches."""
    if size < 32:
        raise ValueError(
            f"data.inputs.{name}.size: {size} pixels are too few for "
            f"{application}, 32 at least"
        )
    inputs = patches.inputs(name, size)
    backbone = _load(application, size, weights)
    pretrained.freeze(backbone, trainable)
    features = backbone(PREPARE[application](inputs[name]))
    key = f"{name}_features"  # (batch, height, width, channels)
    return pretrained.branch(
        name,
        inputs,
        {key: features},
        tokens=lambda given: patches.tokens(name, given[key], units),
        mask=lambda given: patches.seen(name, given, given[key]),
    )


def _load(application, size, weights):
    make, shape = getattr(keras.applications, application), (size, size, 3)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(
            f"no weights file `{weights}` for {application}. Expected a path, "
            "`imagenet`, or null for random weights"
        )
    if str(weights).endswith(".keras"):
        return _from_model(make, shape, weights)
    try:
        return make(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        if weights != "imagenet":
            raise ValueError(
                f"`{weights}` does not fit {application} without its top at "
                f"{size} pixels: {error}"
            ) from error
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise FileNotFoundError(
            f"the ImageNet weights of {application} are not in {cache} and "
            f"could not be fetched ({error}). Put the file there, name a local one "
            "with `weights: path`, or start without: `weights: null, trainable: true`"
        ) from error


def _from_model(make, shape, path):
    """A backbone with the weights of its like in a saved model, of any picture size."""
    backbone = make(include_top=False, weights=None, input_shape=shape)
    network = keras.saving.load_model(path, compile=False)
    found = [each for each in pretrained.within(network) if each.name == backbone.name]
    if not found:
        raise ValueError(
            f"the model `{path}` has no {backbone.name} in it. Name one that was "
            f"trained with a branch of kind {backbone.name}"
        )
    backbone.set_weights(found[0].get_weights())
    return backbone
