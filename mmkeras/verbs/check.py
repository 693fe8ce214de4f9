"""Opens every file of a manifest, given itself or by a recipe.

Every row is used or refused with its line, its column and the reason; exit code 4
where rows were refused. A manifest alone is taken to have columns named text, image,
audio, label, split and id for what they say.
"""

import csv

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RECIPE|MANIFEST")
    verbs.set_argument(parser)


def run(options, extra):
    """Reads the manifest, decodes every file."""
    verbs.no_more(extra)
    from mmkeras import config, manifest

    if options.source.endswith((".yaml", ".yml")):
        recipe = config.load(options.source, options.set)
    else:
        recipe = config.parse(_guess(options.source), options.set, options.source)
    labelled = bool(recipe.data.targets)
    rows = manifest.read(recipe.data, targets_required=labelled)
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


def _guess(path):
    """The recipe that a manifest's own header suggests."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    names = [name.strip() for name in header]
    inputs = {name: name for name in ("text", "image", "audio") if name in names}
    return {
        "name": "check",
        "data": {
            "manifest": path,
            # A file without any of the names is told so by `manifest.read`.
            "inputs": inputs or {"text": "text", "image": "image", "audio": "audio"},
            "targets": {"label": "classification"},
        },
    }


def _open_files(recipe, rows):
    from mmkeras import dataset, modalities, progress

    decoders = modalities.make(recipe.data.inputs)
    files = {name: each for name, each in decoders.items() if each.is_file}
    if not files or not len(rows):
        return rows
    with progress.bar("open", len(rows)) as advance:
        _, faults = dataset.load(rows, files, cache_mb=0, progress=advance)
    return rows.reject(faults)


def _text(rows):
    lines = [f"  {row}" for row in rows.rejected]
    lines += [f"  warning: {warning}" for warning in rows.warnings]
    counts = rows.frame[rows.split_column].value_counts()
    splits = ", ".join(f"{counts.get(name, 0)} {name}" for name in counts.index)
    lines.append(
        f"{rows.path.name}: {rows.rows_read} rows read, {len(rows)} used ({splits}), "
        f"{len(rows.rejected)} refused"
    )
    return "\n".join(lines)
