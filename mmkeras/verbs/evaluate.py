"""Judges a run on a split of its own manifest, or on another manifest."""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--split", default="test", choices=["train", "valid", "test"])
    parser.add_argument(
        "--manifest", help="other rows; all are test rows where it has no split column"
    )


def run(options, extra):
    """Judges."""
    verbs.no_more(extra)
    verbs.quiet()
    from mmkeras import evaluate, run

    trained = run.open_folder(options.run_folder)
    rows = run.read_rows(trained, options.manifest)
    metrics = evaluate.report(trained, rows, (options.split,), log=verbs.log)
    return verbs.Answer(metrics, verbs.scores_text(trained, rows, metrics))
