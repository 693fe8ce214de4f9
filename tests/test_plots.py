import io
import struct
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from mmkeras import plots
from mmkeras.plots import judged, tuned

SVG = "{http://www.w3.org/2000/svg}"


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


def test_curves_of_many_metrics_stand_in_lines_of_three(tmp_path):
    names = [f"part{number}" for number in range(5)]
    history = {key: [2.0, 1.0] for name in names for key in (name, f"val_{name}")}
    plots.curves(tmp_path / "five.png", history)
    plots.curves(tmp_path / "one.png", {"loss": [1.0], "val_loss": [1.0]})
    five, one = size(tmp_path / "five.png"), size(tmp_path / "one.png")
    assert five == (3 * one[0], 2 * one[1])


def test_curves_without_validation_show_what_there_is(tmp_path):
    plots.curves(tmp_path / "curves.png", {"epoch": [0, 1], "loss": [1.0, 0.5]})
    assert size(tmp_path / "curves.png")[0] == round(4.5 * 130)
    assert pixels(tmp_path / "curves.png", plots.BLUE).sum() == 0


def test_letters_that_no_font_has_are_told_once(tmp_path, monkeypatch):
    path, matrix = tmp_path / "matrix.png", [[3, 1], [0, 4]]
    monkeypatch.setattr(plots.fonts, "wide", tuple)
    with pytest.warns(UserWarning, match="no font of this machine has") as told:
        plots.confusion(path, matrix, ["水果", "鞋子"])
    assert len(told) == 1 and "Debian: fonts-noto-cjk" in str(told[0].message)


def test_chinese_labels_are_drawn_where_a_font_has_them(tmp_path, recwarn):
    if not plots.fonts.wide():
        pytest.skip("no Chinese font is here")
    plots.confusion(tmp_path / "one.png", [[3, 1], [0, 4]], ["水果", "鞋子"])
    plots.confusion(tmp_path / "two.png", [[3, 1], [0, 4]], ["手机", "电脑"])
    assert not recwarn.list, "and no letter is a box, which would be the same in both"
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one != two


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


def part(name, kind, shape, parameters=0, trainable=None, of=""):
    """A part as `model.outline` gives; all of it trainable unless told otherwise."""
    trainable = parameters if trainable is None else trainable
    numbers = {"parameters": parameters, "trainable": trainable}
    return {"part": kind, "name": name, "kind": of, "shape": shape, **numbers}


def outline(inputs=3, heads=1, frozen=14_714_688, extra=True):
    """So many inputs, the first behind a frozen backbone."""
    parts = []
    for number in range(inputs):
        name = f"picture_{number}"
        parts.append(part(name, "input", [64, 64, 3], of="image"))
        if not number:
            parts.append(
                part(name, "backbone", [2, 2, 512], 14_714_688, 14_714_688 - frozen)
            )
        parts.append(part(name, "branch", [4, 8], 1500, of="cnn"))
    parts.append(part("", "fusion", [16], 1248, 1152, of="gated"))
    parts += [part(f"target_{n}", "head", [n + 2], 34) for n in range(heads)]
    if extra:
        parts.append(part("", plots.TRAINING, None, 99))
    return parts


def drawn(path, parts):
    """(the root of the SVG, all its texts)."""
    plots.model(path, parts)
    root = ElementTree.parse(path).getroot()
    return root, ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(("inputs", "heads"), [(1, 1), (3, 2), (8, 1), (1, 5)])
def test_a_model_is_drawn_with_every_name_as_text(tmp_path, inputs, heads):
    root, texts = drawn(tmp_path / "model.svg", outline(inputs, heads))
    for number in range(inputs):
        assert f"picture_{number}" in texts
    for number in range(heads):
        assert f"target_{number}" in texts
    assert texts.count("4 tokens × 8") == inputs
    assert {"gated", "64 × 64 × 3", "1.5 k parameters", "14.7 M, frozen"} <= set(texts)
    assert plots.TRAINING in texts and "99 parameters" in texts
    height = float(root.get("height").removesuffix("pt"))
    assert height >= plots.ROW * (max(inputs, heads) + 1)


def test_boxes_of_a_model_do_not_overlap():
    for inputs, heads in ((1, 1), (3, 2), (8, 1), (2, 5)):
        columns = {name: [] for name in plots.COLUMNS}
        for each in outline(inputs, heads, extra=False):
            columns[each["part"]].append(each)
        places, width = plots._places(columns, max(inputs, heads))
        boxes = [place for _, place in places]
        for at, (left, top, wide, high) in enumerate(boxes):
            assert left >= 0 and left + wide <= width
            for other_left, other_top, other_wide, other_high in boxes[:at]:
                aside = left >= other_left + other_wide or other_left >= left + wide
                assert aside or top >= other_top + other_high or other_top >= top + high


def test_texts_fit_their_boxes():
    for each in outline(2, 2):
        columns = {name: [] for name in plots.COLUMNS}
        columns.get(each["part"], []).append(each)
        for told, (_, _, wide, high) in plots._places(columns, 1)[0]:
            lines = plots._lines(told)
            assert max(plots._width(line, True) for line in lines) < wide
            assert len(lines) * plots.LINE <= high


def test_what_is_frozen_is_hatched_and_said(tmp_path):
    whole, texts = drawn(tmp_path / "whole.svg", outline())
    assert "14.7 M, frozen" in texts and any("hatched: frozen" in t for t in texts)
    part_of, texts = drawn(tmp_path / "part.svg", outline(frozen=7_000_000))
    assert "14.7 M, 7.7 M trained" in texts
    none, texts = drawn(tmp_path / "none.svg", outline(frozen=0))
    assert not any("frozen" in text or "trained" in text for text in texts)
    hatched = [len(list(root.iter(f"{SVG}pattern"))) for root in (whole, part_of, none)]
    assert hatched == [1, 1, 0]


def test_the_same_model_gives_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        plots.model(tmp_path / name, outline())
    one, two = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert one == two and b"<dc:date>" not in one
    assert b'href="http' not in one  # nothing is loaded from elsewhere


def test_the_table_of_a_model_adds_up():
    head, *lines, sums = plots.parts(outline(2, 1))
    assert head == ["part", "kind", "gives", "parameters", "trainable"]
    assert sums == ["all", "", "", "14,719,069", "4,285"]
    assert lines[1] == ["picture_0 backbone", "", "2 × 2 × 512", "14,714,688", "0"]
    assert lines[-1] == [plots.TRAINING, "", "", "99", "99"]


def test_shapes_for_people():
    told = plots.shape_text(part("text", "input", [24], of="text"))
    assert told == "24 ids"
    assert plots.shape_text(part("it", "branch", [1, 64])) == "1 token × 64"
    assert plots.shape_text(part("it", "branch", [None, 64])) == "any tokens × 64"
    assert plots.shape_text({**part("it", "head", [2]), "assumed": True}) == "2?"
    assert plots.shape_text(part("it", "head", [])) == "1"


def test_a_saved_model_of_another_make_is_not_told_as_empty(tmp_path):
    parts = [
        {**each, "parameters": 0, "trainable": 0}
        if each["part"] == "backbone"
        else each
        for each in outline()
    ]
    assert "SavedModel, frozen" in drawn(tmp_path / "model.svg", parts)[1]


def test_the_diagonal_of_a_reliability_diagram_is_being_right(tmp_path):
    bins = [
        {"rows": 5, "confidence": 0.2, "right": 0.2},
        {"rows": 5, "confidence": 0.9, "right": 0.5},
    ]
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    judged.reliability(one, bins)
    judged.reliability(two, bins, bins)
    assert size(two)[0] == pytest.approx(2 * size(one)[0], abs=2)
    # Blue is what was calibrated: only the second has it.
    assert pixels(one, plots.BLUE).sum() == 0 < pixels(two, plots.BLUE).sum()


def test_drops_are_bars_of_their_length(tmp_path):
    one = {"drop": 0.4, "interval": [0.3, 0.5]}
    gain = {"left_out": {"text": one}, "shuffled": {"text": {**one, "drop": 0.2}}}
    judged.drops(tmp_path / "drops.png", gain, "drop")
    blue, orange = (
        pixels(tmp_path / "drops.png", color).max()
        for color in (plots.BLUE, plots.ORANGE)
    )
    # The legend's patch may stand in the same row of pixels.
    assert blue == pytest.approx(2 * orange, rel=0.1)
    gain["left_out"]["text"] = {"drop": None, "interval": None}
    judged.drops(tmp_path / "half.png", gain, "drop")


def test_a_curve_of_what_has_no_score_is_drawn_all_the_same(tmp_path):
    points = [
        {"strength": 0, "score": 0.9, "interval": [0.8, 1.0]},
        {"strength": "worst", "score": None, "interval": None},
    ]
    curves = {"blur": {"unit": "pixels", "inputs": {"photo": points, "scan": points}}}
    judged.robustness(tmp_path / "one.png", curves, "accuracy")
    judged.robustness(tmp_path / "two.png", curves | {"noise": curves["blur"]}, "f")
    assert size(tmp_path / "two.png")[0] == 2 * size(tmp_path / "one.png")[0]


def test_a_spectrogram_has_its_tone_at_its_height():
    time = np.arange(8000) / 8000
    wave = np.sin(2 * np.pi * 3000 * time).astype("float32")
    with Image.open(io.BytesIO(judged.spectrogram(wave, 8000))) as seen:
        bright = np.asarray(seen.convert("L"), float).mean(axis=1)
    # 3 kHz of 4 kHz is a quarter from the top.
    assert bright.argmax() / len(bright) == pytest.approx(0.25, abs=0.02)
    silence = judged.spectrogram(np.zeros(300, "float32"), 8000)
    assert silence.startswith(b"\xff\xd8")


def test_of_equal_trials_the_first_is_drawn_as_the_best(tmp_path, monkeypatch):
    drawn = []
    plot = Axes.plot

    def watch(self, *arguments, **options):
        drawn.append((options["color"], list(arguments[1])))
        return plot(self, *arguments, **options)

    monkeypatch.setattr(Axes, "plot", watch)
    tried = [[1e-4, "a"], [1e-2, "b"], [1e-3, "a"]]
    tuned.trials(tmp_path / "it.png", ["rate", "kind"], tried, [0.5, 0.9, 0.9])
    best = [heights for color, heights in drawn if color == plots.ORANGE]
    assert best == [[1.0, 0.75, 1.0]]  # the second, not its equal
    rates = sorted(heights[0] for _, heights in drawn)
    np.testing.assert_allclose(rates, [0, 0.5, 1])  # a log scale
