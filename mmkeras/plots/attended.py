"""Figures of what a fusion reads: the darker, the more."""

from matplotlib.figure import Figure

from mmkeras.plots import GREY, save
from mmkeras.plots.explained import shown

MOST_LABELS = 24  # of the tokens of an input; more are thinned out
FEW_LABELS = 6


def readings(path, told):
    """A map a reading: a row each token that asks, a column each that is asked.

    Args:
        path: of the PNG, or a file.
        told: as "readings" of `explain.attention.of_fusion`, those with "scores".
    """
    heights = [min(2.6, max(0.5, 0.16 * len(one["asking"]))) for one in told]
    figure = Figure(figsize=(7.2, 0.4 + sum(heights) + 1.15 * len(told)))
    axes = figure.subplots(len(told), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, one in zip(axes, told, strict=True):
        _reading(axis, one, len({each["round"] for each in told}) > 1)
    save(figure, path)


def _reading(axis, one, rounds):
    scores = one["scores"]
    axis.imshow(scores, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axis.set_yticks(*_labels([one["asking"]]))
    names = list(dict.fromkeys(token["input"] for token in one["tokens"]))
    groups = [
        [token["token"] for token in one["tokens"] if token["input"] == name]
        for name in names
    ]
    axis.set_xticks(*_labels(groups), rotation=90)
    axis.tick_params(labelsize=7)
    start = 0
    for name, group in zip(names, groups, strict=True):
        if start:
            axis.axvline(start - 0.5, color=GREY, linewidth=1)
        share = f"{shown(name, '?')} {100 * one['inputs'][name]:.0f} %"
        middle = start + len(group) / 2 - 0.5
        axis.text(middle, -0.6, share, ha="center", va="bottom", fontsize=8)
        start += len(group)
    who = shown(one["who"], "?") + f", round {one['round']}" * rounds
    axis.set_ylabel(who, fontsize=9)


def _labels(groups):
    """(places, texts) of the ticks over groups of tokens, one behind the other."""
    places, texts, start = [], [], 0
    for group in groups:
        step = 1 if len(group) <= MOST_LABELS else -(-len(group) // FEW_LABELS)
        for at in range(0, len(group), step):
            places.append(start + at)
            texts.append(shown(group[at], "?"))
        start += len(group)
    return places, texts
