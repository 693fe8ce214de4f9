"""Numbers in, figures out; the only file that imports matplotlib.

Figures are made without pyplot: nothing here changes the backend of a notebook.
"""

from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2563a8", "#d9741a", "#8a94a0"


def curves(path, history):
    """Loss and accuracy of each epoch, train and validation.

    Args:
        path: of the PNG.
        history: {name: list of floats}, as Keras gives it; `epoch` is ignored.
    """
    names = [name for name in history if f"val_{name}" in history] or [
        name for name in history if name != "epoch"
    ]
    figure = Figure(figsize=(4.5 * len(names), 3.2))
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        epochs = range(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], color=GREY, label="train")
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], color=BLUE, label="validation")
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)
    _save(figure, path)


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
    _save(figure, path)


def baselines(path, accuracies, split="test"):
    """Accuracy of each modality alone, of late fusion and of the fusion, as bars.

    Args:
        path: of the PNG.
        accuracies: {name: accuracy in [0, 1]}, drawn from top to bottom; the last is
            the model itself.
        split: the rows it was measured on, for the axis.
    """
    names = list(accuracies)
    figure = Figure(figsize=(6.4, 0.8 + 0.42 * len(names)))
    axis = figure.subplots()
    colors = [GREY] * (len(names) - 1) + [ORANGE]
    values = [100 * accuracies[name] for name in names]
    bars = axis.barh([name.replace("_", " ") for name in names], values, color=colors)
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.invert_yaxis()
    axis.set(xlim=(0, 110), xlabel=f"{split} accuracy, %")
    axis.set_xticks(range(0, 101, 20))
    _save(figure, path)


def _save(figure, path):
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
