"""Numbers of a judged run as pictures below `figures/`."""

import csv

from mmkeras import plots
from mmkeras.evaluate import telling
from mmkeras.plots import judged as drawn


def draw(run, there, split, metrics):
    """Draws what the metrics of a split have.

    Args:
        run: the `run.Run` that was judged.
        there: a `run.Run` that tells where to write.
        split: name of the split.
        metrics: of it, see `evaluate.judge`.

    Returns:
        {kind: [(path, caption)]}, the kinds `curves`, `confusion`, `numbers`, `roc`,
        `baselines`, `drops`, `reliability`, `robustness`.
    """
    there.figures.mkdir(exist_ok=True)
    made = {}

    def add(kind, target, caption, draw, *given):
        path = there.figures / f"{kind}{'_' * bool(target)}{target}.png"
        draw(path, *given)
        made.setdefault(kind, []).append((path, caption + f": {target}" * bool(target)))

    if history := _read_history(run.history_csv):
        add("curves", "", "Training, epoch by epoch", plots.curves, history)
    for name, task in run.tasks.items():
        _of_task(add, name, task, telling.of_run(run, metrics, name))
    for target, key in telling.headlines(metrics).items():
        _of_fusion(add, target, key, split, metrics)
    return made


def _of_task(add, name, task, scores):
    if "confusion" in scores:
        caption = "Which class is taken for which"
        given = (scores["confusion"], task.labels)
        add("confusion", name, caption, plots.confusion, *given)
    if "points" in scores:
        add("numbers", name, "True and told", plots.numbers, scores["points"], name)
    if scores.get("roc"):
        add("roc", name, "Same or not: pairs of rows", plots.roc, scores["roc"])
    if "reliability" in scores:
        stages = scores["reliability"]
        after = stages["after"] if task.temperature != 1 else None
        caption = "Probabilities told, and the share that was right"
        add("reliability", name, caption, drawn.reliability, stages["before"], after)


def _of_fusion(add, target, key, split, metrics):
    """Bars of single models, and of what is lost without a modality."""
    bars = {
        name: one[key]
        for name, one in metrics.get("baselines", {}).items()
        if key in one
    }
    score = key.rpartition(".")[2]
    label = f"{split} {telling.title(score)}"
    share = score not in telling.PLAIN
    if bars:
        bars["fusion"] = metrics[key]
        caption = "Each modality alone, and fused"
        add("baselines", target, caption, plots.baselines, bars, label, share)
    gain = telling.of_target(metrics, target).get("gain", {})
    if gain.get("left_out"):
        caption = "What is lost without a modality"
        add("drops", target, caption, drawn.drops, gain, f"drop of {label}", share)
    if curves := telling.of_target(metrics, target).get("robustness"):
        caption = "What disturbed rows cost"
        add("robustness", target, caption, drawn.robustness, curves, label, share)


def _read_history(path):
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}
