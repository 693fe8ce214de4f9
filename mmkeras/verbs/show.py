"""Prints the model of a recipe or a run: its parts, their shapes and parameters.

A recipe needs no data for that. Where its manifest is there, the vocabulary and the
classes are read from the train split, without opening a file; where it is not, the
output says what was assumed.
"""

from pathlib import Path

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RECIPE|RUN")
    verbs.set_argument(parser)
    parser.add_argument("--svg", metavar="FILE", help="also draws it")


def run(options, extra):
    """Builds the model, or reads what the run wrote of it."""
    verbs.no_more(extra)
    if options.svg and not Path(options.svg).absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder for --svg {options.svg}")
    if Path(options.source).is_dir():
        name, outline, notes = _of_run(options)
    else:
        name, outline, notes = _of_recipe(options)
    from mmkeras import plots

    sums = {
        key: sum(part[key] for part in outline) for key in ("parameters", "trainable")
    }
    content = {"name": name, **sums, "notes": notes, "parts": outline}
    if options.svg:
        plots.model(options.svg, outline)
        content["svg"] = options.svg
        notes = [*notes, f"diagram: {options.svg}"]
    # What a terminal shows is not always UTF-8.
    table = verbs.aligned(plots.parts(outline)).replace("×", "x")
    told = [name, _diagram(outline), table, *map(verbs.wrapped, notes)]
    return verbs.Answer(content, "\n\n".join(told))


def _of_run(options):
    """(name, outline, notes) of a run."""
    if options.set:
        raise verbs.UsageError(
            f"--set changes a recipe; {options.source} is a run. Try `mmkeras show "
            f"{options.source}/recipe.yaml --set ...`"
        )
    verbs.quiet()
    from mmkeras import model, run

    made = run.Run(options.source)
    if outline := made.read_json(made.parameters_json):
        return made.recipe.name, outline, []
    made = run.open_folder(options.source)
    note = (
        "This run has no parameters.json: the model was loaded, and what was frozen in "
        "training may be counted as trainable."
    )
    return made.recipe.name, model.outline(made.model, made.recipe), [note]


def _of_recipe(options):
    """(name, outline, notes) of a recipe."""
    from mmkeras import config

    recipe = config.load(options.source, options.set)
    rows, note = _rows(recipe)
    verbs.quiet()
    from mmkeras import modalities, model, tasks

    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    learning = {name: each for name, each in decoders.items() if not each.is_file}
    if rows:
        modalities.learn(learning, recipe.branches, rows.cells)
    for decoder in () if rows else learning.values():
        _fill(decoder)
    targets = recipe.data.targets
    # Two labels where none is known.
    known = rows.frame if rows else dict.fromkeys(targets, ["0", "1"])
    labels = tasks.learn(targets, known)
    built = model.build(
        _without_weights(recipe), decoders, tasks.make(recipe.data.targets, labels)
    )
    outline = model.outline(built, recipe)
    for part in outline:
        if part["part"] == "head" and not rows:
            part["assumed"] = True
    return recipe.name, outline, [note]


def _rows(recipe):
    """(the train rows, or None without a manifest; where the sizes are from)."""
    from mmkeras import manifest

    path = recipe.data.manifest
    try:
        rows = manifest.read(recipe.data, seed=recipe.train.seed).split("train")
    except FileNotFoundError:
        return None, (
            f"Without its data, {path} is not there: the vocabulary of a text is taken "
            "to be as large as its vocabulary_size allows, an upper bound, and targets "
            "to have two classes, marked `?`."
        )
    if not len(rows):
        raise manifest.ManifestError(f"{path} has no usable row in the train split")
    return rows, (
        f"Vocabulary and classes are those of {len(rows)} train rows of {path}, whose "
        "files were not opened."
    )


def _fill(decoder):
    """Without texts to learn of, the vocabulary is filled up with what is no word."""
    from mmkeras.modalities.text import Text

    decoder.learn([])
    if isinstance(decoder, Text) and not decoder.vectors_file:
        known = decoder.vocabulary
        count = decoder.vocabulary_size - len(known)
        decoder.vocabulary = [*known, *(f"word {number}" for number in range(count))]


def _without_weights(recipe):
    """The recipe with random weights: of the same shapes, and nothing is fetched."""
    branches = {
        name: {**options, "weights": None} if options.get("weights") else options
        for name, options in recipe.branches.items()
    }
    return recipe.model_copy(update={"branches": branches})


def _diagram(outline):
    """Inputs, fusion and heads side by side, joined by ASCII arrows."""
    inputs = [part["name"] for part in outline if part["part"] == "input"]
    parts = {(part["part"], part["name"]): _told(part) for part in outline}
    left = [
        [parts.get((part, name), "") for part in ("input", "backbone", "branch")]
        for name in inputs
    ]
    left = [_joined(line) for line in _columns(left)]
    right = [told for (part, _), told in parts.items() if part == "head"]
    rows = max(len(left), len(right))
    middle, fused = (rows - 1) // 2, f"--> {parts['fusion', '']} --"
    lines = []
    for row in range(rows):
        at, to = row - (rows - len(left)) // 2, row - (rows - len(right)) // 2
        line = left[at] + " --+" if 0 <= at < len(left) else " " * len(left[0]) + "    "
        line += fused if row == middle else " " * len(fused)
        line += f"+--> {right[to]}" if 0 <= to < len(right) else ""
        lines.append(line.rstrip())
    return "\n".join(lines)


def _told(part):
    """A part in a few words, as `image 32 x 32 x 3`."""
    from mmkeras import plots

    name = part["name"] if part["part"] in ("input", "head") else part["kind"]
    frozen = part["part"] == "backbone" and not part["trainable"]
    frozen &= "same_as" not in part
    told = f"{name} {plots.shape_text(part)}" + ", frozen" * frozen
    return told.strip().replace("×", "x")


def _columns(lines):
    """Cells of equal width; columns that are empty in all lines are left out."""
    columns = [column for column in zip(*lines, strict=True) if any(column)]
    padded = [
        [cell.ljust(max(map(len, column))) for cell in column] for column in columns
    ]
    return list(zip(*padded, strict=True))


def _joined(cells):
    """Cells with arrows between them, which run through empty ones."""
    line = cells[0]
    for cell in cells[1:]:
        line += f" --> {cell}" if cell.strip() else " ----" + "-" * len(cell)
    return line.replace("- -->", "---->")
