"""Judges a run on a split of its own manifest, or on another manifest.

Several runs are compared on the same rows, each with the first. The folder of a
cross-validation is judged fold by fold.
"""

from pathlib import Path

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folders", metavar="RUN", nargs="+")
    parser.add_argument("--split", default="test", choices=["train", "valid", "test"])
    parser.add_argument(
        "--manifest", help="other rows; all are test rows where it has no split column"
    )
    verbs.table_arguments(parser)
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="COLUMN",
        help="judge the rows of each value of this column too; as often as wanted",
    )
    parser.add_argument(
        "--robustness",
        nargs="?",
        type=int,
        const=500,
        default=0,
        metavar="ROWS",
        help="also judge at most so many disturbed rows, 500 where left out: missing "
        "modalities, noise, blur, compression, typing errors, gradient steps",
    )
    parser.add_argument(
        "--ensemble",
        metavar="DIR",
        help="write the mean of the runs as a run of its own, and compare it too",
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
    """Judges, or compares."""
    verbs.no_more(extra)
    _check(options)
    verbs.quiet()
    if len(options.run_folders) > 1:
        return _compared(options)
    from mmkeras import run

    if folds := run.Run(options.run_folders[0]).folds:
        return _folds(options, folds)
    trained = run.open_folder(options.run_folders[0])
    if options.require_fusion_gain is not None:
        _require_baselines(trained)
    rows, metrics = _reported(options, trained)
    answer = verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))
    if options.require_fusion_gain is None:
        return answer
    return _required(answer, metrics[options.split], options.require_fusion_gain)


def _reported(options, trained):
    """(the rows that a run is judged on, its metrics)."""
    from mmkeras import evaluate, run

    rows = run.read_rows(trained, options.manifest, **verbs.table_keys(options))
    if not run.is_own(trained, rows.path):
        _tell_known(run.known_lines(trained, rows.split(options.split)), rows)
    metrics = evaluate.report(
        trained,
        rows,
        (options.split,),
        slices=options.slice,
        disturbed=options.robustness,
        log=verbs.log,
    )
    return rows, metrics


def _tell_known(lines, rows):
    """Warns of rows that tell nothing of new ones."""
    if lines:
        shown = ", ".join(map(str, lines[:10])) + ", ..." * (len(lines) > 10)
        verbs.log(
            f"warning: {len(lines)} of the rows of {rows.path.name} were trained on or "
            f"validated by (lines {shown}): leave them out, for their scores tell "
            "nothing of new rows"
        )


def _check(options):
    """Refuses options that do not go together."""
    if options.robustness < 0:
        raise verbs.UsageError(
            f"--robustness {options.robustness}: give a count of rows, 1 or more"
        )
    if len(options.run_folders) == 1:
        if options.ensemble:
            raise verbs.UsageError("--ensemble takes two runs or more, one was given")
        return
    alone = {
        "--slice": options.slice,
        "--robustness": options.robustness,
        "--require-fusion-gain": options.require_fusion_gain is not None,
    }
    for option, given in alone.items():
        if given:
            raise verbs.UsageError(
                f"{option} is about one run, {len(options.run_folders)} were given to "
                "be compared: evaluate them one by one"
            )
    folders = [Path(folder).resolve() for folder in options.run_folders]
    if len(set(folders)) < len(folders):
        raise verbs.UsageError("a run stands twice among those to compare")


def _folds(options, folds):
    """All runs of a cross-validation, each on its own rows, and what they say as one.

    With --manifest: all of them on the same rows.
    """
    from mmkeras import evaluate, run

    if options.require_fusion_gain is not None:
        raise verbs.UsageError(
            "--require-fusion-gain is about one run, and this is a cross-validation of "
            f"{len(folds)}: evaluate {folds[0]} and the others one by one"
        )
    judged = []
    for folder in folds:
        verbs.log(str(folder))
        _, metrics = _reported(options, run.open_folder(folder))
        judged.append(metrics[options.split])
    found = {options.split: evaluate.across(judged)}
    return verbs.Answer(found, verbs.folds_text(found, options.run_folders[0]))


def _compared(options):
    """Several runs on the same rows; with --ensemble their mean too."""
    from mmkeras import evaluate, run

    runs = {folder: run.open_folder(folder) for folder in options.run_folders}
    keys = verbs.table_keys(options)
    rows = {
        name: run.read_rows(one, options.manifest, **keys) for name, one in runs.items()
    }
    if options.ensemble:
        first = next(iter(runs.values()))
        # Decided on the runs' own valid rows, whatever is compared.
        own = run.read_rows(first)
        made = evaluate.ensemble(runs, own, options.ensemble, log=verbs.log)
        evaluate.report(made, own, log=verbs.log)
        runs[options.ensemble] = made
        rows[options.ensemble] = run.read_rows(made, options.manifest, **keys)
    found = evaluate.compare(runs, rows, options.split, log=verbs.log)
    text = "\n\n".join(map(verbs.aligned, evaluate.comparison(found)))
    return verbs.Answer(found, text)


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
