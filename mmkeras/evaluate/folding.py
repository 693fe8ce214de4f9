"""The folds of a cross-validation as one: means, spreads, did fusion help."""

from mmkeras.evaluate import telling
from mmkeras.evaluate.judging import LATE, headline
from mmkeras.scores import resampling


def across(judged):
    """The scores of all folds as one; see `resampling.across_folds`.

    Args:
        judged: metrics of the same split, one of `evaluate.judge` a fold.

    Returns:
        {"folds", "rows": as many a fold, "scores": {score: its spread}, "baselines":
        {model: {the first score of each target: its spread}}, where there are,
        "differences": the same of the fusion's score minus theirs, fold by fold}.
    """
    whole = [headline(one) for one in judged]
    shared = [key for key in whole[0] if all(key in one for one in whole)]
    found = {
        "folds": len(judged),
        "rows": [one["rows"] for one in judged],
        "scores": {key: _spread(whole, key) for key in shared},
    }
    first = [key for key in telling.headlines(judged[0]).values() if key in shared]
    others = [one.get("baselines", {}) for one in judged]
    names = [name for name in others[0] if all(name in one for one in others)]
    if names:
        found["baselines"] = {
            name: {key: _spread([one[name] for one in others], key) for key in first}
            for name in names
        }
        found["differences"] = {
            name: {
                key: resampling.across_folds(
                    fused[key] - one[name][key]
                    for fused, one in zip(whole, others, strict=True)
                )
                for key in first
            }
            for name in names
        }
    return found


def _spread(each, key):
    return resampling.across_folds(one[key] for one in each)


def tables(split, found):
    """What `across` found as rows of text: fold by fold, and model by model.

    Args:
        split: its name.
        found: what `across` gave.

    Returns:
        A list of tables, each a list of lists of str, the first the header.
    """
    made = []
    for target, score in telling.headlines(_means(found["scores"])).items():
        made.append(_by_fold(split, found, target))
        if "baselines" in found:
            made.append(_by_model(split, found, score))
    return made


def _means(scores):
    return {key: each["mean"] for key, each in scores.items()}


def _by_fold(split, found, target):
    keys = list(telling.brief(_means(found["scores"]), target))
    names = [telling.title(key.rpartition(".")[2]) for key in keys]
    lines = [[split + f", {target}" * bool(target), "rows", *names]]
    spreads = [found["scores"][key] for key in keys]
    for number, rows in enumerate(found["rows"]):
        values = [f"{one['values'][number]:.4f}" for one in spreads]
        lines.append([f"fold {number + 1}", str(rows), *values])
    means = [f"{one['mean']:.4f}" for one in spreads]
    lines.append(["mean", str(sum(found["rows"])), *means])
    lines.append(["spread", "", *(f"{one['deviation']:.4f}" for one in spreads)])
    ends = [telling.span(one["interval"]) for one in spreads]
    lines.append(["95 % interval", "", *ends])
    return lines


def _by_model(split, found, score):
    several = "." in score
    name = telling.title(score.rpartition(".")[2])
    head = f"{split}, {score}" if several else split
    lines = [[head, name, "95 % interval", "fusion minus it", "95 % interval"]]
    own = found["scores"][score]
    lines.append(
        ["fusion", f"{own['mean']:.4f}", telling.span(own["interval"]), "", ""]
    )
    for model, scores in found["baselines"].items():
        one, less = scores[score], found["differences"][model][score]
        low, high = less["interval"]
        title = "late fusion" if model == LATE else f"{model} alone"
        cells = [title, f"{one['mean']:.4f}", telling.span(one["interval"])]
        lines.append([*cells, f"{less['mean']:+.4f}", f"{low:+.4f} to {high:+.4f}"])
    return lines
