"""Answers raw rows with a run or an exported model.

One row: an option for each input, as `--text "seven" --image 7.png --audio 7.wav`, and
for each column of a table, as `--age 31`; those left out are missing. Many: `--manifest
rows.csv`; the answers are CSV.
"""

import csv
import io
from pathlib import Path

from mmkeras import families, verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RUN|DIR")
    parser.add_argument("--manifest", help="CSV of rows, with the inputs as columns")


def run(options, extra):
    """Asks the model."""
    verbs.quiet()
    from mmkeras import export

    source, labels, inputs = _open(options.source)
    if options.manifest:
        verbs.no_more(extra)
        ids, columns = _manifest_columns(options.manifest, source, inputs)
    else:
        ids, columns = [""], one_row(extra, inputs)
    answers = export.answer(source, columns)
    rows = [told(answers, at, ids[at], labels, inputs) for at in range(len(ids))]
    if options.manifest:
        return verbs.Answer(rows, _csv(rows))
    return verbs.Answer(rows[0], shown(rows[0]))


def _open(source):
    """(what `export.answer` takes, {target: labels}, {input: served names})."""
    from mmkeras import export, run

    folder = export.newest(source)
    if folder:
        return folder, *export.assets(folder)
    trained = run.open_folder(source)
    return trained, trained.labels, export.inputs(trained)


def _is_file(name, served):
    return served == [f"{name}_bytes"]


def one_row(extra, inputs):
    """{served name: [bytes]} from `--column value` pairs."""
    known, files = {}, set()
    for name, served in inputs.items():
        if _is_file(name, served):
            files.add(f"--{name}")
        columns = [name] if _is_file(name, served) else served
        known |= dict(zip((f"--{each}" for each in columns), served, strict=True))
    given, left = {}, list(extra)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if option not in known:
            hint = families.nearest(option, known)
            raise verbs.UsageError(
                f"no input `{option}`. The model takes {', '.join(known)}{hint}"
            )
        if not equals and not left:
            raise verbs.UsageError(f"`{option}` needs a value after it")
        if option in given:
            raise verbs.UsageError(f"`{option}` is given twice")
        given[option] = value if equals else left.pop(0)
    if not given:
        raise verbs.UsageError(
            f"nothing to answer: give --manifest, or {', '.join(known)}"
        )
    return {
        served: [_content(given.get(option, ""), option if option in files else "")]
        for option, served in known.items()
    }


def _content(value, file_of=""):
    """What is sent: the text, or what is in the file where it is an option's path."""
    if not file_of:
        return value.encode("utf-8")
    if not value:
        return b""
    if not Path(value).is_file():
        raise FileNotFoundError(f"no file {value} for {file_of}")
    return Path(value).read_bytes()


def _manifest_columns(path, source, inputs):
    from mmkeras import manifest
    from mmkeras.recipe import Data

    if isinstance(source, Path):
        # What each input is does not matter here, but whether its cells name files.
        read = {
            name: {"kind": "image"}
            if _is_file(name, served)
            else {"kind": "text", "columns": served}
            for name, served in inputs.items()
        }
        data = Data(manifest=path, inputs=read, targets={})
    else:
        data = source.recipe.data.model_copy(update={"manifest": path})
    rows = manifest.read(data, targets_required=False)
    if rows.rejected:
        listed = "\n".join(f"  {row}" for row in rows.rejected[:10])
        raise manifest.ManifestError(
            f"{len(rows.rejected)} of {rows.rows_read} rows cannot be asked:\n{listed}"
        )
    columns = {}
    for name, served in inputs.items():
        if _is_file(name, served):
            paths = rows.cells(name)
            columns[served[0]] = [_content(path, f"--{name}") for path in paths]
        else:
            columns |= {key: list(map(_content, rows.frame[key])) for key in served}
    return rows.ids, columns


def told(answers, at, identity, labels, inputs):
    """One row's answer: probabilities by label, presence by input."""
    row = {"id": identity} if identity else {}
    for key in sorted(answers, key=_rank):
        value = answers[key][at]
        if key.endswith("probabilities"):
            target = key.removesuffix("probabilities").rstrip("_")
            names = labels[target] if target else next(iter(labels.values()))
            row[key] = dict(zip(names, value.tolist(), strict=True))
        elif key == "present":
            row[key] = dict(zip(inputs, value.tolist(), strict=True))
        else:
            row[key] = value.decode() if isinstance(value, bytes) else value.tolist()
    return row


# What is told of a target, in this order, and thereafter of the row.
OF_TARGET = ("label", "labels", "value", "probability", "abstained", "similarity")
OF_TARGET += ("probabilities", "embedding")
OF_ROW = ("present", "error")


def _rank(key):
    """The label first, what went wrong last."""
    target, _, end = key.rpartition("_")
    ends = OF_TARGET + OF_ROW
    return (end in OF_ROW, target, ends.index(end) if end in ends else len(ends))


def _is_long(key):
    """Whether an answer is one number of many: no cell of a table."""
    return key.rpartition("_")[2] in ("probabilities", "embedding")


def _missing(row):
    return " ".join(name for name, present in row["present"].items() if not present)


def shown(row):
    """The answer of `told` for people, a line a key."""
    lines = []
    for key, value in row.items():
        if key.endswith("probabilities"):
            ranked = sorted(value.items(), key=lambda pair: -pair[1])[:5]
            value = ", ".join(f"{label} {share:.4f}" for label, share in ranked)
        elif key == "present":
            key, value = "missing", _missing(row)
        elif key.endswith("embedding"):
            value = f"{len(value)} numbers, see --json"
        elif isinstance(value, float):
            value = f"{value:.4f}"
        if value != "":
            lines.append([key, value])
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:{width}}  {value}" for key, value in lines)


def _csv(rows):
    plain = []
    for row in rows:
        cells = {**row, "present": _missing(row)}
        plain.append(
            {
                "missing" if key == "present" else key: cell
                for key, cell in cells.items()
                if not _is_long(key)
            }
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, plain[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue().rstrip("\n")
