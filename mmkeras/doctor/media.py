"""What is odd about pictures and sounds that can be decoded, and about sizes."""

import numpy as np

from mmkeras.doctor.finding import number, of

# A picture is uniform below this, of [0, 1]: the step of eight bits.
UNIFORM = 1 / 255
# A sound is silent below this, of [-1, 1]: half a step of 16 bits, -96 dB.
SILENT = 2.0**-16
# A file's name may end so, by what its first bytes say.
ENDINGS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png",),
    "GIF": ("gif",),
    "BMP": ("bmp", "dib"),
    "WebP": ("webp",),
    "WAV": ("wav", "wave", "bwf"),
    "FLAC": ("flac",),
    "Ogg": ("ogg", "oga", "opus"),
    "MP3": ("mp3",),
}
KNOWN = {ending for endings in ENDINGS.values() for ending in endings}
# Rows of a split and column below which nothing is extreme.
FEW = 8
# Extreme is what lies further from the quartiles of log2 than so many times the
# distance between them, which counts as at least MIN_SPREAD: then a factor of 2.8.
REACH, MIN_SPREAD = 3, 0.5
RULE = "more than three times the quartiles' ratio, and 2.8-fold, outside the quartiles"


def findings(rows, facts, held):
    """Endings, empty content, rates and channels.

    Args:
        rows: a `manifest.Manifest`.
        facts: {input: numbers a line}, of `opening.opened`.
        held: {input: `contents.told`}.

    Yields:
        `Finding`s.
    """
    for name, table in facts.items():
        yield from _endings(rows, name, held[name]["format"])
        is_sound = rows.inputs[name] == "audio"
        flat = table["high"] - table["low"] < (SILENT if is_sound else UNIFORM)
        if flat.any():
            what = "silence" if is_sound else "a picture of one colour, as a black one"
            advice = "Empty the cell if that is not meant: missing is a value, too"
            yield of(rows, "blank", name, flat.index[flat], what, advice)
        if is_sound:
            cut = table["lost_bytes"] > 0
            if cut.any():
                what = "the file ends before its header says: a broken download?"
                advice = "What is there is used; fetch it again"
                yield of(rows, "cut", name, cut.index[cut], what, advice)
            yield from _different(rows, "rate", name, table["rate_hz"], "Hz")
            yield from _different(rows, "channels", name, table["channels"], "channels")


def extremes(rows, sizes):
    """Sizes far from those of the same split.

    Args:
        rows: a `manifest.Manifest`.
        sizes: {(input, quantity): one number a line, NaN where missing}.

    Yields:
        `Finding`s.
    """
    for (name, quantity), values in sizes.items():
        for split, part in values.groupby(rows.frame[rows.split_column]):
            part = np.log2(part.dropna())
            if len(part) < FEW:
                continue
            low, high = part.quantile([0.25, 0.75])
            reach = REACH * max(high - low, MIN_SPREAD)
            odd = 2 ** part[(part < low - reach) | (part > high + reach)]
            if len(odd):
                span = f"{number(odd.min())} to {number(odd.max())}"
                half = f"{number(2**low)} to {number(2**high)}"
                what = (
                    f"{quantity} of {span}, where half of {split} has {half} ({RULE})"
                )
                yield of(rows, "extreme", name, odd.index, what, "Look at them")


def _endings(rows, name, formats):
    paths = rows.frame[name].str.lower().str.rpartition(".")[2]
    for (ending, found), part in formats.groupby([paths, formats]):
        if found and ending in KNOWN and ending not in ENDINGS[found]:
            what = f"the name ends in .{ending}, the content is {found}"
            advice = "It is read as what it is; rename it"
            yield of(rows, "ending", name, part.index, what, advice)


def _different(rows, rule, name, values, unit):
    """Values other than the most frequent one."""
    counts = values.dropna().astype(int).value_counts()
    for value in counts.index[1:]:
        what = f"{value} {unit}, where {counts.iloc[0]} of {counts.sum()} files have "
        what += f"{counts.index[0]}"
        advice = (
            "All are brought to the model's; look whether another device tells the "
        )
        advice += "label"
        lines = values.index[values == value]
        yield of(rows, rule, name, lines, what, advice)
