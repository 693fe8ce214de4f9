"""Writes a first recipe for rows of your own, and a README of what to do with it.

FROM is a CSV, whose columns are looked at, or a folder of files in folders named after
their label (photos/cat/001.jpg; photos/train/cat/001.jpg), for which manifest.csv is
written; files of one name, as 001.jpg, 001.wav and 001.txt, are one row. Without it
a table of examples is written, to be replaced.
"""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("name", metavar="NAME", help="folder to make")
    parser.add_argument("--from", dest="source", metavar="CSV|FOLDER")
    parser.add_argument("--target", metavar="COLUMN", help="of the answer")
    parser.add_argument(
        "--separator",
        metavar="CHARACTER",
        help="of the CSV's cells; without it the one that its header has most of",
    )
    parser.add_argument(
        "--encoding", default="utf-8", help="of the CSV, as gb18030 or cp1252"
    )


def run(options, extra):
    """Writes the project."""
    verbs.no_more(extra)
    from mmkeras import starter

    recipe, table, found = starter.write(
        options.name,
        options.source,
        target=options.target,
        separator=options.separator,
        encoding=options.encoding,
    )
    content = {
        "recipe": str(recipe),
        "manifest": str(table),
        "inputs": found.inputs,
        "targets": found.targets,
        "columns": found.told,
    }
    width = max(map(len, found.told))
    lines = [f"{name:{width}}  {why}" for name, why in found.told.items()]
    lines += ["", f"recipe: {recipe}", f"rows:   {table}"]
    lines.append(f"Look it over, then: mmkeras check {recipe}")
    return verbs.Answer(content, "\n".join(lines))
