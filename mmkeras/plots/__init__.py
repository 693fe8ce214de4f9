"""Numbers in, figures out; the only room that imports matplotlib.

Figures are made without pyplot: nothing here changes the backend of a notebook.
"""

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from mmkeras.plots import fonts

BLUE, ORANGE, GREY = "#2563a8", "#d9741a", "#8a94a0"
INK, FROZEN = "#1c2733", ("#e9ecef", "#c3cad1")
# The columns of a model's diagram, and what fills their boxes.
COLUMNS = {
    "input": "#ffffff",
    "backbone": "#dfeaf6",
    "branch": "#dfeaf6",
    "fusion": "#fbe6d3",
    "head": "#dfeaf6",
}
TRAINING = "heads for training only"
# Of that diagram, in points.
LINE, BOX, ROW, GAP, MARGIN = 14, 54, 70, 30, 14
UNITS = {"text": "ids", "audio": "samples"}


def curves(path, history):
    """Loss and accuracy of each epoch, train and validation.

    Args:
        path: of the PNG.
        history: {name: list of floats}, as Keras gives it; `epoch` is ignored.
    """
    names = [name for name in history if f"val_{name}" in history] or [
        name for name in history if name != "epoch"
    ]
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * lines))
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis in axes[len(names) :]:
        axis.remove()
    for axis, name in zip(axes, names, strict=False):
        epochs = range(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], color=GREY, label="train")
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], color=BLUE, label="validation")
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)
    save(figure, path)


def confusion(path, matrix, labels):
    """Confusion matrix: a row a true class, a column a predicted one.

    Args:
        path: of the PNG.
        matrix: rows of class i called j, nested lists.
        labels: names of the classes.
    """
    side = min(12, 2.2 + 0.42 * len(labels))
    figure = Figure(figsize=(side, side))
    axis = figure.subplots()
    totals = [max(1, sum(row)) for row in matrix]
    shares = [
        [cell / total for cell in row]
        for row, total in zip(matrix, totals, strict=True)
    ]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 24:
        for i, row in enumerate(matrix):
            for j, cell in enumerate(row):
                color = "white" if shares[i][j] > 0.5 else "black"
                if cell:
                    axis.text(j, i, cell, ha="center", va="center", color=color)
        turn = 90 if max(len(label) for label in labels) > 3 else 0
        axis.set_xticks(range(len(labels)), labels, rotation=turn)
        axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="predicted", ylabel="true")
    axis.spines[:].set_visible(False)
    save(figure, path)


def baselines(path, scores, label="test accuracy", share=True):
    """A score of each modality alone, of late fusion and of the fusion, as bars.

    Args:
        path: of the PNG.
        scores: {name: score}, drawn from top to bottom; the last is the model itself.
        label: of the axis.
        share: whether the scores are shares in [0, 1], drawn in per cent.
    """
    names = list(scores)
    figure = Figure(figsize=(6.4, 0.8 + 0.42 * len(names)))
    axis = figure.subplots()
    colors = [GREY] * (len(names) - 1) + [ORANGE]
    values = [scores[name] * (100 if share else 1) for name in names]
    bars = axis.barh([name.replace("_", " ") for name in names], values, color=colors)
    axis.bar_label(bars, fmt="%.1f" if share else "%.3f", padding=3)
    axis.invert_yaxis()
    if share:
        axis.set(xlim=(0, 110), xlabel=f"{label}, %")
        axis.set_xticks(range(0, 101, 20))
    else:
        axis.set(xlabel=label)
        axis.margins(x=0.15)
    save(figure, path)


def numbers(path, points, name):
    """True numbers against those told, a point a row, and the line of no error.

    Args:
        path: of the PNG.
        points: a list of [true, told].
        name: of the target.
    """
    figure = Figure(figsize=(4.6, 4.4))
    axis = figure.subplots()
    true, told = zip(*points, strict=True)
    ends = min(true), max(true)
    axis.plot(ends, ends, color=GREY, linewidth=1)
    axis.scatter(true, told, s=14, color=BLUE, alpha=0.5, linewidths=0)
    axis.set(xlabel=f"{name}, true", ylabel=f"{name}, told")
    save(figure, path)


def roc(path, curve):
    """Receiver operating characteristic; where it is crossed, both errors are equal.

    Args:
        path: of the PNG.
        curve: a list of [false acceptance, true acceptance], in [0, 1].
    """
    figure = Figure(figsize=(4.6, 4.4))
    axis = figure.subplots()
    false, true = zip(*curve, strict=True)
    axis.plot((0, 1), (1, 0), color=GREY, linewidth=1)
    axis.plot(false, true, color=BLUE, linewidth=2)
    axis.set(
        xlabel="different pairs accepted", ylabel="same pairs accepted", aspect="equal"
    )
    save(figure, path)


def model(path, outline):
    """The network at a glance: a row an input, then the fusion, a row a target.

    What is frozen is hatched, a part of a box where a part of its parameters is. What
    only training uses is dashed. The same outline gives the same file.

    Args:
        path: of the SVG; its text is text.
        outline: as `mmkeras.model.outline` gives.
    """
    columns = {name: [] for name in COLUMNS}
    for part in outline:
        columns.setdefault(part["part"], []).append(part)
    extra = columns.pop(TRAINING, [])
    rows = max(len(columns["input"]), len(columns["head"]))
    places, width = _places(columns, rows)
    width = max(width, 2 * MARGIN + _width(_total(outline)))
    height = 2 * MARGIN + LINE * 2 + ROW * (rows + len(extra))
    figure = Figure(figsize=(width / 72, height / 72))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.set_axis_off()
    _arrows(axis, columns, places)
    for part, (left, top, wide, high) in places:
        _box(axis, part, left, top, wide, high)
    for name, parts in columns.items():
        if parts:
            left, _, wide, _ = _place(places, parts[0])
            _text(axis, left + wide / 2, MARGIN + LINE / 2, name, color=GREY)
    for part in extra:
        _training_only(axis, part, columns, places, MARGIN + LINE + ROW * (rows + 0.5))
    _text(axis, MARGIN, height - MARGIN, _total(outline), ha="left")
    options = {"svg.fonttype": "none", "svg.hashsalt": "mmkeras"}
    with rc_context(options):
        figure.savefig(path, format="svg", metadata={"Date": None})


def parts(outline):
    """The numbers of that diagram as rows of text.

    Args:
        outline: as `mmkeras.model.outline` gives.

    Returns:
        A list of lists of str, the first the header, the last the sums.
    """
    lines = [["part", "kind", "gives", "parameters", "trainable"]]
    for part in outline:
        title = f"{part['name']} {part['part']}".strip()
        numbers = (f"{part[key]:,}" for key in lines[0][3:])
        lines.append([title, part["kind"], shape_text(part), *numbers])
    sums = (f"{sum(part[key] for part in outline):,}" for key in lines[0][3:])
    return [*lines, ["all", "", "", *sums]]


def count(number):
    """A number of parameters for people.

    >>> [count(each) for each in (592, 1500, 14714688, 1_000_000)]
    ['592', '1.5 k', '14.7 M', '1.0 M']
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.99995 * unit:
            return f"{number / unit:.1f}{name}"
    return str(number)


def _places(columns, rows):
    """([(part, (left, top, width, height))], width of all), in points."""
    named = [part["name"] for part in columns["input"]]
    places, left = [], MARGIN
    for name, parts in columns.items():
        if not parts:
            continue
        texts = [(line, row == 0) for p in parts for row, line in enumerate(_lines(p))]
        wide = 20 + max(_width(*each) for each in [*texts, (name, False)])
        for number, part in enumerate(parts):
            among = named if part["name"] in named else parts
            row = named.index(part["name"]) if among is named else number
            top = MARGIN + LINE * 1.5 + ROW * (row + (rows - len(among)) / 2)
            high = BOX
            if name == "fusion":
                top, high = MARGIN + LINE * 1.5, ROW * rows - (ROW - BOX)
            places.append((part, (left, top, wide, high)))
        left += wide + GAP
    return places, left - GAP + MARGIN


def _place(places, wanted):
    return next(place for part, place in places if part is wanted)


def _lines(part):
    """What stands in a box, its title first."""
    kind, shape = part["kind"], shape_text(part)
    lines = [kind or part["part"], shape, _parameters(part)]
    if part["part"] == "input":
        lines = [part["name"], kind, shape]
    if part["part"] == "head":
        shape = f"{kind} ({shape})" if kind else shape
        lines = [part["name"], shape, _parameters(part)]
    return [line for line in lines if line]


def shape_text(part):
    """The shape of a part for people, as `9 tokens × 64`; "" where it has none.

    A part may have the key "assumed", true where nobody knows: `2?`.
    """
    if part["shape"] is None:
        return ""
    sizes = ["any" if size is None else f"{size}" for size in part["shape"]]
    if part["part"] == "branch":
        sizes[0] += " token" if sizes[0] == "1" else " tokens"
    if part["part"] == "input" and part["kind"] in UNITS:
        sizes[0] += f" {UNITS[part['kind']]}"
    return (" × ".join(sizes) or "1") + "?" * part.get("assumed", False)


def _parameters(part):
    total, trained = part["parameters"], part["trainable"]
    if part["part"] == "backbone" and not total:
        return "" if "same_as" in part else "SavedModel, frozen"
    if total and not trained:
        return f"{count(total)}, frozen"
    if _frozen_share(part):
        return f"{count(total)}, {count(trained)} trained"
    return f"{count(total)} parameter" + "s" * (total != 1)


def _frozen_share(part):
    """Share of a box that is hatched, in [0, 1]."""
    total = part["parameters"]
    if not total:
        return 1.0 if part["part"] == "backbone" and "same_as" not in part else 0.0
    share = 1 - part["trainable"] / total
    # What is not trained in a part that is not frozen are statistics of batches.
    return share if share > (0.02 if part["part"] == "backbone" else 0.25) else 0.0


def _total(outline):
    total, trained = (
        count(sum(part[key] for part in outline)) for key in ("parameters", "trainable")
    )
    hatched = any(map(_frozen_share, outline))
    return f"{total} parameters, {trained} trainable" + "; hatched: frozen" * hatched


def _arrows(axis, columns, places):
    """From box to box along a row, into the fusion, and out of it to every head."""
    fused, _, wide, _ = _place(places, columns["fusion"][0])
    for source in columns["input"]:
        row = [each for each in places if each[0]["name"] == source["name"]]
        row = [place for part, place in row if part["part"] != "head"]
        edges = [left for left, *_ in row[1:]] + [fused]
        for (left, top, own, high), end in zip(row, edges, strict=True):
            _arrow(axis, left + own, end, top + high / 2)
    for head in columns["head"]:
        left, top, _, high = _place(places, head)
        _arrow(axis, fused + wide, left, top + high / 2)


def _arrow(axis, start, end, y, style="-"):
    arrow = {"arrowstyle": "-|>", "color": INK, "linestyle": style, "shrinkA": 0}
    axis.annotate("", (end, y), (start, y), arrowprops={**arrow, "shrinkB": 0})


def _box(axis, part, left, top, wide, high, style="-"):
    fill = COLUMNS.get(part["part"], "#ffffff")
    axis.add_patch(Rectangle((left, top), wide, high, facecolor=fill, linewidth=0))
    if share := _frozen_share(part):
        face, edge = FROZEN
        options = {"facecolor": face, "edgecolor": edge, "hatch": "///", "linewidth": 0}
        axis.add_patch(Rectangle((left, top), wide * share, high, **options))
    edge = {"fill": False, "edgecolor": INK, "linestyle": style, "linewidth": 1}
    axis.add_patch(Rectangle((left, top), wide, high, **edge))
    lines = _lines(part)
    first = top + high / 2 - LINE * (len(lines) - 1) / 2
    for number, line in enumerate(lines):
        weight = "normal" if number else "bold"
        _text(axis, left + wide / 2, first + LINE * number, line, weight=weight)


def _training_only(axis, part, columns, places, y):
    """A dashed box below all, fed by every branch."""
    branches = [_place(places, each) for each in columns["branch"]]
    end, _, wide, _ = branches[0]
    left = end + wide + GAP
    trunk = left - GAP * 2 / 3
    middles = [top + high / 2 for _, top, _, high in branches]
    axis.plot([trunk, trunk], [middles[0], y], color=INK, linestyle="--", linewidth=1)
    axis.plot([trunk] * len(middles), middles, "o", color=INK, markersize=3)
    _arrow(axis, trunk, left, y, "--")
    own = 20 + max(_width(line, True) for line in _lines(part))
    _box(axis, part, left, y - BOX / 2, own, BOX, "--")


def _text(axis, x, y, text, weight="normal", ha="center", color=INK):
    options = {"ha": ha, "va": "center_baseline", "fontsize": 9, "color": color}
    axis.text(x, y, text, weight=weight, parse_math=False, **options)


def _width(text, bold=False):
    """Of a text as it is drawn, points."""
    font = FontProperties(weight="bold" if bold else "normal")
    return TextPath((0, 0), text, size=9, prop=font).get_extents().width


def save(figure, path):
    """Writes a figure as PNG, with two spines an axis."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    with fonts.legible(figure):
        figure.tight_layout()
        figure.savefig(path, dpi=130)
