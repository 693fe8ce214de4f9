"""What the columns of a CSV hold, by their cells. Guesses, told as such."""

import functools
import itertools
import re
import statistics
from pathlib import Path
from typing import NamedTuple

import soundfile
from PIL import Image

from mmkeras import splits, targets
from mmkeras.families import is_name

IMAGE = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
AUDIO = (".wav", ".flac", ".ogg", ".mp3")
# Files of which the sizes are read.
LOOKED = 200
# Of pictures, pixels: what a network trained from nothing reads at leisure.
SIDES = (32, 64, 96)
# Columns that name the answer, the likeliest first.
ANSWERS = ("label", "target", "class", "category", "answer", "intent", "y")
ANSWERS += ("标签", "类别", "分类", "答案", "意图")
IDS = ("id", "编号", "序号")
SPLIT_NAMES = {*splits.SPLITS, *splits.ALIASES}
SEPARATORS = ("|", ";")
# Up to so many different values a column of words is a category, if each comes often.
CATEGORIES = 50
OFTEN = 5
# More different numbers than that are no classes.
CLASSES = 30
TABLE = "table"
TABLE_NAMES = {"numbers": "number", "categories": "category"}
# A column is what this share of its cells is; `mmkeras check` refuses the others.
MOSTLY = 0.95


class GuessError(ValueError):
    """Columns of which nothing can be made; the message says what to do."""


class Guess(NamedTuple):
    """A recipe's `data`, guessed.

    Attributes:
        inputs: {input: its dict in `data.inputs`}.
        targets: {target: its dict in `data.targets`}.
        told: {column of the file: what it is taken for, one phrase}.
        columns: {name above: column of the file} where no tensor can be called so.
        keys: {key of `data`: column}, of the rows' ids and splits where they are there.
    """

    inputs: dict
    targets: dict
    told: dict
    columns: dict
    keys: dict


def columns(frame, folder, target=None):
    """Guesses a recipe's inputs and target.

    Args:
        frame: the rows as text, a `pandas.DataFrame` of str, "" where empty.
        folder: of the CSV, from which paths are looked up.
        target: the column of the answer; None: by its name.

    Returns:
        A `Guess`.

    Raises:
        GuessError: no column of the answer, or nothing to learn from.
    """
    filled = {name: _filled(frame[name]) for name in frame.columns}
    filled = {name: cells for name, cells in filled.items() if cells}
    answer = _answer(filled, target)
    choice, why = _task(filled[answer])
    told, inputs, table = {}, {}, {"numbers": [], "categories": []}
    names, keys = _Names([*filled, TABLE]), {}
    for name, cells in filled.items():
        if name == answer:
            told[name] = why
            continue
        kind, decode, told[name] = _kind(name, cells, len(frame), Path(folder))
        if kind == "input":
            inputs[names.of(name, decode["kind"])] = decode
        elif kind in table:
            table[kind].append(names.of(name, TABLE_NAMES[kind]))
        elif kind in ("id", "split"):
            keys.setdefault(kind, name)
    if any(table.values()):
        inputs[TABLE] = {"kind": "tabular", **{k: v for k, v in table.items() if v}}
    if not inputs:
        raise GuessError(
            "no column holds texts, paths of pictures or sounds, or numbers"
        )
    called = names.of(answer, "label")
    return Guess(inputs, {called: choice}, told, names.columns, keys)


class _Names:
    """Names that tensors can bear, for columns of any name.

    Args:
        taken: those that are given already.

    Attributes:
        columns: {name: column} of those that got another.
    """

    def __init__(self, taken):
        self._taken, self.columns = set(taken), {}

    def of(self, column, kind):
        """The column's own name, or else `kind`, numbered where that is taken."""
        if is_name(column):
            return column
        names = itertools.chain([kind], (f"{kind}{n}" for n in itertools.count(2)))
        name = next(each for each in names if each not in self._taken)
        self._taken.add(name)
        self.columns[name] = column
        return name


def _filled(column):
    return [cell for cell in column.str.strip() if cell]


def _answer(filled, target):
    """The column of the answer."""
    answer = target or next((name for name in ANSWERS if name in filled), None)
    if answer in filled:
        return answer
    what = f"no column `{target}`" if target else "no column is called label"
    raise GuessError(
        f"{what}: name the one that holds the answer, --target COLUMN. Columns with "
        f"cells: {', '.join(filled)}"
    )


def _kind(name, cells, rows, folder):
    """(kind, the input's dict or None, what it is taken for)."""
    distinct = set(cells)
    if name in IDS or (name.endswith("_id") and len(distinct) == rows):
        return "id", None, "a name of the row; not learned from"
    if name == "split" or _mostly(cells, _is_split):
        but = _but(cells, _is_split)
        return "split", None, f"which rows train, validate and test{but}"
    for endings, decode in ((IMAGE, _image), (AUDIO, _audio)):
        is_file = functools.partial(_ends, endings=endings)
        if _mostly(cells, is_file):
            kind, options, why = "input", *decode(cells, folder)
            return kind, options, why + _but(cells, is_file)
    if _mostly(cells, targets.is_number):
        but = _but(cells, targets.is_number)
        return "numbers", None, f"a number, a column of the table{but}"
    if len(distinct) <= CATEGORIES and rows >= OFTEN * len(distinct):
        return (
            "categories",
            None,
            f"one of {len(distinct)} words, a column of the table",
        )
    words = sorted(map(_words, cells))
    most = words[int(0.95 * (len(words) - 1))]
    length = next(size for size in (8, 16, 32, 64, 128, 256) if size >= min(most, 256))
    why = f"text; 95 % of the rows have at most {most} words"
    return "input", {"kind": "text", "length": length}, why


def _is_split(cell):
    return cell.lower() in SPLIT_NAMES


def _ends(cell, endings):
    return cell.lower().endswith(endings)


def _mostly(cells, is_one):
    """Whether all cells are, or all but a few."""
    return sum(map(is_one, cells)) >= MOSTLY * len(cells)


def _but(cells, is_one):
    """Names the cells that are none."""
    odd = [cell for cell in cells if not is_one(cell)]
    if not odd:
        return ""
    verb = "is" if len(odd) == 1 else "are"
    return f"; {len(odd)} of {len(cells)} {verb} none, as `{odd[0]}`: mend it"


def _words(text):
    """About as many tokens as the model sees: words, and each Chinese character."""
    return len(re.findall(r"[\u3400-\u9fff\u3040-\u30ff]|[^\W_]+|[^\w\s]", text))


def _image(cells, folder):
    """As large as most of the first pictures, in steps, at most `SIDES[-1]`."""
    sides = sorted(filter(None, (_side(folder / cell) for cell in cells[:LOOKED])))
    side, why = SIDES[-1], f"paths of pictures, {len(cells)} rows"
    if sides:
        middle = statistics.median_low(sides)
        side = next((each for each in SIDES if each >= middle), side)
        why += f", {middle} pixels a side in the middle"
    return {"kind": "image", "size": side}, why


def _side(path):
    """The shorter side of a picture, pixels; None of what `mmkeras check` refuses."""
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _audio(cells, folder):
    """A clip as long as nine tenths of the first sounds."""
    lengths = sorted(filter(None, (_seconds(folder / cell) for cell in cells[:LOOKED])))
    clip, why = 2.0, f"paths of sounds, {len(cells)} rows"
    if lengths:
        longest = lengths[int(0.9 * (len(lengths) - 1))]
        clip = min(30.0, max(0.25, -(-longest // 0.25) * 0.25))
        why += f", {statistics.median(lengths):.2g} s in the middle"
    return {"kind": "audio", "rate_hz": 16000, "clip_seconds": clip}, why


def _seconds(path):
    """Length of a sound; None of what `mmkeras check` refuses."""
    try:
        return soundfile.info(path).duration
    except (OSError, soundfile.SoundFileError):
        return None


def _task(cells):
    """(the target's dict, what it is taken for)."""
    distinct = set(cells)
    if len(distinct) > CLASSES and all(map(targets.is_number, distinct)):
        return {"kind": "regression"}, "the answer: a number"
    for separator in SEPARATORS:
        single = {one for cell in cells for one in targets.names_in(cell, separator)}
        if any(separator in cell for cell in cells) and len(single) < len(distinct):
            why = f"the answer: any of {len(single)} labels, {separator} between them"
            return {"kind": "multilabel", "separator": separator}, why
    return {"kind": "classification"}, f"the answer: one of {len(distinct)} labels"
