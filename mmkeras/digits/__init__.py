"""The embedded data set: handwritten digits, telephone tones and digit names.

Pictures are the 1,797 digits that scikit-learn ships (8 x 8 pixels, UCI "Optical
Recognition of Handwritten Digits"), sounds are the keypad tones of ITU-T Q.23 and
texts name the digit in English or Chinese. Nothing is downloaded and the truth of
every row is known. Three lessons by construction, `lessons.py`:

    redundant   each modality tells the digit, none reliably: fusion wins
    unique      each modality holds a part of the answer: all three are needed
    synergy     picture plus or minus sound, modulo 10: alone, each is at chance

A lesson deals the truth of one split's rows; `write` draws the pictures, sounds and
the manifest from it. `data/README.md` explains the columns.
"""

import csv
import difflib
import json
import shutil
from pathlib import Path

import numpy as np

from mmkeras.digits.lessons import LESSONS
from mmkeras.digits.media import TONES_HZ, draw_picture, play_tone, png, write_wav

__all__ = ["LESSONS", "MIN_ROWS", "ROWS", "TONES_HZ", "write"]

# Written to digits.json. Raise it when the same seed gives other bytes.
GENERATOR = 2
# What `write` makes where `rows` is not given. Up to 1,700 rows of `redundant` no
# picture serves twice: the rarest digit, 8, has 174.
ROWS = {"redundant": 1_700, "unique": 2_400, "synergy": 6_000}
# valid and test each show all ten labels at least once, and train as many.
MIN_ROWS = 30
HELD_OUT = 0.15  # share of the rows in valid, and again in test


def write(folder, *, lesson="redundant", rows=None, seed=0):
    """Writes manifest.csv, images/*.png (32 x 32 grey) and audio/*.wav (8 kHz mono).

    The same lesson, rows and seed give the same bytes. A folder that already holds
    them is left as it is.

    Args:
        folder: where to write; made if absent.
        lesson: a key of `LESSONS`.
        rows: how many rows, 30 or more; `ROWS[lesson]` where None.
        seed: non-negative integer behind every draw, except which split a picture
            belongs to: that is the same in every folder.

    Returns:
        Path of manifest.csv, with the columns id, text, image, audio, label, split
        and the truth: digit_*, quality_*, picture, and what else the lesson tells.

    Raises:
        ValueError: the lesson is unknown, or there are too few rows.
        FileExistsError: the folder holds anything else.
    """
    if lesson not in LESSONS:
        near = difflib.get_close_matches(str(lesson), LESSONS, n=1, cutoff=0.4)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"No lesson `{lesson}`. Found {', '.join(LESSONS)}.{hint}")
    rows = ROWS[lesson] if rows is None else rows
    if rows < MIN_ROWS:
        raise ValueError(
            f"rows = {rows} is too few: each of train, valid and test shows every "
            f"label. Ask for {MIN_ROWS} or more."
        )
    folder = Path(folder)
    settings = {"generator": GENERATOR, "lesson": lesson, "rows": rows, "seed": seed}
    if not _holds(folder, settings):
        _fill(folder, settings)
    return folder / "manifest.csv"


def _fill(folder, settings):
    """Everything is made in folder/.partial, then moved: no half-written manifest."""
    from sklearn.datasets import load_digits

    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    for name in ("images", "audio"):
        (partial / name).mkdir(parents=True)
    rng = np.random.default_rng(settings["seed"])
    source = load_digits()  # images (1797, 8, 8) in 0..16, target (1797,) in 0..9
    rows = _rows(LESSONS[settings["lesson"]], settings["rows"], source.target, rng)
    for number, row in enumerate(rows):
        row["id"] = f"{settings['lesson']}-{number:05d}"
        row["image"] = row["audio"] = ""
        if row["quality_image"] != "missing":
            row["image"] = f"images/{number:05d}.png"
            eight = source.images[row["picture"]]
            pixels = draw_picture(eight, row["quality_image"], rng)
            (partial / row["image"]).write_bytes(png(pixels))
        if row["quality_audio"] != "missing":
            row["audio"] = f"audio/{number:05d}.wav"
            samples, snr_db = play_tone(row["digit_audio"], row["quality_audio"], rng)
            write_wav(partial / row["audio"], samples)
            if "loudness" in row:
                row["loudness"] = f"{snr_db:.1f}"
    _write_manifest(partial / "manifest.csv", rows)
    text = json.dumps(settings) + "\n"
    (partial / "digits.json").write_text(text, encoding="utf-8", newline="\n")
    # digits.json goes last: where it stands, the rest does.
    for name in ("images", "audio", "manifest.csv", "digits.json"):
        (partial / name).rename(folder / name)
    partial.rmdir()


def _picture_splits(digits):
    """{(split, digit): source numbers}, 15 % each in valid and test, 70 % in train.

    The seed is fixed: a model trained on one folder never met the pictures that
    another folder, of any lesson or seed, tests with.
    """
    rng = np.random.default_rng(20)
    splits = {}
    for digit in range(10):
        numbers = rng.permutation(np.flatnonzero(digits == digit))
        held_out = round(HELD_OUT * len(numbers))
        parts = np.split(numbers, [held_out, 2 * held_out])
        for split, part in zip(("valid", "test", "train"), parts, strict=True):
            splits[split, digit] = part
    return splits


def _rows(lesson, count, digits, rng):
    held_out = max(10, round(HELD_OUT * count))
    counts = {"train": count - 2 * held_out, "valid": held_out, "test": held_out}
    decks = {
        place: _shuffled_forever(numbers, rng)
        for place, numbers in _picture_splits(digits).items()
    }
    rows = []
    for split, split_rows in counts.items():
        for row in lesson(split_rows, rng):
            there = row["quality_image"] != "missing"
            picture = next(decks[split, row["digit_image"]]) if there else ""
            rows.append({**row, "split": split, "picture": picture})
    return [rows[place] for place in rng.permutation(count)]


def _shuffled_forever(items, rng):
    while True:
        yield from rng.permutation(items).tolist()


def _write_manifest(path, rows):
    columns = ["id", "text", "image", "audio", "label", "split"]
    columns += [name for name in rows[0] if name not in columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _holds(folder, settings):
    """Whether `folder` holds what `settings` ask for; FileExistsError for else."""
    names = [folder.name] if folder.is_file() else []
    if folder.is_dir():
        names = sorted(p.name for p in folder.iterdir() if p.name != ".partial")
    if not names:
        return False
    found = ", ".join(names[:6] + ["..."] * (len(names) > 6))
    if {"manifest.csv", "images", "audio", "digits.json"} <= set(names):
        found = (folder / "digits.json").read_text(encoding="utf-8").strip()
        if found == json.dumps(settings):
            return True
    raise FileExistsError(
        f"{folder} is not free: found {found}. Expected an empty folder or "
        f"{json.dumps(settings)}. Name another folder, or delete this one."
    )
