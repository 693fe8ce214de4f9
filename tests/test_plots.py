import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmkeras import plots


def size(path):
    """(width, height) in pixels, from the header of a PNG."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", content[16:24])


def pixels(path, color):
    """How many pixels of a picture have this colour, and the longest run in a row."""
    wanted = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    same = (np.asarray(Image.open(path).convert("RGB")) == wanted).all(axis=-1)
    return same.sum(axis=1)


def test_a_bar_is_as_long_as_its_accuracy(tmp_path):
    path = tmp_path / "bars.png"
    plots.baselines(path, {"text": 0.5, "image": 0.25, "fusion": 1.0}, "valid")
    grey, orange = pixels(path, plots.GREY), pixels(path, plots.ORANGE)
    unit = orange.max()
    lengths = sorted({count for count in grey if count > 50})
    np.testing.assert_allclose(lengths, [0.25 * unit, 0.5 * unit], atol=2)
    assert grey.nonzero()[0].max() < orange.nonzero()[0].min()  # the model comes last


def test_curves_have_one_axis_a_metric_that_was_validated(tmp_path):
    history = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.0, 1.5, 1.4], "seconds": [1] * 3}
    plots.curves(tmp_path / "one.png", history)
    plots.curves(
        tmp_path / "two.png", {**history, "accuracy": [0, 1], "val_accuracy": [0, 1]}
    )
    one, two = size(tmp_path / "one.png"), size(tmp_path / "two.png")
    assert two[0] == 2 * one[0] and two[1] == one[1]
    assert pixels(tmp_path / "one.png", plots.BLUE).sum() > 100


def test_curves_without_validation_show_what_there_is(tmp_path):
    plots.curves(tmp_path / "curves.png", {"epoch": [0, 1], "loss": [1.0, 0.5]})
    assert size(tmp_path / "curves.png")[0] == round(4.5 * 130)
    assert pixels(tmp_path / "curves.png", plots.BLUE).sum() == 0


@pytest.mark.parametrize("count", [2, 10, 200])
def test_confusion_grows_with_the_classes_within_bounds(tmp_path, count):
    matrix = np.eye(count, dtype=int).tolist()
    labels = [f"class {number}" for number in range(count)]
    plots.confusion(tmp_path / "matrix.png", matrix, labels)
    width, height = size(tmp_path / "matrix.png")
    assert width == height
    assert 300 <= width <= 12 * 130


def test_confusion_shades_a_row_by_its_shares(tmp_path):
    """A class of one row, found, is as dark as a class of a thousand, found."""
    path = tmp_path / "matrix.png"
    plots.confusion(path, [[1000, 0], [0, 1]], ["a", "b"])
    picture = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(picture, axis=0, return_counts=True)
    dark = colors[np.flatnonzero(counts > 2000)].min(axis=0)
    full = (picture == dark).all(axis=1).sum()
    empty = (picture == [247, 251, 255]).all(axis=1).sum()
    assert full == pytest.approx(empty, rel=0.1)


def test_a_class_without_rows_is_drawn(tmp_path):
    plots.confusion(tmp_path / "matrix.png", [[0, 0], [1, 3]], ["a", "b"])
    assert size(tmp_path / "matrix.png")


def test_figures_leave_the_backend_of_a_notebook_alone():
    code = (
        "import sys; from mmkeras import plots; "
        "plots.baselines(sys.argv[1], {'text': .5, 'fusion': .6}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "/dev/null"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr
