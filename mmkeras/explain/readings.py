"""What a fusion reads, on the page: who reads whom, where, and a map of all tokens."""

import html
import io

import numpy as np
import tensorflow as tf

from mmkeras import templates
from mmkeras.plots import attended, explained

MOST_READ = 5
NOTES = {
    "weighted": "Learned weights of the modalities in the sum, the same for every row.",
    "gated": "The gates of this row: what each modality counts in the sum.",
    "attention": "Weights of attention, mean over the heads: how much of what the "
    "fusion\u2019s own queries hear comes from each modality.",
    "cross_attention": "Weights of attention, mean over the heads: how much of what "
    "the tokens of a modality (a line) hear comes from each of the others.",
    "bottleneck": "Weights of attention, mean over the heads: how much of what the "
    "tokens of a modality, or the shared latents, hear comes from where.",
}
CAUTION = (
    " They tell what is read, not what the answer hangs on: that is what the Shapley "
    "values above tell. Of a missing input its learned token is read."
)


def section(fusions, parts, figure):
    """HTML of what each model's fusion reads, "" where none has weights.

    Args:
        fusions: "fusion" of an `explain.Explanation`.
        parts: its "parts", for the pictures.
        figure: function ((height, width, 3) pixels, caption) -> HTML.
    """
    if not fusions:
        return ""
    return "<h2>What the fusion reads</h2>\n" + "\n".join(
        _model(one, parts, figure) for one in fusions
    )


def _model(one, parts, figure):
    told = one["readings"]
    name = f"<h3>{html.escape(one['model'])}</h3>\n" if one["model"] else ""
    note = NOTES[one["kind"]] + CAUTION
    maps = [each for each in told if "scores" in each]
    pictures = "".join(
        _looked_at(each, name, part["pixels"], figure)
        for each in maps
        for name, part in parts.items()
        if part["kind"] == "image"
    )
    pictures = f'<div class="pictures small">{pictures}</div>\n' * bool(pictures)
    return (
        f'{name}<p class="note">{note}</p>\n{_table(one["read"], told)}'
        f"{''.join(map(_most_read, maps))}{pictures}{_map(maps)}"
    )


def _table(names, told):
    """A line each who reads, a column each who is read; the darker, the more."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *names])
    lines = ""
    for one in told:
        cells = "".join(_cell(one["inputs"].get(name)) for name in names)
        lines += f"<tr><th>{_who(one, told)}</th>{cells}</tr>\n"
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{lines}</table></div>\n'


def _cell(share):
    if share is None:
        return "<td></td>"
    shade = f"rgb(var(--for) / {0.6 * share:.2f})"
    return f'<td style="background:{shade}">{100 * share:.1f} %</td>'


def _who(one, told):
    turn = f", round {one['round']}" if told[-1]["round"] > 1 else ""
    return html.escape(one["who"] + turn)


def _most_read(one):
    ranked = sorted(one["tokens"], key=lambda token: -token["weight"])[:MOST_READ]
    listed = ", ".join(
        f"{token['input']} \u201c{token['token']}\u201d {100 * token['weight']:.1f} %"
        for token in ranked
    )
    return f'<p class="note">{_who(one, [one])} reads most: {html.escape(listed)}</p>\n'


def _looked_at(one, name, pixels, figure):
    """The picture with blue where it is read, "" where its tokens are no square."""
    weights = [
        token["weight"]
        for token in one["tokens"]
        if token["input"] == name and "," in token["token"]
    ]
    side = int(len(weights) ** 0.5)
    if not side:
        return ""
    grid = np.reshape(weights, (side, side, 1))
    fine = tf.image.resize(grid, pixels.shape[:2], "nearest")[..., 0].numpy()
    tinted = explained.tinted(pixels, fine / max(float(fine.max()), 1e-30))
    return figure(tinted, f"{name} as {_plain(one)} reads it: the bluer, the more")


def _plain(one):
    return f"{one['who']} (round {one['round']})" if one["round"] > 1 else one["who"]


def _map(maps):
    if not maps:
        return ""
    drawn = io.BytesIO()
    attended.readings(drawn, maps)
    source = templates.embedded("image/png", drawn.getvalue())
    alt = "each token that asks against each that is asked"
    return f'<img class="figure" alt="{alt}" src="{source}">\n'
