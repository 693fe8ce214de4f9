"""Trials of a search as lines across parallel axes."""

import math

from matplotlib.figure import Figure

from mmkeras.plots import BLUE, GREY, ORANGE

# Ends of a range so many times apart are drawn on a log scale.
APART = 10


def trials(path, keys, tried, scores, name="score"):
    """Parallel coordinates: an axis a key, the last the score; a line a trial.

    The better a trial, the darker its line; the best, of equal ones the first, is drawn
    in orange.

    Args:
        path: of the PNG.
        keys: names of the axes.
        tried: a list of lists of a value a key, numbers or str.
        scores: a number a trial, higher is better.
        name: of the last axis.
    """
    columns = [*zip(*tried, strict=True), scores]
    figure = Figure(figsize=(1.6 + 1.9 * len(columns), 4.4))
    axis = figure.subplots()
    heights = [_column(axis, x, values) for x, values in enumerate(columns)]
    order = sorted(range(len(scores)), key=lambda number: (scores[number], -number))
    for rank, number in enumerate(order):
        line = [column[number] for column in heights]
        best = rank == len(order) - 1
        axis.plot(
            range(len(line)),
            line,
            color=ORANGE if best else BLUE,
            linewidth=2.4 if best else 1.2,
            alpha=1.0 if best else 0.15 + 0.6 * rank / len(order),
        )
    axis.set(xlim=(-0.3, len(columns) - 0.4), ylim=(-0.04, 1.04), yticks=[])
    axis.set_xticks(range(len(columns)), [*keys, name], fontsize=9)
    axis.tick_params(axis="x", length=0)
    axis.spines[:].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _column(axis, x, values):
    """Draws one axis; the height of each value on it, in [0, 1]."""
    axis.axvline(x, color=GREY, linewidth=1, zorder=0)
    if any(isinstance(value, str) for value in values):
        names = list(dict.fromkeys(values))
        heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        marks = heights
    else:
        low, high = min(values), max(values)
        scale = math.log if low > 0 and high / low >= APART else float
        wide = scale(high) - scale(low)
        heights = {v: (scale(v) - scale(low)) / wide if wide else 0.5 for v in values}
        marks = {f"{value:.4g}": heights[value] for value in {low, high}}
    for text, height in marks.items():
        axis.annotate(
            text,
            (x, height),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
        )
    return [heights[value] for value in values]
