"""Trains a recipe and judges the run on its valid and test rows."""

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
    parser.add_argument("--quick", action="store_true", help="100 rows, one epoch")


def run(options, extra):
    """Fits and judges."""
    verbs.no_more(extra)
    from mmkeras import config, manifest

    recipe = config.load(options.recipe, options.set)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if options.quick:
        recipe, rows = config.quick(recipe), rows.head(100)
    verbs.quiet()
    from mmkeras import evaluate, run, train

    folder = options.folder or run.free(Path("runs") / recipe.name)
    trained = train.fit(recipe, rows, folder=folder, log=verbs.log)
    metrics = evaluate.report(trained, rows, log=verbs.log)
    return verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))
