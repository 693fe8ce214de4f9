"""Judges a run on a split of its own manifest, or on another manifest."""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--split", default="test", choices=["train", "valid", "test"])
    parser.add_argument(
        "--manifest", help="other rows; all are test rows where it has no split column"
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="COLUMN",
        help="judge the rows of each value of this column too; as often as wanted",
    )
    parser.add_argument(
        "--require-fusion-gain",
        nargs="?",
        type=float,
        const=0.0,
        metavar="POINTS",
        help="exit with 4 where the interval of the gain over the best single modality "
        "does not lie above this, 0 where left out; hundredths of the first score",
    )


def run(options, extra):
    """Judges."""
    verbs.no_more(extra)
    verbs.quiet()
    from mmkeras import evaluate, run

    trained = run.open_folder(options.run_folder)
    if options.require_fusion_gain is not None:
        _require_baselines(trained)
    rows = run.read_rows(trained, options.manifest)
    metrics = evaluate.report(
        trained, rows, (options.split,), slices=options.slice, log=verbs.log
    )
    answer = verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))
    if options.require_fusion_gain is None:
        return answer
    return _required(answer, metrics[options.split], options.require_fusion_gain)


def _require_baselines(trained):
    names = list(trained.recipe.data.inputs)
    if not any(trained.baseline_file(name).is_file() for name in names):
        raise verbs.UsageError(
            f"--require-fusion-gain: {trained.folder} has no model of a single "
            f"modality to compare with, its inputs are {', '.join(names)}. Train "
            "several inputs with train.baselines: true"
        )


def _required(answer, judged, points):
    """Exit code 4, and why on stderr, where a gain is not enough."""
    from mmkeras import evaluate

    shortfalls = evaluate.shortfalls(judged, points)
    for sentence in shortfalls:
        verbs.log(f"--require-fusion-gain: {sentence}")
    return answer._replace(code=4 if shortfalls else 0)
