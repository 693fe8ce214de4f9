"""Writes DIR/<version>/: a SavedModel that takes raw texts and the bytes of files.

A fresh process that has only TensorFlow loads it, answers the run's test rows and must
give what the trained model gives; else nothing is written and the exit code is 4.
Beside it DIR holds what a server is started with: compose.yaml, models.config,
batching.config, monitoring.config, and request.json to ask it.
"""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="default: RUN/export")
    parser.add_argument(
        "--name", help="of the model at the server; default: the recipe's name"
    )


def run(options, extra):
    """Exports and proves."""
    verbs.no_more(extra)
    verbs.quiet()
    from mmkeras import export, run

    if options.name is not None:
        try:
            export.check_name(options.name)
        except ValueError as error:
            raise verbs.UsageError(f"--name: {error}") from error
    trained = run.open_folder(options.run_folder)
    try:
        rows = run.read_rows(trained).split("test")
    except FileNotFoundError as error:
        verbs.log(f"warning: {error}; the answers are not compared with training")
        rows = None
    folder = options.folder or trained.export
    path, found = export.saved_model(
        trained, folder, rows, name=options.name, log=verbs.log
    )
    text = f"{path}\n"
    if found["rows"]:
        text += (
            f"{found['rows']} test rows answered by a process that has only "
            f"TensorFlow:\nat most {found['max_difference']:.1e} from the trained model"
        )
    else:
        text += "its answers were not compared: there is no test row that can be read"
    text += f"\nserve it: docker compose -f {path.parent / 'compose.yaml'} up"
    return verbs.Answer({"path": str(path), **found}, text)
