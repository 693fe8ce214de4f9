"""Opens every file of a manifest, given itself or by a recipe, and looks at every row.

Every row is used or refused with its line, its column and the reason; exit code 4
where rows were refused, and with --strict also where anything is odd about the others.
A manifest alone is taken to have columns named text, image, audio, label, split and id
for what they say.
"""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RECIPE|MANIFEST")
    verbs.set_argument(parser)
    parser.add_argument(
        "--html", metavar="FILE", help="writes what was found as a page"
    )
    parser.add_argument(
        "--rejected", metavar="FILE", help="writes the refused rows, all cells, as CSV"
    )
    parser.add_argument(
        "--strict", action="store_true", help="warnings count as faults: exit code 4"
    )


def run(options, extra):
    """Reads the manifest, decodes every file."""
    verbs.no_more(extra)
    from mmkeras import doctor, manifest
    from mmkeras.doctor import pages

    recipe = _recipe(options.source, options.set)
    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if len(rows) and set(rows.inputs.values()) != {"text"}:
        verbs.quiet()  # texts alone are examined without TensorFlow
    health = doctor.examine(recipe, rows)
    if options.html:
        pages.write(options.html, health)
    if options.rejected:
        health.rows.write_rejected(options.rejected)
    bad = health.rows.rejected or (options.strict and health.warnings)
    return verbs.Answer(pages.content(health), _text(health), 4 if bad else 0)


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


def _text(health):
    from mmkeras.doctor import pages

    rows = health.rows
    lines = [verbs.aligned(pages.table(health)), ""]
    lines += [f"  {row}" for row in rows.rejected]
    lines += [f"  warning: {warning}" for warning in health.warnings]
    return "\n".join([*lines, pages.summary(rows)])
