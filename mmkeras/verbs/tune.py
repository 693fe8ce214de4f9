"""Tries values of a recipe's keys, ranks them on the valid rows, trains the best.

KEY=VALUES in YAML, as often as wanted:

  --over 'fusion.kind=[concat, gated, attention]'      one of these
  --over 'train.learning_rate={log: [1e-4, 1e-2]}'     between, on a log scale
  --over 'augment.word_dropout={between: [0, 0.4]}'    between

The same command again goes on where it stopped; what is trained already is read.
"""

from pathlib import Path

from mmkeras import space, verbs

TRIALS = 12


def arguments(parser):
    """Adds the options."""
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="a key to search and what it may take",
    )
    verbs.set_argument(parser)
    parser.add_argument(
        "--search",
        choices=space.METHODS,
        help="default: grid where all keys have choices, else bayesian",
    )
    parser.add_argument(
        "--trials",
        type=int,
        help=f"at most so many; default: the whole grid, else {TRIALS}. Hyperband "
        "counts itself, from train.epochs",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="runs of each trial; their mean ranks it"
    )
    parser.add_argument(
        "--test", action="store_true", help="also judge each trial on the test rows"
    )
    parser.add_argument(
        "--folder", help="of the search; default: runs/<name of the recipe>_tune"
    )
    parser.add_argument(
        "--no-best", action="store_true", help="do not train the best recipe at the end"
    )
    parser.add_argument("--quick", action="store_true", help="100 rows, one epoch")


def run(options, extra):
    """Searches."""
    verbs.no_more(extra)
    plan, name = _plan(options)
    folder = Path(options.folder or f"runs/{name}_tune")
    with verbs.terminated():
        verbs.quiet()
        from mmkeras import tune

        ranked = tune.search(plan, folder, log=verbs.log)
        best = None if options.no_best else _best(plan, folder, ranked[0])
    content = {
        "trials": [_content(one, plan) for one in ranked],
        "best": str(folder / "best.yaml"),
        "run": best and str(best),
    }
    text = verbs.aligned(_table(ranked, plan)) + f"\n\nbest: {folder / 'best.yaml'}"
    failed = [f"failed: {_told(one)}: {one.error}" for one in ranked if one.error]
    text = "\n".join([text, *failed, *([f"its run: {best}"] if best else [])])
    return verbs.Answer(content, text)


def _plan(options):
    """A `space.Plan`, all of it checked before TensorFlow is imported."""
    from mmkeras import config

    for name in ("trials", "seeds"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise verbs.UsageError(f"--{name} takes a number from 1, not {value}")
    found = space.read(options.recipe, options.set, options.over)
    ranges = [key for key, values in found.items() if not values.choices]
    method = options.search or ("bayesian" if ranges else "grid")
    if method == "grid" and ranges:
        raise verbs.UsageError(
            f"a grid has no end with a range of {ranges[0]}: list its values, as "
            f"--over '{ranges[0]}=[...]', or take --search bayesian"
        )
    if method == "hyperband" and "train.epochs" in found:
        raise verbs.UsageError("hyperband chooses train.epochs itself: take it out")
    trials = options.trials or (None if method == "grid" else TRIALS)
    recipe = config.load(options.recipe, options.set)
    if recipe.data.folds and not recipe.data.fold:
        raise verbs.UsageError(
            f"data.folds: {recipe.data.folds} are as many runs, and a trial is one, "
            "judged by its valid rows: take the key out, or add --set data.fold=1; "
            "--seeds tells how far a trial's score spreads"
        )
    plan = space.Plan(
        recipe=options.recipe,
        overrides=tuple(options.set),
        space=found,
        method=method,
        trials=trials,
        seeds=options.seeds,
        splits=("valid", "test") if options.test else ("valid",),
        quick=options.quick,
    )
    return plan, recipe.name


def _best(plan, folder, first):
    """The best recipe trained anew, with its baselines, and judged; its folder."""
    from mmkeras import evaluate, manifest, run, train

    recipe = plan.told(first.values)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if plan.quick:
        rows = rows.head(100)
    place = run.free(folder / "best")
    verbs.log(f"the best, {_told(first)}, with its baselines: {place}")
    trained = train.fit(recipe, rows, folder=place, log=verbs.log)
    evaluate.report(trained, rows, log=verbs.log)
    return place


def _told(one):
    return ", ".join(f"{key}={text}" for key, text in one.values.items())


def _content(one, plan):
    """A trial for `--json`."""
    found = {
        split: dict(zip(("mean", "interval"), one.spread(split), strict=True))
        for split in plan.splits
    }
    return {
        "values": one.values,
        "epochs": one.epochs,
        **found,
        "results": one.results,
        "error": one.error,
    }


def _table(ranked, plan):
    """Trials as rows of text, the best first."""
    keys = list(plan.space)
    epochs = ["epochs"] * any(one.epochs for one in ranked)
    lines = [[*keys, *epochs, *plan.splits, "seconds", "peak MB"]]
    for one in ranked:
        cells = [*one.values.values(), *([str(one.epochs)] if epochs else [])]
        for split in plan.splits:
            mean, half = one.spread(split)
            cell = "failed" if mean is None else f"{mean:.4f}"
            cells.append(cell + (f" ± {half:.4f}" if half is not None else ""))
        took = [f"{one.seconds:.0f}", str(one.peak_mb)] if one.results else ["", ""]
        lines.append([*cells, *took])
    return lines
