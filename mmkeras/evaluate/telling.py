"""Metrics in words: the verdict on fusion, a line, a table."""

import math

from mmkeras.evaluate.advising import advice
from mmkeras.evaluate.judging import LATE, headline

# Scores that are no shares, and so are not told in per cent.
PLAIN = ("r2", "mae", "rmse", "log_loss", "brier")
TITLES = {"r2": "R2", "roc_auc": "ROC AUC", "mae": "MAE", "rmse": "RMSE"}
# Scores of a target that stand in tables and lines, its first ones.
SHOWN = 4


def headlines(metrics):
    """{target, "" of a single one: the score that fusion is judged by}."""
    found = {}
    for key in headline(metrics):
        found.setdefault(key.rpartition(".")[0], key)
    return found


def of_target(judged, target):
    """The scores of one target, "" of a single one, without its name."""
    prefix = f"{target}." if target else ""
    return {
        key.removeprefix(prefix): value
        for key, value in judged.items()
        if key.startswith(prefix)
    }


def of_run(run, judged, target):
    """The scores of a target of a run, which may be its only one, without its name."""
    return of_target(judged, target if len(run.tasks) > 1 else "")


def verdict(metrics):
    """One sentence: is the fusion better than the best single modality?

    Args:
        metrics: of one split, as `judge` gives.

    Returns:
        The sentence, one a target where there are several; "" where there is nothing
        to compare with.
    """
    baselines = metrics.get("baselines", {})
    sentences = []
    for target, key in headlines(metrics).items() if baselines else ():
        values = {name: one[key] for name, one in baselines.items() if key in one}
        gain = metrics.get(f"{target}.gain" if target else "gain", {})
        if gain.get("over_single", {}).get("interval"):
            told = _shown(gain, metrics, key)
        else:
            told = _compared(key, metrics[key], values)
        sentences.append(f"{target}: {told}" if target else told)
    return " ".join(filter(None, sentences))


def _shown(gain, metrics, key):
    """The sentence on one target whose difference has an interval."""
    score, best = gain["score"], gain["best_single"]
    over = gain["over_single"]
    difference, (low, high) = over["difference"], over["interval"]
    helped = "helped" if low > 0 else "did not help"
    if low <= 0 <= high:
        helped = "is not shown to help"
    name = "" if score == "accuracy" else f"{title(score)} "
    ends = changes(score, (low, high))
    zero = ", which includes 0" * (low <= 0 <= high)
    told = (
        f"Fusion {helped}: {name}{amount(score, metrics[key])} against "
        f"{amount(score, metrics[key] - difference)} of {best} alone, "
        f"{by(score, difference)} (95 % interval {ends}{zero})."
    )
    late = gain.get("over_late_fusion", {})
    if low > 0:
        if late.get("difference") is not None and late["difference"] < 0:
            mean = amount(score, metrics[key] - late["difference"])
            told += f" The mean of the single models does better: {mean}."
        return told
    ends = {
        name: part["intervals"].get(key, [math.inf] * 2)[1]
        for name, part in metrics.get("subsets", {}).items()
    }
    weak = [name for name, end in ends.items() if end < metrics[key]]
    return " ".join([told, *advice(gain, metrics["rows"], weak)])


def _compared(key, fused, others):
    """The sentence on one target; "" where a score is not a number."""
    singles = {name: value for name, value in others.items() if name != LATE}
    if not singles or any(map(math.isnan, [fused, *others.values()])):
        return ""
    best = max(singles, key=singles.get)
    gain = fused - singles[best]
    helped = "helped" if gain > 0 else "did not help"
    score = key.rpartition(".")[2]
    name = "" if score == "accuracy" else f"{title(score)} "
    told = (
        f"Fusion {helped}: {name}{amount(score, fused)} against "
        f"{amount(score, singles[best])} of {best} alone, {by(score, gain)}."
    )
    if others.get(LATE, fused) > fused:
        late = amount(score, others[LATE])
        told += f" The mean of the single models does better: {late}."
    if gain <= 0:
        told += " Try another fusion.kind, or augment.modality_dropout."
    return told


def title(score):
    """A score's name for people."""
    return TITLES.get(score, score.replace("_", " ").replace("f1", "F1"))


def amount(score, value):
    """A score for people: shares in per cent.

    >>> amount("accuracy", 0.98), amount("r2", 0.98)
    ('98.0 %', '0.980')
    """
    return f"{value:.3f}" if score in PLAIN else f"{100 * value:.1f} %"


def between(score, ends):
    """An interval for people; "" where there is none.

    >>> between("accuracy", [0.914, 1.0]), between("r2", [0.9, 0.95])
    ('91.4 to 100.0 %', '0.900 to 0.950')
    """
    if not ends:
        return ""
    low, high = (amount(score, end) for end in ends)
    return f"{low.removesuffix(' %')} to {high}"


def change(score, value):
    """A difference of two scores as a number, in points where they are shares."""
    return f"{value:+.3f}" if score in PLAIN else f"{100 * value:+.1f}"


def changes(score, ends):
    """An interval of such a difference; "" where there is none."""
    return " to ".join(change(score, end) for end in ends) if ends else ""


def span(ends, places=4):
    """An interval with so many places; "" where there is none."""
    return f"{ends[0]:.{places}f} to {ends[1]:.{places}f}" if ends else ""


def by(score, value):
    """The difference of two scores for people."""
    return change(score, value) + " points" * (score not in PLAIN)


def plain(judged):
    """The first numbers of a split in one line."""
    several = [key for key in headlines(judged) if key]
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.3f}"
        for target in several or [""]
        for key, value in brief(judged, target).items()
    )


def brief(judged, target):
    """Those scores of a target that stand in tables, under their full names."""
    prefix = f"{target}." if target else ""
    own = headline(of_target(judged, target))
    return {f"{prefix}{key}": own[key] for key in list(own)[:SHOWN]}


def tables(split, judged):
    """The first numbers of a split and of its baselines, as rows of text.

    Behind the first score stands its 95 % interval.

    Args:
        split: its name.
        judged: its metrics, as `judge` gives.

    Returns:
        A list of tables, one a target; each a list of lists of str, the first the
        header.
    """
    return [_table(split, judged, target) for target in headlines(judged)]


def _table(split, judged, target):
    prefix = f"{target}." if target else ""
    keys = [key.removeprefix(prefix) for key in brief(judged, target)]
    names = [key.replace("_", " ") for key in keys]
    names.insert(1, "95 % interval")
    told = f"{split}, {judged['rows']} rows" + (f", {target}" if target else "")
    lines = [[told, *names]]
    for name, scores in {"": judged, **judged.get("baselines", {})}.items():
        model = {"": "fusion", LATE: "late fusion"}.get(name, f"{name} alone")
        if "baselines" not in judged:
            model = "model"
        own = of_target(scores, target)
        cells = [f"{own[key]:.4f}" if key in own else "" for key in keys]
        ends = scores.get("intervals", {}).get(f"{prefix}{keys[0]}")
        cells.insert(1, span(ends))
        lines.append([model, *cells])
    return lines
