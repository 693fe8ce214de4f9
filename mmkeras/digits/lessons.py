"""The three lessons: the truth of every row, before anything is drawn.

Each is given how many rows, and a numpy Generator, and gives the truth of one split: a
list of dicts of label, text, digit_* (0..9), quality_* and what else it tells.
"""

import itertools

import numpy as np

from mmkeras.digits.media import name_digit

MODALITIES = ("text", "image", "audio")
# How good a row's text, picture or sound is: `clean` in unique and synergy; `noisy`
# (can be told) or `spoilt` (cannot) or `missing` (no file, empty cell) in redundant.
CLEAN = {f"quality_{name}": "clean" for name in MODALITIES}
SPOILT = 0.15
MISSING = 0.08
PLUS = "plus/add/plus the tone/picture plus sound/add the sound to the picture"
PLUS = (PLUS + "/加/加上/加上声音/图片加声音").split("/")
MINUS = "minus/subtract/minus the tone/picture minus sound/take the sound away"
MINUS = (MINUS + "/减/减去/减去声音/图片减声音").split("/")


# What a digit is, for several labels at once; `round` is drawn with a closed line.
PROPERTIES = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "round": (0, 6, 8, 9),
    "square": (0, 1, 4, 9),
}


def redundant(rows, rng):
    """Label = the digit, which picture, sound and text all tell, if they can be told.

    Each modality of each row is spoilt or missing independently of the others. At
    least one is always there. For several tasks at once there are `parity`, odd or
    even; `properties`, those of `PROPERTIES` that the digit has, as "even|prime"; and
    `loudness`, of the tone above its noise, dB, empty where there is no sound.
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
        made[-1] |= {
            "parity": "odd" if digit % 2 else "even",
            "properties": "|".join(
                name for name, digits in PROPERTIES.items() if digit in digits
            ),
            "loudness": "",
        }
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


LESSONS = {"redundant": redundant, "unique": unique, "synergy": synergy}
