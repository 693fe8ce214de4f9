"""Writes DIR/<version>/: a SavedModel that takes raw texts and the bytes of files.

A fresh process that has only TensorFlow loads it, answers the run's test rows and must
give what the trained model gives; else nothing is written and the exit code is 4.
Beside it DIR holds what a server is started with: compose.yaml, models.config,
batching.config, monitoring.config, and request.json to ask it.

--format names others: keras, onnx, litert and openvino are written to DIR/formats/,
each loaded, asked test rows and compared with the trained model, or refused (exit code
4). They take what the decoders give: formats.json there tells inputs and figures.
"""

from pathlib import Path

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="default: RUN/export")
    parser.add_argument(
        "--name", help="of the model at the server; default: the recipe's name"
    )
    parser.add_argument(
        "--format",
        default="savedmodel",
        metavar="A,B",
        help="of savedmodel, keras, onnx, litert, openvino; savedmodel where left out",
    )


def run(options, extra):
    """Exports and proves."""
    verbs.no_more(extra)
    names = list(dict.fromkeys(options.format.split(",")))
    others = [name for name in names if name != "savedmodel"]
    if options.name is not None:
        verbs.check_model_name(options.name)
    if options.folder and Path(options.folder).is_file():
        raise verbs.UsageError(
            f"{options.folder} is a file: DIR is a folder, in which versions stand"
        )
    verbs.quiet()
    from mmkeras import run

    if others:
        _check(others)
    trained = run.open_folder(options.run_folder)
    try:
        rows = run.read_rows(trained)
    except FileNotFoundError as error:
        if others:
            raise
        verbs.log(f"warning: {error}; the answers are not compared with training")
        rows = None
    folder = options.folder or trained.export
    content, texts, code = {}, [], 0
    if "savedmodel" in names:
        found, text = _saved_model(trained, folder, rows, options.name)
        content |= found
        texts.append(text)
    if others:
        from mmkeras import formats

        found = formats.write(trained, folder, others, rows, log=verbs.log)
        content["formats"] = found
        texts.append(_formats_text(folder, found))
        code = 4 if found["refused"] else 0
    return verbs.Answer(content, "\n\n".join(texts), code)


def _check(names):
    from mmkeras import formats

    try:
        formats.check(names)
    except formats.FormatError as error:
        raise verbs.UsageError(f"--format: {error}") from error


def _saved_model(trained, folder, rows, name):
    """(what was found, text) of the SavedModel."""
    from mmkeras import export

    test = rows.split("test") if rows is not None else None
    path, found = export.saved_model(trained, folder, test, name=name, log=verbs.log)
    text = f"{path}\n"
    if found["rows"]:
        text += (
            f"{found['rows']} test rows answered by a process that has only "
            f"TensorFlow:\nat most {found['max_difference']:.1e} from the trained model"
        )
    else:
        text += "its answers were not compared: there is no test row that can be read"
    text += f"\nserve it: docker compose -f {path.parent / 'compose.yaml'} up"
    return {"path": str(path), **found}, text


def _formats_text(folder, found):
    """A table of the files, and why others are not there."""
    titles = ("most apart", "same class", "accuracy", "trained")
    lines = [["format", "file", "MB", "ms a row", *titles]]
    for each in found["files"]:
        ms = each["latency_ms"]
        shares = ("agreement", "accuracy", "trained_accuracy")
        lines.append(
            [
                each["what"],
                each["file"],
                f"{each['bytes'] / 2**20:.2f}",
                "" if ms is None else f"{ms:.2f}",
                f"{each['max_difference']:.1e}",
                *("" if each[key] is None else f"{each[key]:.1%}" for key in shares),
            ]
        )
    blocks = [f"{folder}/formats"] + ([verbs.aligned(lines)] if lines[1:] else [])
    blocks += [f"refused: {what}: {why}" for what, why in found["refused"].items()]
    return "\n".join(blocks)
