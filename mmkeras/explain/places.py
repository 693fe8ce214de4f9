"""What the tokens of a corridor stand for: words, places of a picture, times, columns.

Each function of `PLACES` takes (opened network, decoder, steps) and gives a label a
token, without the one that stands for a missing input. A token has seen more than it
stands for: a recurrent layer's all words before it, a convolution's its neighbours.
"""

import math

from mmkeras import layers

FRONT_ENDS = (layers.LogMel, layers.PCEN, layers.GaborFilters)


def pieces(decoder, ids):
    """The text of each id; "#7" where only numbers are known."""
    if hasattr(decoder, "vocabulary"):
        vocabulary = decoder.vocabulary
        return [vocabulary[number] for number in ids]
    if hasattr(decoder, "tokenizer"):
        return [str(decoder.tokenizer.id_to_token(int(number))) for number in ids]
    return [f"#{number}" for number in ids]


def front_end(passed):
    """The `Made` of the spectral features among what a branch makes, or None."""
    # An extra's layer is known by its name: importing it would import the extra.
    return next(
        (
            made
            for made in passed
            if isinstance(made.layer, FRONT_ENDS)
            or type(made.layer).__name__ == "WhisperMel"
        ),
        None,
    )


def hop_samples(layer, rate_hz):
    """From one frame of a layer of spectral features to the next, samples."""
    return getattr(layer, "hop_samples", rate_hz // 100)


def _text(one, decoder, steps):
    """The words or pieces; padding has a label too."""
    ids = one.given[decoder.name][0].numpy()
    return pieces(decoder, ids) if len(ids) == steps else _numbered(steps)


def _image(one, decoder, steps):
    """Row and column of a place, from the top left; see `parts._patch_tokens`."""
    side = math.isqrt(steps)
    if steps == 1:
        return ["all of it"]
    if steps - side * side not in (0, 1):
        return _numbered(steps)
    grid = [
        f"{row},{column}" for row in range(1, side + 1) for column in range(1, side + 1)
    ]
    return ["class"] * (steps - side * side) + grid


def _audio(one, decoder, steps):
    """Seconds at which a token's frames begin."""
    made = front_end(one.passed(decoder.name))
    frames = made.output.shape[1] if made else 0
    # Convolutions halve, and round up.
    for stride in (1, 2, 4, 8, 16, 32, 64):
        if -(-frames // stride) == steps:
            hop = stride * hop_samples(made.layer, decoder.rate_hz)
            return [f"{at * hop / decoder.rate_hz:.2f} s" for at in range(steps)]
    return _numbered(steps)


def _tabular(one, decoder, steps):
    """Names of the columns."""
    names = list(decoder.signatures)
    return names if len(names) == steps else _numbered(steps)


def _numbered(steps):
    return [f"#{at}" for at in range(1, steps + 1)]


PLACES = {"text": _text, "image": _image, "audio": _audio, "tabular": _tabular}
