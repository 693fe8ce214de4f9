"""Within a modality: which words, pixels, sounds and columns speak for the answer.

Each function takes (probe, decoder) and gives a dict of numbers and arrays with the key
"kind"; where there is no way to tell it has "left_out", the reason. `columns`, the
row's own strings, go to those that show them.
"""

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.branches.vectors import WordVectors
from mmkeras.explain import gradients

FRONT_ENDS = (layers.LogMel, layers.PCEN, layers.GaborFilters)
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)


def text(probe, decoder, columns):
    """Integrated gradients of each token, from word vectors of zeros.

    Returns:
        {"kind", "text" as it was sent, "tokens": [{"token", "attribution"}], "start",
        "end", "steps", "gap"}; the attributions, those of marks as [CLS] among them,
        add up to end - start - gap. Padding has none.
    """
    name = decoder.name
    sent = [columns[key][0].decode("utf-8", "replace") for key in decoder.signatures]
    known = {"kind": "text", "text": "; ".join(filter(None, sent))}
    embedded = next(
        (
            made
            for made in probe.passed(name)
            if isinstance(made.layer, keras.layers.Embedding | WordVectors)
            and made.output.shape[:2] == probe.given[name].shape
        ),
        None,
    )
    if embedded is None:
        return {
            **known,
            "left_out": "the branch has no layer of word vectors that can be looked "
            "into; an encoder of TF Hub is closed",
        }
    ids = probe.given[name][0].numpy()
    real = ids != (decoder.special_ids or (0,))[0]
    end = tf.convert_to_tensor(embedded.output)
    # Padding stays what it is, so that it has no part in the difference.
    start = tf.where(real[None, :, None], tf.zeros_like(end), end)
    (found,), told = gradients.integrated(
        lambda way, rows: probe.value(
            rows=rows, live=name, replaced=[(embedded, way[0])]
        ),
        [start],
        [end],
    )
    each = found.sum(axis=-1)
    pieces = zip(_pieces(decoder, ids[real]), each[real].tolist(), strict=True)
    tokens = [{"token": piece, "attribution": number} for piece, number in pieces]
    return {**known, "tokens": tokens, **told}


def _pieces(decoder, ids):
    """The text of each id; "#7" where only numbers are known."""
    if hasattr(decoder, "vocabulary"):
        vocabulary = decoder.vocabulary
        return [vocabulary[number] for number in ids]
    if hasattr(decoder, "tokenizer"):
        return [str(decoder.tokenizer.id_to_token(int(number))) for number in ids]
    return [f"#{number}" for number in ids]


def image(probe, decoder, columns):
    """Grad-CAM on the last feature map, or gradient times token on a grid of patches.

    Returns:
        {"kind", "method": `grad_cam` or `gradient_x_tokens`, "layer": its name, "grid":
        [height, width], "map": (size, size) float32 in [0, 1], 1 where it is largest,
        "pixels": (size, size, 3) float32 in [0, 1]}.
    """
    name = decoder.name
    passed = probe.passed(name)
    pixels = probe.given[name][0].numpy()
    found = {"kind": "image", "pixels": pixels}
    if made := _feature_map(passed):
        gradient = probe.gradient(name, made)
        coarse = gradients.grad_cam(made.output[0], gradient[0])
        method = "grad_cam"
    elif made := _patch_tokens(passed):
        gradient = probe.gradient(name, made)
        each = gradients.grad_times_tokens(made.output[0], gradient[0])
        side = int(len(each) ** 0.5)
        coarse = each[len(each) - side * side :].reshape(side, side)
        method = "gradient_x_tokens"
    else:
        return {**found, "left_out": "the branch has no feature map and no square grid"}
    fine = tf.image.resize(coarse[..., None], pixels.shape[:2])[..., 0].numpy()
    return {
        **found,
        "method": method,
        "layer": made.layer.name,
        "grid": list(coarse.shape),
        "map": fine / max(float(fine.max()), 1e-30),
    }


def _feature_map(passed):
    """The last (1, height, width, channels) in front of a last pooling, or None.

    As in the paper, which takes the last convolution: a pooling behind it would halve
    the map's sides. None where an attention comes after: its tokens know more.
    """
    maps = [
        at
        for at, made in enumerate(passed)
        if len(made.output.shape) == 4 and min(made.output.shape[1:3]) > 1
    ]
    if not maps or any(map(_attends, passed[maps[-1] :])):
        return None
    last = [at for at in maps if isinstance(passed[at].layer, CONVOLUTIONS)]
    chosen = maps[-1]
    if last:
        for at in maps[maps.index(last[-1]) :]:
            if isinstance(passed[at].layer, POOLINGS):
                break
            chosen = at
    return passed[chosen]


def _attends(made):
    return "Attention" in type(made.layer).__name__


def _patch_tokens(passed):
    """The last tokens that an attention had a part in, if they fill a square; or None.

    One token more than a square is that of the class, which stands first.
    """
    attended = [at for at, made in enumerate(passed) if _attends(made)]
    for made in reversed(passed[attended[-1] :] if attended else []):
        if len(made.output.shape) != 3:
            continue
        steps = made.output.shape[1]
        side = int(steps**0.5)
        # What comes behind the backbone, a Dense a token, has a shape as good.
        if side > 1 and steps - side * side in (0, 1):
            return made
    return None


def audio(probe, decoder, columns):
    """Gradient times input on the spectral features, time before frequency.

    The input is taken from the mean of the clip, since branches standardise a clip and
    its level moves nothing. Cepstra are looked into at the spectrogram they are of.

    Returns:
        {"kind", "features": name of the layer's class, "seconds": (frames,), "hz":
        (bands,) centres, or None where bands have only numbers, "spectrogram",
        "saliency": (frames, bands) float32, above zero where it speaks for the answer,
        "wave": (samples,) float32 in [-1, 1], "rate_hz"}; real frames only.
    """
    name = decoder.name
    samples = int(probe.given[f"{name}_samples"][0])
    wave = probe.given[name][0].numpy()[:samples]
    found = {"kind": "audio", "wave": wave, "rate_hz": decoder.rate_hz}
    passed = probe.passed(name)
    # An extra's layer is known by its name: importing it would import the extra.
    made = next(
        (
            made
            for made in passed
            if isinstance(made.layer, FRONT_ENDS)
            or type(made.layer).__name__ == "WhisperMel"
        ),
        None,
    )
    if made is None:
        return {**found, "left_out": "the branch has no layer of spectral features"}
    hop = getattr(made.layer, "hop_samples", decoder.rate_hz // 100)
    frames = min(made.output.shape[1], -(-samples // hop))
    values = np.asarray(made.output[0, :frames], "float32")
    gradient = np.asarray(probe.gradient(name, made)[0, :frames], "float32")
    return {
        **found,
        "features": type(made.layer).__name__,
        "seconds": np.arange(frames) * hop / decoder.rate_hz,
        "hz": _centres(made.layer, values.shape[1]),
        "spectrogram": values,
        "saliency": gradient * (values - values.mean()),
    }


def _centres(layer, bands):
    """Where the bands peak, (bands,) Hz, or None."""
    if isinstance(layer, layers.GaborFilters):
        return np.asarray(layer.centre) * layer.rate_hz / (2 * np.pi)
    spectrum = getattr(layer, "spectrum", layer)
    if isinstance(spectrum, layers.LogMel):
        return layers.mel_edges(spectrum.rate_hz, bands)[1:-1]
    return None


def tabular(probe, decoder, columns):
    """Integrated gradients of each column, from medians and word vectors of zeros.

    Returns:
        {"kind", "columns": [{"column", "cell", "attribution"}], and as `text`}; a
        number that is the median adds nothing, and an empty cell neither.
    """
    name = decoder.name
    ends = [tf.convert_to_tensor(probe.given[name])]
    embedded = [
        made
        for made in probe.passed(name, f"{name}_ids")
        if isinstance(made.layer, keras.layers.Embedding)
    ][:1]
    ends += [tf.convert_to_tensor(made.output) for made in embedded]

    def value(way, rows):
        replaced = list(zip(embedded, way[1:], strict=True))
        return probe.value({name: way[0]}, rows=rows, live=name, replaced=replaced)

    found, told = gradients.integrated(value, list(map(tf.zeros_like, ends)), ends)
    each = [*found[0], *(found[1].sum(axis=-1) if embedded else ())]
    seen = probe.given[f"{name}_seen"][0].numpy()
    listed = [
        {
            "column": column,
            "cell": columns[column][0].decode("utf-8", "replace"),
            "attribution": float(each[at]) if seen[at] else 0.0,
        }
        for at, column in enumerate(decoder.signatures)
    ]
    return {"kind": "tabular", "columns": listed, **told}


PARTS = {"text": text, "image": image, "audio": audio, "tabular": tabular}
