"""The embedded data set: handwritten digits, telephone tones and digit names.

Pictures are the 1,797 digits that scikit-learn ships (8 x 8 pixels, UCI "Optical
Recognition of Handwritten Digits"), sounds are the keypad tones of ITU-T Q.23 and
texts name the digit in English or Chinese. Nothing is downloaded and the truth of
every row is known. Three lessons by construction, `LESSONS` at the end of this page:

    redundant   each modality tells the digit, none reliably: fusion wins
    unique      each modality holds a part of the answer: all three are needed
    synergy     picture plus or minus sound, modulo 10: alone, each is at chance

A lesson deals the truth of one split's rows; `write` draws the pictures, sounds and
the manifest from it. `data/README.md` explains the columns.
"""

import csv
import difflib
import itertools
import json
import shutil
import string
import struct
import wave
import zlib
from pathlib import Path

import numpy as np

# Written to digits.json. Raise it when the same seed gives other bytes.
GENERATOR = 1
# What `write` makes where `rows` is not given. Up to 1,700 rows of `redundant` no
# picture serves twice: the rarest digit, 8, has 174.
ROWS = {"redundant": 1_700, "unique": 2_400, "synergy": 6_000}
# valid and test each show all ten labels at least once, and train as many.
MIN_ROWS = 30
HELD_OUT = 0.15  # share of the rows in valid, and again in test

RATE_HZ = 8_000
# ITU-T Q.23 keypad, 123 / 456 / 789 / 0: digit -> (row, column) frequency.
ROWS_HZ, COLUMNS_HZ = (697, 770, 852), (1209, 1336, 1477)
TONES_HZ = {n + 1: (ROWS_HZ[n // 3], COLUMNS_HZ[n % 3]) for n in range(9)}
TONES_HZ[0] = (941, 1336)
# (32, 8), linear between pixel centres. The weights are eighths, so that products with
# it are exact and the same bytes on every machine.
ENLARGE = np.stack(
    [np.interp((np.arange(32) + 0.5) / 4 - 0.5, range(8), row) for row in np.eye(8)], 1
)

MODALITIES = ("text", "image", "audio")
# How good a row's text, picture or sound is: `clean` in unique and synergy; `noisy`
# (can be told) or `spoilt` (cannot) or `missing` (no file, empty cell) in redundant.
CLEAN = {f"quality_{name}": "clean" for name in MODALITIES}
SPOILT = 0.15
MISSING = 0.08
TYPOS = 0.3  # share of the noisy texts
IMAGE_NOISE = {"clean": (4, 12), "noisy": (15, 50), "spoilt": (120, 160)}  # grey levels
IMAGE_PATCH = {"clean": (0, 0), "noisy": (0, 9), "spoilt": (20, 26)}  # pixels
AUDIO_SNR_DB = {"clean": (20, 30), "noisy": (-3, 15), "spoilt": (-45, -30)}

ENGLISH = "zero one two three four five six seven eight nine".split()
CHINESE = "零一二三四五六七八九"
ENGLISH_PHRASES = ("{}", "the digit {}", "digit {}", "this is {}", "it says {}")
CHINESE_PHRASES = ("{}", "数字{}", "这是{}", "这个数字是{}", "上面写着{}")
VAGUE = ("a digit", "some number", "I cannot read it", "一个数字", "某个数", "看不清")
UNREADABLE = "口日田由甲申困回"  # look like characters, name no digit
PLUS = "plus/add/plus the tone/picture plus sound/add the sound to the picture"
PLUS = (PLUS + "/加/加上/加上声音/图片加声音").split("/")
MINUS = "minus/subtract/minus the tone/picture minus sound/take the sound away"
MINUS = (MINUS + "/减/减去/减去声音/图片减声音").split("/")
LETTERS = string.ascii_lowercase


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
        and the truth: digit_*, quality_*, picture, and `total` or `sign`.

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


# Lessons: how many rows, numpy Generator -> the truth of one split, a list of dicts of
# label, text, digit_* (0..9), quality_* and, some, `total` or `sign` ------------------


def redundant(rows, rng):
    """Label = the digit, which picture, sound and text all tell, if they can be told.

    Each modality of each row is spoilt or missing independently of the others. At
    least one is always there.
    """
    labels = deal(np.arange(10), rows, rng).tolist()
    qualities = {name: _qualities(rows, rng) for name in MODALITIES}
    made = []
    for row, digit in enumerate(labels):
        quality = {name: qualities[name][row] for name in MODALITIES}
        if set(quality.values()) == {"missing"}:
            quality[rng.choice(MODALITIES)] = "noisy"
        made.append({"label": digit, "text": name_digit(digit, quality["text"], rng)})
        made[-1] |= {f"digit_{name}": digit for name in MODALITIES}
        made[-1] |= {f"quality_{name}": quality[name] for name in MODALITIES}
    return made


def _qualities(rows, rng):
    spoilt, missing = round(SPOILT * rows), round(MISSING * rows)
    counts = (rows - spoilt - missing, spoilt, missing)
    return rng.permutation(np.repeat(["noisy", "spoilt", "missing"], counts)).tolist()


def unique(rows, rng):
    """Label = which of three unrelated digits are 5 or more, e.g. "low-high-low".

    In the order picture, sound, text. Eight labels, so a modality alone gets 1 in 4
    and two get 1 in 2. `total` is the sum of the three digits, 0..27, for regression.
    """
    deck = np.array(list(itertools.product(range(10), repeat=3)))  # (1000, 3)
    labels = (deck >= 5) @ (4, 2, 1)
    return [
        {
            "label": "-".join("high" if digit >= 5 else "low" for digit in trio),
            "text": name_digit(trio[2], "clean", rng),
            "digit_image": trio[0],
            "digit_audio": trio[1],
            "digit_text": trio[2],
            **CLEAN,
            "total": sum(trio),
        }
        for trio in deck[deal(labels, rows, rng)].tolist()
    ]


def synergy(rows, rng):
    """Label = picture plus or minus, as the text says, sound, modulo 10.

    Over every 200 rows each picture, sound and sign meets each other once. Then the
    label is exactly uniform given any one of the three, and given sign and one digit.
    """
    deck = np.array(list(itertools.product(range(10), range(10), (1, -1))))  # (200, 3)
    labels = (deck[:, 0] + deck[:, 2] * deck[:, 1]) % 10
    return [
        {
            "label": (image + sign * audio) % 10,
            "text": str(rng.choice(PLUS if sign > 0 else MINUS)),
            "digit_image": image,
            "digit_audio": audio,
            "digit_text": "",
            **CLEAN,
            "sign": "plus" if sign > 0 else "minus",
        }
        for image, audio, sign in deck[deal(labels, rows, rng)].tolist()
    ]


def deal(labels, rows, rng):
    """Rows dealt from a deck of cards: whole decks first, then part of one.

    The part is chosen so that the counts of its labels differ by one at most.

    `labels` are those of the cards, (cards,) integers, each as frequent as the others.
    Gives the card of each row, (rows,) int64 in 0..cards-1.
    """
    decks, rest = divmod(rows, len(labels))
    whole = [rng.permutation(len(labels)) for _ in range(decks)]
    last = rng.permutation(len(labels))
    last = last[np.argsort(labels[last], kind="stable")]
    piles = rng.permutation(last.reshape(len(np.unique(labels)), -1))  # one a label
    part = piles.T.ravel()[:rest]  # the top card of each pile, then the second, ...
    return np.concatenate([*whole, part]).astype(int)


# Text, picture, sound -----------------------------------------------------------------


def name_digit(digit, quality, rng):
    """A short text that names a digit, in English or Chinese, each half the time.

    `noisy` makes a typing error in some of them (`TYPOS`); `spoilt` names no digit,
    because the text is vague or the name unreadable; `missing` is "".
    """
    if quality == "missing":
        return ""
    if quality == "spoilt" and rng.random() < 0.5:
        return str(rng.choice(VAGUE))
    english = rng.random() < 0.5
    phrase = str(rng.choice(ENGLISH_PHRASES if english else CHINESE_PHRASES))
    if quality == "spoilt":
        # Three to five letters, as the names have: the length must not tell.
        letters = rng.choice(list(LETTERS if english else UNREADABLE), 5)
        return phrase.format("".join(letters[: rng.integers(3, 6) if english else 1]))
    text = phrase.format((ENGLISH if english else CHINESE)[digit])
    return typo(text, rng) if quality == "noisy" and rng.random() < TYPOS else text


def typo(text, rng):
    """The text with one character doubled, dropped, or swapped with the next.

    Chinese is only ever doubled: there a dropped character could be the digit.
    """
    at = int(rng.integers(max(1, len(text) - 1)))
    before, letter, after = text[:at], text[at], text[at + 1 :]
    if not text.isascii():
        return before + letter + letter + after
    wrong = (letter + letter + after, after, after[:1] + letter + after[1:])
    return before + wrong[rng.integers(3)]


def draw_picture(source, quality, rng):
    """A source digit, enlarged four times, with a blank patch and Gaussian noise.

    `source` is (8, 8) in 0..16, quality clean, noisy or spoilt. Gives (32, 32) uint8,
    white on black.
    """
    pixels = ENLARGE @ source @ ENLARGE.T * (255 / 16)
    patch = rng.integers(*IMAGE_PATCH[quality], endpoint=True)
    top, left = rng.integers(0, 32 - patch, size=2, endpoint=True)
    pixels[top : top + patch, left : left + patch] = 0
    noise = rng.uniform(*IMAGE_NOISE[quality])
    pixels += noise * rng.standard_normal(pixels.shape)
    return pixels.round().clip(0, 255).astype(np.uint8)


def play_tone(digit, quality, rng):
    """A key press somewhere in a clip of 0.25 to 0.5 s, in white noise.

    The two sines of ITU-T Q.23 are equally loud and last 0.12 to 0.2 s. The ratio of
    signal to noise (`AUDIO_SNR_DB`) is that of their power while they sound to that
    of the noise from 0 to 4 kHz. The clip's peak is 0.2 to 0.9 of full scale. Gives
    (samples,) int16 at 8 kHz.
    """
    clip_samples = int(rng.uniform(0.25, 0.5) * RATE_HZ)
    tone_samples = int(rng.uniform(0.12, 0.2) * RATE_HZ)
    seconds = np.arange(tone_samples) / RATE_HZ
    low_hz, high_hz = TONES_HZ[digit]
    low_phase, high_phase = rng.uniform(0, 2 * np.pi, size=2)
    tone = np.sin(2 * np.pi * low_hz * seconds + low_phase)
    tone += np.sin(2 * np.pi * high_hz * seconds + high_phase)  # power 1/2 + 1/2
    # Rises and falls within 5 ms: an abrupt edge would click at every frequency.
    tone *= np.minimum(1, np.minimum(seconds, seconds[::-1]) / 0.005)
    snr_db = rng.uniform(*AUDIO_SNR_DB[quality])
    clip = 10 ** (-snr_db / 20) * rng.standard_normal(clip_samples)
    start = rng.integers(0, clip_samples - tone_samples, endpoint=True)
    clip[start : start + tone_samples] += tone
    clip *= rng.uniform(0.2, 0.9) / np.abs(clip).max()
    return (clip * 32767).round().astype(np.int16)


# Files --------------------------------------------------------------------------------


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
            (partial / row["image"]).write_bytes(_png(pixels))
        if row["quality_audio"] != "missing":
            row["audio"] = f"audio/{number:05d}.wav"
            samples = play_tone(row["digit_audio"], row["quality_audio"], rng)
            _write_wav(partial / row["audio"], samples)
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


def _png(pixels):
    """PNG (ISO/IEC 15948) of 8-bit grey pixels, (height, width) uint8.

    Stored, not deflated: zlibs differ in the bytes they give, and noise is no
    smaller deflated.
    """
    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # filter 0 before each line
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, level=0)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        png += struct.pack(">I", len(data)) + name + data
        png += struct.pack(">I", zlib.crc32(name + data))
    return png


def _write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))  # mono, two bytes a sample
        file.writeframes(samples.astype("<i2").tobytes())


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


LESSONS = {"redundant": redundant, "unique": unique, "synergy": synergy}
