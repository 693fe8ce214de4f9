"""Figures of one explained answer: blue speaks for it, orange against it."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from mmkeras.plots import BLUE, GREY, ORANGE, save

SIGNS = LinearSegmentedColormap.from_list("signs", [ORANGE, "#ffffff", BLUE])
SHOWN = 12  # bars of words or columns, the largest
TICKS = 5


def tinted(pixels, strength):
    """A picture in grey with blue where it speaks for the answer.

    Args:
        pixels: (height, width, 3) in [0, 1].
        strength: (height, width) in [0, 1].

    Returns:
        (height, width, 3) in [0, 1].
    """
    grey = pixels.mean(axis=-1, keepdims=True)
    share = 0.8 * strength[..., None]
    return grey * (1 - share) + share * to_rgb(BLUE)


def sound(path, part):
    """Waveform, spectral features and saliency over one time axis, in seconds.

    Args:
        path: of the PNG, or a file.
        part: as `explain.parts.audio` gives; without its "saliency" the wave alone.
    """
    whole = "saliency" in part
    rows = 3 if whole else 1
    figure = Figure(figsize=(6.4, 1.2 + 2.1 * (rows - 1)))
    ratios = [1, 2, 2][:rows]
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
    wave, rate_hz = part["wave"], part["rate_hz"]
    axis = axes[0, 0]
    axis.plot([at / rate_hz for at in range(len(wave))], wave, color=GREY, lw=0.6)
    peak = max(float(abs(wave).max(initial=0)), 1e-3)  # of full scale
    axis.set(ylabel="sound", ylim=(-1.05 * peak, 1.05 * peak))
    axis.set_yticks([-peak, 0, peak], [f"{at:.2g}" for at in (-peak, 0, peak)])
    if whole:
        _bands(axes[1, 0], part, part["spectrogram"], "magma")
        axes[1, 0].set_title(part["features"], fontsize=9, loc="left")
        _saliency(axes[2, 0], part)
    axes[-1, 0].set(xlabel="seconds", xlim=(0, max(len(wave), 1) / rate_hz))
    save(figure, path)


def side_by_side(path, what, shares, parts, fusions=()):
    """What each modality adds, what the fusion reads, and what speaks for the answer.

    Words are left out where the font lacks their characters; the page shows them.

    Args:
        path: of the PNG.
        what: the number that is explained, in words.
        shares: {input: Shapley value}.
        parts: {input: as `explain.parts` gives}.
        fusions: as "fusion" of an `explain.Explanation`.
    """
    drawn = {name: _draw_of(part) for name, part in parts.items()}
    drawn = {name: draw for name, draw in drawn.items() if draw}
    columns = 1 + len(fusions) + len(drawn)
    figure = Figure(figsize=(3.9 * columns, 3.6))
    axes = figure.subplots(1, columns, squeeze=False)[0]
    _bars(axes[0], list(shares), list(shares.values()))
    axes[0].set_title(shown(what, "the modalities"), fontsize=10)
    for axis, each in zip(axes[1:], fusions, strict=False):
        _shares(axis, each["read"], each["readings"])
        axis.set_title(shown(f"{each['model']} fusion".strip(), "fusion"), fontsize=10)
    for axis, (name, draw) in zip(
        axes[columns - len(drawn) :], drawn.items(), strict=True
    ):
        draw(axis, parts[name])
        axis.set_title(shown(name, "input"), fontsize=10)
    save(figure, path)


def has_glyphs(text):
    """Whether the font of the figures has all characters of a text.

    >>> has_glyphs("seven"), has_glyphs("七")
    (True, False)
    """
    font = get_font(findfont(FontProperties()))
    return all(font.get_char_index(ord(character)) for character in text)


def _draw_of(part):
    """The function that draws a part on an axis, None where there is nothing to see."""
    if "left_out" in part:
        return None
    if part["kind"] == "text":
        words = [token["token"] for token in part["tokens"]]
        return _words if words and all(map(has_glyphs, words)) else None
    return {"image": _picture, "audio": _sound, "tabular": _columns}[part["kind"]]


def shown(text, instead):
    """A text as a figure takes it; `instead`, where its font lacks a character."""
    # A dollar would begin a formula.
    return text.replace("$", r"\$") if has_glyphs(text) else instead


def _shares(axis, names, told):
    """Who reads whom, as a table; see `explain.attention.of_fusion`."""
    rounds = len({one["round"] for one in told}) > 1
    cells = np.array(
        [[one["inputs"].get(name, np.nan) for name in names] for one in told]
    )
    axis.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(~np.isnan(cells)):
        share = cells[row, column]
        color = "white" if share > 0.5 else "black"
        text = f"{100 * share:.0f} %"
        axis.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(len(names)), [shown(name, "?") for name in names], fontsize=8)
    who = [shown(one["who"], "?") + f", {one['round']}" * rounds for one in told]
    axis.set_yticks(range(len(told)), who, fontsize=8)


def _words(axis, part):
    _largest(axis, [(each["token"], each["attribution"]) for each in part["tokens"]])


def _columns(axis, part):
    _largest(axis, [(each["column"], each["attribution"]) for each in part["columns"]])


def _largest(axis, pairs):
    """Bars of the largest, in their order."""
    ranked = sorted(pairs, key=lambda pair: -abs(pair[1]))[:SHOWN]
    kept = [pair for pair in pairs if pair in ranked][:SHOWN]
    _bars(axis, [name for name, _ in kept], [number for _, number in kept])


def _bars(axis, names, numbers):
    places = range(len(names))
    colors = [BLUE if number >= 0 else ORANGE for number in numbers]
    bars = axis.barh(places, numbers, color=colors)
    # Room for the labels, which stand outside of the bars.
    least, most = min([*numbers, 0]), max([*numbers, 0])
    room = 0.35 * ((most - least) or 1)
    axis.set_xlim(least - room * (least < 0), most + room)
    axis.set_yticks(places, [shown(name, "?") for name in names])
    axis.bar_label(bars, fmt="%+.2g", padding=3, fontsize=8)
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.invert_yaxis()
    axis.tick_params(axis="x", labelsize=8)
    axis.locator_params(axis="x", nbins=4)


def _picture(axis, part):
    axis.imshow(tinted(part["pixels"], part["map"]))
    axis.set_axis_off()


def _sound(axis, part):
    _saliency(axis, part)
    axis.set(xlabel="seconds")


def _saliency(axis, part):
    most = max(float(abs(part["saliency"]).max()), 1e-30)
    _bands(axis, part, part["saliency"], SIGNS, vmin=-most, vmax=most)


def _bands(axis, part, values, cmap, **limits):
    """(frames, bands) as a picture: time to the right, frequency upwards."""
    seconds, hz = part["seconds"], part["hz"]
    frames, bands = values.shape
    step = float(seconds[1] - seconds[0]) if frames > 1 else 1.0
    extent = (-step / 2, (frames - 0.5) * step, -0.5, bands - 0.5)
    options = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    axis.imshow(values.T, extent=extent, cmap=cmap, **options, **limits)
    chosen = [round(at * (bands - 1) / (TICKS - 1)) for at in range(TICKS)]
    names = [f"{hz[at]:,.0f}" if hz is not None else f"{at}" for at in chosen]
    axis.set_yticks(chosen, names)
    axis.set(ylabel="Hz" if hz is not None else "band")
