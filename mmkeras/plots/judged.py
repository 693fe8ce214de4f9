"""Figures of a judged run: calibration, what modalities are worth, robustness."""

import io
import math

import numpy as np
from matplotlib import image
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmkeras.plots import BLUE, GREY, ORANGE, save

COLORS = (BLUE, ORANGE, "#3d8f5f", "#8a4fa3", "#b8860b", "#c0392b")


def reliability(path, before, after=None):
    """Share told right against the probability told, before and after calibration.

    On the diagonal probabilities are what they say. A point's area is its share of the
    rows.

    Args:
        path: of the PNG.
        before: as `scores.calibration.reliability` gives.
        after: the same, calibrated; None where that changed nothing.
    """
    drawn = {"before": before} if after is None else {"before": before, "after": after}
    figure = Figure(figsize=(4.2 * len(drawn), 3.9))
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axis, (when, bins) in zip(axes, drawn.items(), strict=True):
        rows = sum(one["rows"] for one in bins)
        axis.plot((0, 1), (0, 1), color=GREY, linewidth=1)
        told, right = ([one[key] for one in bins] for key in ("confidence", "right"))
        color = BLUE if when == "after" else ORANGE
        # Faint: between bins of a row or two it swings from one end to the other.
        axis.plot(told, right, color=color, linewidth=1, alpha=0.25)
        sizes = [8 + 300 * one["rows"] / rows for one in bins]
        inside = (*to_rgb(color), 0.5)
        axis.scatter(told, right, s=sizes, facecolors=[inside], edgecolors=color)
        axis.set(xlabel="probability told", xlim=(-0.03, 1.06), ylim=(-0.03, 1.06))
        axis.set_title(f"{when} calibration" if after else "as told", fontsize=10)
        axis.set_aspect("equal")
    axes[0].set_ylabel("share told right")
    save(figure, path)


def drops(path, gain, label, share=True):
    """By how much the score falls where a modality is left out or shuffled.

    Args:
        path: of the PNG.
        gain: as `evaluate.gains` gives; drops that are None are left away.
        label: of the axis.
        share: whether the score is a share in [0, 1], drawn in points.
    """
    unit = 100 if share else 1
    kinds = [kind for kind in ("left_out", "shuffled") if gain.get(kind)]
    names = list(gain[kinds[0]])
    figure = Figure(figsize=(6.4, 0.9 + 0.62 * len(names)))
    axis = figure.subplots()
    for place, kind in enumerate(kinds):
        for at, name in enumerate(names):
            drop, ends = gain[kind][name]["drop"], gain[kind][name]["interval"]
            if drop is None:
                continue
            y = at + (place - 0.5) * 0.36
            told = kind.replace("_", " ") if at == 0 else None
            color = (BLUE, ORANGE)[place]
            axis.barh(y, unit * drop, 0.34, color=color, label=told)
            if ends:
                low, high = unit * ends[0], unit * ends[1]
                axis.plot((low, high), (y, y), color="#1c2733", linewidth=1.2)
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlabel=f"{label}, points" if share else label)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def robustness(path, curves, label, share=True):
    """A score against the strength of what is done to the rows, an axis a disturbance.

    Args:
        path: of the PNG.
        curves: {disturbance: {"unit", "inputs": {input: [{"strength", "score",
            "interval"}]}}}.
        label: of the score.
        share: whether it is a share in [0, 1], drawn in per cent.
    """
    unit = 100 if share else 1
    columns = min(len(curves), 3)
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(4.3 * columns, 3.3 * lines))
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    for axis in axes[len(curves) :]:
        axis.remove()
    for axis, (what, curve) in zip(axes, curves.items(), strict=False):
        for number, (name, points) in enumerate(curve["inputs"].items()):
            color, places = COLORS[number % len(COLORS)], range(len(points))
            scores = [
                math.nan if point["score"] is None else unit * point["score"]
                for point in points
            ]
            ends = [point["interval"] or [math.nan] * 2 for point in points]
            axis.plot(places, scores, "o-", ms=4, color=color, label=name)
            low, high = unit * np.array(ends).T
            axis.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
            axis.set_xticks(places, [point["strength"] for point in points], fontsize=8)
        axis.set_title(what, fontsize=10)
        axis.set_xlabel(curve["unit"])
        axis.legend(frameon=False, fontsize=8)
    for axis in axes[::columns][:lines]:
        axis.set_ylabel(f"{label}, %" if share else label)
    save(figure, path)


def spectrogram(wave, rate_hz):
    """A sound as a picture: time to the right, frequency upwards; bytes of a JPEG.

    Args:
        wave: (samples,) in [-1, 1].
        rate_hz: samples a second.
    """
    figure = Figure(figsize=(3.2, 1.3))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    window = max(16, min(512, len(wave) // 8))
    axis.specgram(
        # Silence has no logarithm: one bit of noise has.
        wave + np.random.default_rng(0).normal(scale=2**-15, size=len(wave)),
        NFFT=window,
        Fs=rate_hz,
        noverlap=window // 2,
        cmap="magma",
    )
    drawn = io.BytesIO()
    # Noise, which sounds have, makes a PNG ten times as large.
    figure.savefig(drawn, dpi=100, format="jpeg", pil_kwargs={"quality": 80})
    return drawn.getvalue()


def picture(pixels):
    """(height, width, 3) in [0, 1] -> bytes of a PNG."""
    drawn = io.BytesIO()
    image.imsave(drawn, pixels.clip(0, 1), format="png")
    return drawn.getvalue()
