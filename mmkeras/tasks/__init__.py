"""Tasks, one file each: target, head, losses, metrics, decode."""

from mmkeras.tasks.classification import Classification

TASKS = {"classification": Classification}


def make(targets, labels):
    """The task of every target.

    Args:
        targets: the resolved `data.targets` of a recipe, {column: {kind, options}}.
        labels: {column: list of its labels}, as `labels.json` holds them.

    Returns:
        {column: task}.
    """
    made = {}
    for name, choice in targets.items():
        options = {key: value for key, value in choice.items() if key != "kind"}
        made[name] = TASKS[choice["kind"]](labels[name], **options)
    return made
