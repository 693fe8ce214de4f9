"""Opens every file of a manifest, given itself or by a recipe, and reads its numbers.

Every row is used or refused with its line, its column and the reason; exit code 4
where rows were refused. A manifest alone is taken to have columns named text, image,
audio, label, split and id for what they say.
"""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RECIPE|MANIFEST")
    verbs.set_argument(parser)


def run(options, extra):
    """Reads the manifest, decodes every file."""
    verbs.no_more(extra)
    from mmkeras import manifest

    recipe = _recipe(options.source, options.set)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    rows = _open_files(recipe, rows)
    content = {
        "rows": rows.rows_read,
        "used": len(rows),
        "rejected": [
            {
                "line": row.line,
                "id": row.id,
                "column": row.column,
                "reason": row.reason,
            }
            for row in rows.rejected
        ],
        "warnings": list(rows.warnings),
    }
    return verbs.Answer(content, _text(rows), 4 if rows.rejected else 0)


def _recipe(source, overrides):
    """The recipe of that name, or the one that a manifest's own header suggests."""
    from mmkeras import config, manifest

    if source.lower().endswith((".yaml", ".yml")):
        return config.load(source, overrides)
    inputs = {"text": "text", "image": "image", "audio": "audio"}
    data = {"inputs": inputs, "targets": {"label": "classification"}}
    tree = {"name": "check", "data": {"manifest": source, **data}}
    # First for the separator and the encoding, which tell what the columns are.
    columns = manifest.header(config.parse(tree, overrides, source).data)
    # A file without any of the names is told so by `manifest.read`.
    data["inputs"] = {
        name: inputs[name] for name in inputs if name in columns
    } or inputs
    return config.parse({**tree, "data": tree["data"] | data}, overrides, source)


def _open_files(recipe, rows):
    if not len(rows) or set(rows.inputs.values()) <= {"text"}:
        return rows  # there is nothing that a text could lack, nor TensorFlow to load
    from mmkeras import dataset, modalities, progress

    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    files = {name: each for name, each in decoders.items() if each.is_file}
    with progress.bar("open", len(rows)) as advance:
        _, faults = dataset.load(rows, files, cache_mb=0, progress=advance)
    return rows.reject(dataset.faults(rows, decoders) | faults)


def _text(rows):
    from mmkeras.manifest import SPLITS

    lines = [f"  {row}" for row in rows.rejected]
    lines += [f"  warning: {warning}" for warning in rows.warnings]
    counts = rows.frame[rows.split_column].value_counts()
    splits = [f"{counts[name]} {name}" for name in SPLITS if name in counts]
    used = f"{len(rows)} used" + (f" ({', '.join(splits)})" if splits else "")
    lines.append(
        f"{rows.path.name}: {rows.rows_read} rows read, {used}, "
        f"{len(rows.rejected)} refused"
    )
    return "\n".join(lines)
