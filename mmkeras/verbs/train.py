"""Trains a recipe and judges the run on its valid and test rows.

With data.folds in the recipe: as many runs, each tested on one fold of the rows.
"""

import contextlib
import shlex
from pathlib import Path

from mmkeras import verbs

# Rows of each split with --quick.
QUICK = 100


def arguments(parser):
    """Adds the options."""
    parser.add_argument("recipe", metavar="RECIPE")
    verbs.set_argument(parser)
    parser.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        help="folder of the run; default: runs/<name of the recipe>, -2, -3, ...",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was stopped or killed; without --run the last one "
        "of the recipe's name",
    )
    parser.add_argument("--quick", action="store_true", help="100 rows, one epoch")


def run(options, extra):
    """Fits and judges."""
    verbs.no_more(extra)
    with verbs.terminated():
        return _run(options)


def _run(options):
    from mmkeras import config, manifest

    recipe = config.load(options.recipe, options.set)
    recipe = config.quick(recipe) if options.quick else recipe
    if recipe.data.folds and not recipe.data.fold:
        return _folds(options, recipe)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    rows = rows.head(QUICK) if options.quick else rows
    _require_judges(rows)
    verbs.quiet()
    from mmkeras import distribution, evaluate, train
    from mmkeras.train import tracking

    with _told_how_to_go_on(options, recipe) as fit:
        trained = train.fit(recipe, rows, **fit)
    if index := distribution.workers().index:
        return verbs.Answer({"worker": index}, f"worker {index}: done")
    metrics = evaluate.report(trained, rows, log=verbs.log)
    tracking.scores(trained, metrics, verbs.log)
    return verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))


def _require_judges(rows):
    """Rows by which the run is judged; told before it is trained for hours."""
    from mmkeras import manifest

    if not any(len(rows.split(name)) for name in ("valid", "test")):
        raise manifest.ManifestError(
            f"{rows.path.name} has no usable row in the splits valid and test, so "
            "nothing would tell what the model has learned: call some rows so in the "
            f"column `{rows.split_column}`, or add rows"
        )


def _folds(options, recipe):
    """Every fold, and all of them as one."""
    verbs.quiet()
    from mmkeras.train import folds

    with _told_how_to_go_on(options, recipe) as fit:
        most = QUICK if options.quick else None
        found = folds.cross_validate(recipe, most=most, **fit)
    return verbs.Answer(found, verbs.folds_text(found, fit["folder"]))


@contextlib.contextmanager
def _told_how_to_go_on(options, recipe):
    """Gives {"folder", "log", "resume"} of what is trained; tells who stops it."""
    from mmkeras import run

    found = run.latest if options.resume else run.free
    folder = options.folder or found(Path("runs") / recipe.name)
    try:
        yield {"folder": folder, "log": verbs.log, "resume": options.resume}
    except KeyboardInterrupt:
        verbs.log(f"To go on: {_again(options, folder)}")
        raise


def _again(options, folder):
    """The command that goes on with a run."""
    words = ["mmkeras", "train", options.recipe, "--run", str(folder), "--resume"]
    words += [word for change in options.set for word in ("--set", change)]
    return shlex.join(words + ["--quick"] * options.quick)
