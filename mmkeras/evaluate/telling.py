"""Metrics in words: the verdict on fusion, a line, a table."""

import math

from mmkeras.evaluate.judging import LATE, headline

# Scores that are no shares, and so are not told in per cent.
PLAIN = ("r2", "mae", "rmse")
TITLES = {"r2": "R2", "roc_auc": "ROC AUC"}


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
        told = _compared(key, metrics[key], values)
        sentences.append(f"{target}: {told}" if target else told)
    return " ".join(filter(None, sentences))


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
        f"{amount(score, singles[best])} of {best} alone, {difference(score, gain)}."
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


def difference(score, value):
    """The difference of two scores for people."""
    return f"{value:+.3f}" if score in PLAIN else f"{100 * value:+.1f} points"


def plain(judged):
    """The headline numbers of a split in one line."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.3f}"
        for key, value in headline(judged).items()
    )


def tables(split, judged):
    """The headline numbers of a split and of its baselines, as rows of text.

    Args:
        split: its name.
        judged: its metrics, as `judge` gives.

    Returns:
        A list of tables, one a target; each a list of lists of str, the first the
        header.
    """
    return [_table(split, judged, target) for target in headlines(judged)]


def _table(split, judged, target):
    keys = list(headline(of_target(judged, target)))
    names = [key.replace("_", " ") for key in keys]
    told = f"{split}, {judged['rows']} rows" + (f", {target}" if target else "")
    lines = [[told, *names]]
    for name, scores in {"": judged, **judged.get("baselines", {})}.items():
        model = {"": "fusion", LATE: "late fusion"}.get(name, f"{name} alone")
        if "baselines" not in judged:
            model = "model"
        own = of_target(scores, target)
        cells = (f"{own[key]:.4f}" if key in own else "" for key in keys)
        lines.append([model, *cells])
    return lines
