"""Within a modality: which words, pixels, sounds and columns speak for the answer.

Each function takes (probe, decoder) and gives a dict of numbers and arrays with the key
"kind"; where there is no way to tell it has "left_out", the reason. `columns`, the
row's own strings, go to those that show them. Of an ensemble, integrated gradients are
those of its mean, along the ways of all its models at once; maps are the mean of the
models' maps.
"""

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.branches.vectors import WordVectors
from mmkeras.explain import gradients, places

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
    embedded = [_word_vectors(one, name) for one in probe.models]
    if None in embedded:
        return {
            **known,
            "left_out": "the branch has no layer of word vectors that can be looked "
            "into; an encoder of TF Hub is closed",
        }
    ids = probe.given[name][0].numpy()
    real = ids != (decoder.special_ids or (0,))[0]
    ends = [tf.convert_to_tensor(made.output) for made in embedded]
    # Padding stays what it is, so that it has no part in the difference.
    starts = [tf.where(real[None, :, None], tf.zeros_like(end), end) for end in ends]
    found, told = gradients.integrated(
        lambda way, rows: probe.value(
            rows=rows, live=name, replaced=list(zip(embedded, way, strict=True))
        ),
        starts,
        ends,
    )
    each = sum(part.sum(axis=-1) for part in found)
    pieces = zip(places.pieces(decoder, ids[real]), each[real].tolist(), strict=True)
    tokens = [{"token": piece, "attribution": number} for piece, number in pieces]
    return {**known, "tokens": tokens, **told}


def _word_vectors(one, name):
    """What the layer of word vectors makes of a text, a `Made`, or None."""
    return next(
        (
            made
            for made in one.passed(name)
            if isinstance(made.layer, keras.layers.Embedding | WordVectors)
            and made.output.shape[:2] == one.given[name].shape
        ),
        None,
    )


def image(probe, decoder, columns):
    """Grad-CAM on the last feature map, or gradient times token on a grid of patches.

    Returns:
        {"kind", "looked_at": a list, for each model {"method": `grad_cam` or
        `gradient_x_tokens`, "layer": its name, "grid": [height, width]}, "map": (size,
        size) float32 in [0, 1], 1 where it is largest, "pixels": (size, size, 3)
        float32 in [0, 1]}.
    """
    name = decoder.name
    pixels = probe.given[name][0].numpy()
    found = {"kind": "image", "pixels": pixels}
    maps, looked_at = [], []
    for one in probe.models:
        told = _coarse(probe, one, name)
        if told is None:
            why = "the branch has no feature map and no square grid"
            return {**found, "left_out": why}
        coarse, how = told
        fine = tf.image.resize(coarse[..., None], pixels.shape[:2])[..., 0].numpy()
        maps.append(_scaled(fine))
        looked_at.append(how)
    return {**found, "looked_at": looked_at, "map": _scaled(np.mean(maps, axis=0))}


def _scaled(values):
    return values / max(float(values.max()), 1e-30)


def _coarse(probe, one, name):
    """(what each place of a grid speaks for the answer, how it was found), or None."""
    passed = one.passed(name)
    if made := _feature_map(passed):
        gradient = probe.gradient(one, name, made)
        coarse = gradients.grad_cam(made.output[0], gradient[0])
        method = "grad_cam"
    elif made := _patch_tokens(passed):
        gradient = probe.gradient(one, name, made)
        each = gradients.grad_times_tokens(made.output[0], gradient[0])
        side = int(len(each) ** 0.5)
        coarse = each[len(each) - side * side :].reshape(side, side)
        method = "gradient_x_tokens"
    else:
        return None
    how = {"method": method, "layer": made.layer.name, "grid": list(coarse.shape)}
    return coarse, how


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
    heard = [_heard(probe, one, name, samples, decoder.rate_hz) for one in probe.models]
    if None in heard:
        why = "the branch has no layer of spectral features"
        return {**found, "left_out": why}
    first = heard[0]
    if not all(_same_bands(first, other) for other in heard):
        why = (
            "the models of the ensemble hear other bands or frames; explain one of them"
        )
        return {**found, "left_out": why}
    both = {
        key: np.mean([each[key] for each in heard], axis=0)
        for key in ("spectrogram", "saliency")
    }
    return {**found, **first, **both}


def _heard(probe, one, name, samples, rate_hz):
    """What `audio` tells of one model's spectral features, or None."""
    made = places.front_end(one.passed(name))
    if made is None:
        return None
    hop = places.hop_samples(made.layer, rate_hz)
    frames = min(made.output.shape[1], -(-samples // hop))
    values = np.asarray(made.output[0, :frames], "float32")
    gradient = np.asarray(probe.gradient(one, name, made)[0, :frames], "float32")
    return {
        "features": type(made.layer).__name__,
        "seconds": np.arange(frames) * hop / rate_hz,
        "hz": _centres(made.layer, values.shape[1]),
        "spectrogram": values,
        "saliency": gradient * (values - values.mean()),
    }


def _same_bands(one, other):
    """Whether two models' spectrograms have the same axes."""
    if one["features"] != other["features"]:
        return False
    if one["spectrogram"].shape != other["spectrogram"].shape:
        return False
    return one["hz"] is None or np.allclose(one["hz"], other["hz"])


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
    embedded = [made for one in probe.models for made in _categories(one, name)]
    ends += [tf.convert_to_tensor(made.output) for made in embedded]

    def value(way, rows):
        replaced = list(zip(embedded, way[1:], strict=True))
        return probe.value({name: way[0]}, rows=rows, live=name, replaced=replaced)

    found, told = gradients.integrated(value, list(map(tf.zeros_like, ends)), ends)
    words = [part.sum(axis=-1) for part in found[1:]]
    each = [*found[0], *(sum(words) if words else ())]
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


def _categories(one, name):
    """What the layer of word vectors makes of a table's words: a `Made`, or nothing."""
    return [
        made
        for made in one.passed(name, f"{name}_ids")
        if isinstance(made.layer, keras.layers.Embedding)
    ][:1]


PARTS = {"text": text, "image": image, "audio": audio, "tabular": tabular}
