"""Branches on any backbone of KerasHub: its presets, or local folders.

A preset is the name of one that KerasHub knows, which is fetched once and then kept,
or a local folder in KerasHub's or Hugging Face's format. The features of a frozen
backbone are computed once a file, see `mmkeras.features`.
"""

import math

import keras
from keras import ops
from pydantic import NonNegativeInt, PositiveInt

from mmkeras.branches import patches, pretrained, waves, whisper
from mmkeras.families import Fraction
from mmkeras.modalities import presets


def text_kerashub(
    name,
    *,
    length,
    padding_id,
    preset: str = "bert_base_multi",
    trainable: bool | Fraction | str = False,
    lora_rank: NonNegativeInt = 0,
    adapter_units: NonNegativeInt = 0,
    units: PositiveInt = 128,
    dropout: Fraction = 0.1,
):
    """A pretrained encoder of texts, as BERT; one token a piece.

    Args:
        name: of the input.
        length: pieces a text.
        padding_id: id of padding.
        preset: name or folder, see above; its tokenizer reads the texts.
        trainable: False freezes the backbone, True trains it; a share in [0, 1) trains
            that share of its layers from the output's end, a name the layer of that
            name and all after it.
        lora_rank: 0, or the rank of low-rank changes of every attention's query and
            value, which are trained while the rest is frozen (Hu et al. 2021, arXiv
            2106.09685).
        adapter_units: 0, or the size of a bottleneck after every block, which is
            trained while the rest is frozen (Houlsby et al. 2019, arXiv 1902.00751).
        units: size of a token.
        dropout: on the features, share in [0, 1).

    Raises:
        FileNotFoundError: the preset is not there and could not be fetched.
        ValueError: options that do not fit each other or the backbone.
    """
    backbone = presets.load("backbone", preset)
    backbone = pretrained.tuned(backbone, trainable, lora_rank, adapter_units)
    ids = keras.Input((length,), dtype="int32", name=name)
    visible = ops.not_equal(ids, padding_id)
    given = {
        "token_ids": ids,
        "padding_mask": ops.cast(visible, "int32"),
        "segment_ids": ops.zeros_like(ids),
    }
    encoded = pretrained.features(backbone, given)
    return pretrained.text_branch(
        name, ids, encoded, visible, units=units, dropout=dropout
    )


def image_kerashub(
    name,
    *,
    size,
    preset: str = "vit_base_patch16_224_imagenet",
    trainable: bool | Fraction | str = False,
    lora_rank: NonNegativeInt = 0,
    adapter_units: NonNegativeInt = 0,
    units: PositiveInt = 128,
    dropout: Fraction = 0.1,
):
    """A pretrained encoder of pictures, as ViT; one token a patch.

    Args:
        name: of the input.
        size: pixels a side; that of the backbone, where it has a fixed one.
        preset: name or folder, see above; its converter's scale is applied.
        trainable: as of `text_kerashub`.
        lora_rank: as of `text_kerashub`.
        adapter_units: as of `text_kerashub`.
        units: size of a token.
        dropout: on the features, share in [0, 1).

    Raises:
        FileNotFoundError: the preset is not there and could not be fetched.
        ValueError: options that do not fit each other or the backbone.
    """
    loaded = presets.load("backbone", preset)
    _require_size(name, preset, loaded, size)
    backbone = pretrained.tuned(loaded, trainable, lora_rank, adapter_units)
    inputs = patches.inputs(name, size)
    scale, offset = _scale(preset)
    features = pretrained.features(
        backbone, {"images": inputs[name] * 255.0 * scale + offset}
    )
    # A feature map, (batch, height, width, channels), is a row of patches.
    features = ops.reshape(features, (-1, _steps(features), features.shape[-1]))
    key = f"{name}_features"
    return pretrained.branch(
        name,
        inputs,
        {key: features},
        tokens=lambda had: pretrained.narrowed(name, had[key], units, dropout),
        mask=lambda had: ops.logical_and(
            had[f"{name}_present"][:, None], ops.ones_like(had[key][..., 0], "bool")
        ),
    )


def audio_kerashub(
    name,
    *,
    rate_hz,
    clip_samples,
    preset: str = "whisper_tiny_multi",
    trainable: bool | Fraction | str = False,
    lora_rank: NonNegativeInt = 0,
    adapter_units: NonNegativeInt = 0,
    units: PositiveInt = 128,
    dropout: Fraction = 0.1,
):
    """The encoder of a pretrained Whisper; one token every 20 ms.

    Whisper heard clips of 30 s, shorter ones with silence behind them; shorter clips
    cost less here, and `data.inputs.<name>.clip_seconds: 30` gives what it heard.

    Args:
        name: of the input.
        rate_hz: sampling rate; must be 16,000.
        clip_samples: samples a clip; at most 30 s.
        preset: name or folder, see above.
        trainable: as of `text_kerashub`.
        lora_rank: as of `text_kerashub`.
        adapter_units: as of `text_kerashub`.
        units: size of a token.
        dropout: on the features, share in [0, 1).

    Raises:
        FileNotFoundError: the preset is not there and could not be fetched.
        ValueError: options that do not fit each other or the backbone.
    """
    whisper.require_clip(name, rate_hz, clip_samples)
    encoder, num_mels = whisper.encoder(presets.load("backbone", preset))
    encoder = pretrained.tuned(encoder, trainable, lora_rank, adapter_units)
    inputs = waves.inputs(name, clip_samples)
    mels = whisper.WhisperMel(num_mels, name=f"{name}_mel")(inputs[name])
    key = f"{name}_features"
    return pretrained.branch(
        name,
        inputs,
        {key: pretrained.features(encoder, {"encoder_features": mels})},
        tokens=lambda had: pretrained.narrowed(name, had[key], units, dropout),
        mask=lambda had: whisper.visible(
            had[key], had[f"{name}_samples"], had[f"{name}_present"]
        ),
    )


def _require_size(name, preset, backbone, size):
    asked = keras.tree.flatten(backbone.input)[0].shape[1:]
    if None not in asked and asked != (size, size, 3):
        raise ValueError(
            f"preset: `{preset}` takes pictures of {asked}: set "
            f"data.inputs.{name}.size = {asked[0]}"
        )


def _steps(features):
    return math.prod(features.shape[1:-1])


def _scale(preset):
    """(scale, offset) of pixels in [0, 255], numbers or one a channel."""
    try:
        converter = presets.keras_hub().layers.ImageConverter.from_preset(preset)
    except Exception:  # a backbone alone has none; KerasHub raises what it likes
        return 1 / 255, 0.0
    scale = 1.0 if converter.scale is None else converter.scale
    return scale, 0.0 if converter.offset is None else converter.offset
