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
    parser.add_argument(
        "--limit-mb",
        type=int,
        metavar="MB",
        help="that the media may take; rows of what is beyond keep their files",
    )
    verbs.set_argument(parser)


def run(options, extra):
    """Reads the manifest, decodes every file and writes it anew."""
    verbs.no_more(extra)
    if options.limit_mb is not None and options.limit_mb < 1:
        raise verbs.UsageError(
            f"--limit-mb {options.limit_mb}: expected megabytes from 1; leave it out "
            "for no limit"
        )
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

    done = transcode.write(recipe, rows, options.folder, limit_mb=options.limit_mb)
    content = {
        "manifest": str(done.manifest),
        "rows": done.rows.rows_read,
        "used": len(done.rows),
        "rejected": len(done.rows.rejected),
        "files": done.files,
        "kept": done.kept,
        "originals": done.originals,
    }
    told = (
        f"{done.rows.path.name}: {content['rows']} rows read, {content['used']} used, "
        f"{content['rejected']} refused; {done.files} files written, {done.kept} kept\n"
        f"{_beyond(done.originals, options.limit_mb)}"
        f"mmkeras train {options.recipe} --set data.manifest={done.manifest}"
    )
    return verbs.Answer(content, told)


def _beyond(count, limit_mb):
    """A line on files that had no room, if there are any."""
    if not count:
        return ""
    return (
        f"{count} files are beyond --limit-mb {limit_mb} and stay as they are: a "
        "larger limit, or none, writes them too\n"
    )
