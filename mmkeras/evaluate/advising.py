"""What to try where fusion is not shown to help, by what the numbers say."""

import math

# A modality without which the score drops by less counts as unused, in its own unit.
LITTLE = 0.01
KEYS = ("difference", "interval")


def advice(gain, rows, weak=()):
    """Sentences on what to try next, the most telling first; at most two.

    Args:
        gain: of one target, see `gains.gains`, with "over_single".
        rows: how many were judged.
        weak: names of the sets of present modalities whose rows score less than all
            rows, their interval too.

    Returns:
        A list of str.
    """
    found = []
    late = gain.get("over_late_fusion", {}).get("interval")
    if late and late[1] < 0:
        found.append(
            "The mean of the single models is better on these rows: try "
            "fusion.kind late."
        )
    found += _unused(gain)
    if weak:
        found.append(
            f"Rows that have only {weak[0]} are told worse: try "
            "augment.modality_dropout."
        )
    difference, (low, high) = (gain["over_single"][key] for key in KEYS)
    if 0 < difference and low <= 0:
        needed = rows * ((high - low) / 2 / difference) ** 2
        found.append(
            f"A difference of this size would show on about {_rounded(needed)} rows, "
            f"these are {rows:,}: judge on more."
        )
    return (found or ["Try another fusion.kind, or more training rows."])[:2]


def _unused(gain):
    """Where the fusion leans on some modalities and leaves others unused."""
    drops = {name: one["drop"] for name, one in gain.get("left_out", {}).items()}
    if not drops or None in drops.values():
        return []
    unused = [name for name, drop in drops.items() if drop < LITTLE]
    if not unused or len(unused) == len(drops):
        return []
    names = " and ".join(unused)
    return [
        f"Without {names} the score is hardly lower: the fusion leans on the others. "
        "Try train.balance: blending, or augment.modality_dropout."
    ]


def _rounded(number):
    """With two digits that count, as `1,500`."""
    unit = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return f"{math.ceil(number / unit) * unit:,}"


def shortfalls(judged, points):
    """Targets whose fusion is not shown to gain enough over the best single modality.

    Args:
        judged: metrics of one split, see `evaluate.judge`.
        points: hundredths of the first score that the low end of the interval must be
            above.

    Returns:
        A list of sentences, empty where all gain enough.
    """
    found = []
    for key, gain in judged.items():
        if key != "gain" and not key.endswith(".gain"):
            continue
        name = f"{key.removesuffix('.gain')}: " if key != "gain" else ""
        interval = gain.get("over_single", {}).get("interval")
        if not interval:
            found.append(f"{name}there is no gain over a single modality to look at")
        elif not 100 * interval[0] > points:
            found.append(
                f"{name}the 95 % interval of the gain of fusion over "
                f"{gain['best_single']} alone begins at {100 * interval[0]:+.1f} "
                f"points of {gain['score']}, not above {points:g}"
            )
    return found
