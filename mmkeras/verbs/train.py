"""Trains a recipe and judges the run on its valid and test rows."""

import shlex
from pathlib import Path

from mmkeras import verbs


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
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if options.quick:
        recipe, rows = config.quick(recipe), rows.head(100)
    verbs.quiet()
    from mmkeras import distribution, evaluate, run, train

    found = run.latest if options.resume else run.free
    folder = options.folder or found(Path("runs") / recipe.name)
    fit = {"folder": folder, "log": verbs.log, "resume": options.resume}
    try:
        trained = train.fit(recipe, rows, **fit)
    except KeyboardInterrupt:
        verbs.log(f"To go on: {_again(options, folder)}")
        raise
    if index := distribution.workers().index:
        return verbs.Answer({"worker": index}, f"worker {index}: done")
    metrics = evaluate.report(trained, rows, log=verbs.log)
    return verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))


def _again(options, folder):
    """The command that goes on with a run."""
    words = ["mmkeras", "train", options.recipe, "--run", str(folder), "--resume"]
    words += [word for change in options.set for word in ("--set", change)]
    return shlex.join(words + ["--quick"] * options.quick)
