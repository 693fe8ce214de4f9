"""Cross-validation: a run a fold, and what all of them say together.

The folder of a cross-validation holds the recipe, `folds/1`, `folds/2`, ... - ordinary
runs, whose recipe says `data.fold` - and `folds.json`, their scores as one.
"""

from mmkeras import distribution, evaluate, manifest, run
from mmkeras.config import RecipeError
from mmkeras.train import fit, resuming, sizing, tracking

SPLITS = ("valid", "test")


def recipe_of(recipe, number):
    """The recipe of one fold, counted from 1."""
    data = recipe.data.model_copy(update={"fold": number})
    return recipe.model_copy(update={"data": data})


def cross_validate(recipe, *, folder, most=None, log=print, resume=False):
    """Trains and judges every fold of a recipe, one after the other.

    Args:
        recipe: a `recipe.Recipe` with `data.folds` and without `data.fold`.
        folder: of all; made here, or gone on with.
        most: rows of each split, for a quick try; all where None.
        log: called with one line of text now and then.
        resume: go on with the folds in the folder; those that are trained stay.

    Returns:
        {split: see `evaluate.across`} of the splits `valid` and `test`; the content of
        `folds.json`.

    Raises:
        RecipeError: several workers, or another recipe than the one to go on with.
        ManifestError: rows that cannot be dealt to as many folds; see `fit` too.
        FileExistsError: see `fit`.
        KeyboardInterrupt: see `fit`.
    """
    if distribution.workers().count > 1:
        raise RecipeError(
            f"data.folds: {recipe.data.folds} folds are trained by one process, and "
            "TF_CONFIG names several workers. Start them for one fold: data.fold, as 1"
        )
    if not resume:
        run.require_vacant(folder)
    with resuming.lock(folder):
        recipe = _sized(recipe, folder if resume else None, most, log)
        begun = resuming.begun(folder, recipe) if resume else None
        whole = begun or run.create(folder, recipe)
        judged = []
        for number in range(1, recipe.data.folds + 1):
            one = recipe_of(recipe, number)
            rows = _rows(one, most)
            log(f"fold {number} of {recipe.data.folds}")
            place = whole.fold(number)
            made = fit(one, rows, folder=place, log=log, resume=True)
            judged.append(_judged(made, rows, log))
        found = across(judged)
        whole.write_json(whole.folds_json, found)
    return found


def _rows(recipe, most):
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    return rows.head(most) if most else rows


def _sized(recipe, folder, most, log):
    """The recipe with one batch size for all folds, that which fits the first."""
    if recipe.train.batch_size != sizing.AUTO:
        return recipe
    first = recipe_of(recipe, 1)
    sized, _ = sizing.sized(first, _rows(first, most), folder, log)
    return recipe.model_copy(update={"train": sized.train})


def _judged(made, rows, log):
    """The metrics of a fold's run, judged now where it was not yet."""
    metrics = made.read_json(made.metrics_json)
    if not metrics:
        metrics = evaluate.report(made, rows, SPLITS, log=log)
        tracking.scores(made, metrics, log)
    return metrics


def across(judged):
    """{split: `evaluate.across`} of the splits that every fold has.

    Args:
        judged: {split: metrics} of each fold.
    """
    shared = [split for split in judged[0] if all(split in each for each in judged)]
    return {split: evaluate.across([one[split] for one in judged]) for split in shared}
