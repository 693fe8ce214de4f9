"""Tasks, one file each: target, head, losses, metrics, decode."""

from mmkeras.manifest import ManifestError
from mmkeras.tasks.classification import Classification

TASKS = {"classification": Classification}


def make(targets, labels):
    """The task of every target.

    Args:
        targets: the resolved `data.targets` of a recipe, {column: {kind, options}}.
        labels: {column: list of its labels}, as `labels.json` holds them.

    Returns:
        {column: task}.

    Raises:
        ManifestError: labels that the task cannot work with; names the column.
    """
    made = {}
    for name, choice in targets.items():
        options = {key: value for key, value in choice.items() if key != "kind"}
        try:
            made[name] = TASKS[choice["kind"]](labels[name], **options)
        except ValueError as error:
            raise ManifestError(f"target `{name}`: {error}") from error
    return made
