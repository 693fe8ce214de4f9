"""Writes the media of a recipe once as its model reads them, and a manifest of them.

Pictures upright and at the model's size as PNG, sounds at its rate as WAV of 16 bits.
A run that was stopped goes on where it was. Train on them with
--set data.manifest=DIR/manifest.csv; refused rows stand in DIR/rejected.csv.
"""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("folder", metavar="DIR")
    verbs.set_argument(parser)


def run(options, extra):
    """Reads the manifest, decodes every file and writes it anew."""
    verbs.no_more(extra)
    from mmkeras import config, manifest

    recipe = config.load(options.recipe, options.set)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if rows.rejected and recipe.data.on_bad_row == "refuse":
        raise manifest.ManifestError(
            f"{len(rows.rejected)} of {rows.rows_read} rows cannot be used:\n"
            f"{rows.listed()}\nMend them, or leave them out: data.on_bad_row = drop"
        )
    verbs.quiet()
    from mmkeras import transcode

    done = transcode.write(recipe, rows, options.folder)
    content = {
        "manifest": str(done.manifest),
        "rows": done.rows.rows_read,
        "used": len(done.rows),
        "rejected": len(done.rows.rejected),
        "files": done.files,
        "kept": done.kept,
    }
    told = (
        f"{done.rows.path.name}: {content['rows']} rows read, {content['used']} used, "
        f"{content['rejected']} refused; {done.files} files written, {done.kept} kept\n"
        f"mmkeras train {options.recipe} --set data.manifest={done.manifest}"
    )
    return verbs.Answer(content, told)
