"""What the doctor finds, on files made for it: each rule where it holds."""

import csv
import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile

from mmkeras import config, doctor, manifest
from mmkeras.doctor import cells, media, pages


class Made:
    """A folder of made-up media and a manifest of them."""

    def __init__(self, folder):
        self.folder, self.lines, self.rng = folder, [], np.random.default_rng(0)

    def picture(self, name, height=20, width=20, level=None):
        pixels = self.rng.integers(0, 256, (height, width, 3), "uint8")
        if level is not None:
            pixels[:] = level
        keras.utils.save_img(self.folder / name, pixels, scale=False)
        return name

    def sound(self, name, seconds=0.2, rate_hz=8000, channels=1, level=0.3):
        shape = int(seconds * rate_hz), channels
        wave = level * self.rng.uniform(-1, 1, shape)
        soundfile.write(self.folder / name, wave, rate_hz, format="WAV")
        return name

    def row(self, text="", image="", audio="", label="x", split="train"):
        self.lines.append([text, image, audio, label, split])
        return len(self.lines) + 1  # its line

    def healthy(self, count=10):
        """Rows of which nothing is to be told; gives their lines."""
        splits = ["train"] * count + ["valid", "test"]
        return [
            self.row(
                f"words number {n}, never twice",
                self.picture(f"{n}.png"),
                self.sound(f"{n}.wav"),
                label="xy"[n % 2],
                split=split,
            )
            for n, split in enumerate(splits)
        ]

    def examined(self, columns=("text", "image", "audio"), **keys):
        path = self.folder / "rows.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            header = ["text", "image", "audio", "label", "split"]
            csv.writer(file).writerows([header, *self.lines])
        data = {
            "manifest": str(path),
            "inputs": {name: name for name in columns},
            "targets": {"label": "classification"},
            **keys,
        }
        recipe = config.parse({"name": "made", "data": data})
        return doctor.examine(recipe, manifest.read(recipe.data))


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def found(health):
    """{(rule, column): lines}; each at most once here."""
    keys = [(each.rule, each.column) for each in health.findings]
    assert len(set(keys)) == len(keys), keys
    return {(each.rule, each.column): list(each.lines) for each in health.findings}


def test_of_healthy_rows_nothing_is_told_and_of_each_odd_one_its_rule(made):
    lines = made.healthy()
    health = made.examined()
    assert health.findings == () and health.warnings == []
    image, shape, sound = (health.measures[n] for n in (1, 2, 3))
    assert (image["rows"], image["empty"], image["median"]) == (12, 0, 400)
    assert (shape["least"], shape["most"]) == (1, 1)
    assert sound["median"] == pytest.approx(0.2)
    assert health.classes == {
        "label": {
            "x": {"train": 5, "valid": 1, "test": 0},
            "y": {"train": 5, "valid": 0, "test": 1},
        }
    }

    black = made.row(image=made.picture("black.png", level=0))
    grey = made.row(image=made.picture("grey.png", level=127))
    made.row(audio=made.sound("quiet.wav", level=0.01))
    silent = made.row(audio=made.sound("silent.wav", level=0))
    whole = (made.folder / "3.wav").read_bytes()
    (made.folder / "3.wav").write_bytes(whole[:-1000])
    other = made.row(audio=made.sound("other.wav", rate_hz=44100, channels=2))
    (made.folder / "mislaid.jpeg").write_bytes((made.folder / "1.png").read_bytes())
    (made.folder / "plain.dat").write_bytes((made.folder / "2.png").read_bytes())
    wrong = made.row(image="mislaid.jpeg")
    made.row(image="plain.dat")  # an ending that says nothing contradicts nothing
    (made.folder / "copy.png").write_bytes((made.folder / "4.png").read_bytes())
    leaked = made.row(image="copy.png", split="test")
    shared = made.row(audio="6.wav", split="test")
    long = made.row("words number 7, never twice", split="test")
    wide = made.row(image=made.picture("wide.png", 20, 70))
    health = made.examined()
    wide_ones = [each for each in health.findings if each.rule == "extreme"]
    assert [each.lines for each in wide_ones] == [(wide,), (wide,)]  # pixels, shape
    others = [each for each in health.findings if each.rule != "extreme"]
    assert found(dataclasses.replace(health, findings=tuple(others))) == {
        ("blank", "image"): [black, grey],
        ("blank", "audio"): [silent],
        ("cut", "audio"): [lines[3]],
        ("rate", "audio"): [other],
        ("channels", "audio"): [other],
        ("ending", "image"): [wrong],
        # By bytes, not by names; within one split it is no leak.
        ("leak", "image"): [lines[4], leaked],
        ("leak", "audio"): [lines[6], shared],
        ("leak", "text"): [lines[7], long],
    }
    told = "\n".join(health.warnings)
    assert "ends in .jpeg, the content is PNG" in told
    assert f"{lines[4]} (train) = {leaked} (test)" in told


def test_white_is_blank_where_it_is_padded_with_black(made):
    line = made.row(image=made.picture("white.png", 10, 30, level=255))
    fit = {"inputs": {"image": {"kind": "image", "resize": "fit"}}}
    assert found(made.examined(**fit))["blank", "image"] == [line]


def test_extreme_is_what_the_rule_says_in_the_rows_own_split():
    """All others are equal: beyond 2 ** 1.5 = 2.83 times them is extreme."""
    frame = pd.DataFrame({"split": ["train"] * 12 + ["valid"] * 12, "id": "x"})
    rows = manifest.Manifest(None, frame, {"it": "audio"}, {})
    seconds = pd.Series([1.0] * 10 + [2.8, 2.9] + [3.0] * 10 + [1.0, np.nan])
    told = list(media.extremes(rows, {("it", "seconds"): seconds}))
    assert [(each.rule, each.column, each.lines) for each in told] == [
        ("extreme", "it", (11,)),
        ("extreme", "it", (22,)),
    ]
    few = {("it", "seconds"): seconds.where(seconds.index.isin([0, 1, 2, 11]))}
    assert list(media.extremes(rows, few)) == []
    # Where the quartiles are apart, more is needed: 4-fold quartiles, 4 ** 3 beyond.
    apart = pd.Series([1.0] * 5 + [4.0] * 5 + [250.0, 260.0] + [np.nan] * 12)
    (told,) = media.extremes(rows, {("it", "seconds"): apart})
    assert told.lines == (11,)


def test_short_texts_and_phrases_are_no_leaks_beside_other_inputs():
    rows = [["a seven", "train"], ["what is there in the picture?", "train"]] * 2
    rows += [["a seven", "test"], ["what is there in the picture?", "test"]]
    rows += [["a sentence that is twice here", split] for split in ("train", "test")]
    frame = pd.DataFrame(rows, columns=["text", "split"]).assign(id="x")
    content = {"text": pd.DataFrame({"content": frame["text"]})}
    several = {"text": "text", "age": "tabular"}
    content["age"] = pd.DataFrame({"content": list("abcdefgh")})
    told = cells.findings(manifest.Manifest(None, frame, several, {}), content)
    assert [(each.column, each.lines) for each in told] == [("text", (6, 7))]
    # Where a text is all there is, any is a leak.
    del content["age"]
    told = cells.findings(manifest.Manifest(None, frame, {"text": "text"}, {}), content)
    assert [len(each.lines) for each in told] == [8]


def test_an_input_that_a_split_lacks(made):
    made.healthy()
    lines = [made.row(f"words {n}", split="test") for n in range(3)]
    made.lines[11][0] = ""
    for line in lines:
        made.lines[line - 2][:2] = ["", f"{line}.png"]
        made.picture(f"{line}.png")
    health = made.examined(("text", "image"))
    assert found(health) == {("gap", "text"): [13, *lines]}


def test_contradictions_and_texts_without_words(made):
    made.healthy()
    made.row("the same words", label="x")
    made.row("the same words", label="y")
    for number in range(5):
        made.row(f"other words {number}", label="y")
    dots = made.row("... — !")
    made.row("🎉")
    told = found(made.examined(("text",)))
    assert told[("contradiction", "label")] == [14, 15]
    assert told[("wordless", "text")] == [dots]


def test_rare_classes_are_those_below_five_or_a_twentieth(made):
    made.row("a", label="a", split="valid")
    for label, count in {"a": 200, "b": 200, "c": 9, "d": 5, "e": 4}.items():
        for number in range(count):
            made.row(f"{label} {number}", label=label)
    (rare,) = made.examined(("text",)).findings
    assert (rare.rule, rare.column, len(rare.lines)) == ("rare", "label", 4)
    for _ in range(200):
        made.row(f"f {_}", label="f")
        made.row(f"g {_}", label="g")
    (rare,) = made.examined(("text",)).findings
    assert len(rare.lines) == 9 + 5 + 4, "the median class has 200"
    assert "`e` 4" in rare.what and "`c` 9" in rare.what


def test_every_row_read_is_used_or_refused(made):
    """Whatever is broken: no row is lost, and each keeps line, cells and reason."""
    made.healthy(6)
    draw = np.random.default_rng(1)
    good = {
        "a.png": (made.folder / "0.png").read_bytes(),
        "a.wav": (made.folder / "0.wav").read_bytes(),
    }
    for number in range(60):
        column, name = ("image", "a.png") if number % 2 else ("audio", "a.wav")
        raw = bytearray(good[name])
        for _ in range(int(draw.integers(1, 4))):
            raw[int(draw.integers(len(raw)))] = int(draw.integers(256))
        raw = raw[: int(draw.integers(len(raw) + 1))] if draw.random() < 0.5 else raw
        (made.folder / f"bad{number}{name[1:]}").write_bytes(bytes(raw))
        cell = draw.choice(
            [f"bad{number}{name[1:]}", "../x", "none", ""], p=[0.7, 0.1, 0.1, 0.1]
        )
        label, split = (
            draw.choice(["x", "", "new"], p=[0.8, 0.1, 0.1]),
            draw.choice(["train", "test", "nowhere"], p=[0.6, 0.3, 0.1]),
        )
        made.row(
            **{
                "text": draw.choice(["", "word"]),
                column: str(cell),
                "label": str(label),
                "split": str(split),
            }
        )
    health = made.examined()
    rows, lines = health.rows, made.lines
    assert rows.rows_read == len(lines) == len(rows) + len(rows.rejected) == 68
    both = sorted([*rows.frame.index, *(row.line for row in rows.rejected)])
    assert both == list(range(2, 70))
    assert 0 < len(rows.rejected) < 60
    for row in rows.rejected:
        assert (
            row.reason
            and [row.cells[n] for n in ("text", "image", "audio")]
            == lines[row.line - 2][:3]
        )
    path = made.folder / "rejected.csv"
    rows.write_rejected(path)
    with open(path, newline="", encoding="utf-8") as file:
        assert [int(row["line"]) for row in csv.DictReader(file)] == [
            r.line for r in rows.rejected
        ]


def test_the_page_holds_what_was_found_and_escapes_it(made):
    made.healthy()
    made.row("<b>bold</b>", image="none<i>.png")
    made.row("...", image=made.picture("<u>.png", level=0))
    health = made.examined()
    path = made.folder / "check.html"
    pages.write(path, health)
    text = path.read_text(encoding="utf-8")
    assert "none&lt;i&gt;.png" in text and "<i>" not in text
    assert pages.summary(health.rows) in text
    for each in health.findings:
        assert f"<td>{each.rule}</td>" in text
    assert "http" not in text and "src=" not in text  # self-contained
