"""Answers raw rows with a run or an exported model.

One row: an option for each input, as `--text "seven" --image 7.png --audio 7.wav`;
inputs left out are missing. Many: `--manifest rows.csv`; the answers are CSV.
"""

import csv
import io
import json
from pathlib import Path

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RUN|DIR")
    parser.add_argument("--manifest", help="CSV of rows, with the inputs as columns")


def run(options, extra):
    """Asks the model."""
    from mmkeras import export

    source, names, labels = _open(options.source)
    if options.manifest:
        verbs.no_more(extra)
        ids, columns = _manifest_columns(options.manifest, names)
    else:
        ids, columns = [""], _one_row(extra, names)
    answers = export.answer(source, columns)
    rows = [_row(answers, at, ids[at], labels) for at in range(len(ids))]
    if options.manifest:
        return verbs.Answer(rows, _csv(rows))
    return verbs.Answer(rows[0], _text(rows[0]))


def _open(source):
    """(what `export.answer` takes, served names, {target: labels})."""
    from mmkeras import export

    folder = export.newest(source)
    if folder:
        labels = json.loads((folder / "assets.extra" / "labels.json").read_text())
        return folder, export.served_names(folder), labels
    from mmkeras import run

    trained = run.open_folder(source)
    return trained, [spec.name for spec in export.signature(trained)], trained.labels


def _input(served):
    return served.removesuffix("_bytes")


def _one_row(extra, names):
    """{served name: [bytes]} from `--input value` pairs."""
    known = {f"--{_input(served)}": served for served in names}
    given = {}
    for option, value in zip(extra[::2], [*extra[1::2], None], strict=False):
        option, equals, joined = option.partition("=")
        if option not in known or (value is None and not equals):
            raise verbs.UsageError(
                f"`{option}`: give a value to each of {', '.join(known)}"
            )
        given[known[option]] = joined if equals else value
    if not given:
        raise verbs.UsageError(
            f"nothing to answer: give --manifest, or {', '.join(known)}"
        )
    return {served: [_content(served, given.get(served, ""))] for served in names}


def _content(served, value):
    """What is sent for an input: the text, or what is in the file."""
    if not served.endswith("_bytes"):
        return value.encode("utf-8")
    if not value:
        return b""
    if not Path(value).is_file():
        raise FileNotFoundError(f"no file {value} for --{_input(served)}")
    return Path(value).read_bytes()


def _manifest_columns(path, names):
    from mmkeras import config, manifest

    kinds = {_input(s): "image" if s.endswith("_bytes") else "text" for s in names}
    data = config.Data(manifest=path, inputs=kinds, targets={})
    rows = manifest.read(data, targets_required=False)
    if rows.rejected:
        listed = "\n".join(f"  {row}" for row in rows.rejected[:10])
        raise manifest.ManifestError(
            f"{len(rows.rejected)} of {rows.rows_read} rows cannot be asked:\n{listed}"
        )
    columns = {
        served: [_content(served, cell) for cell in rows.cells(_input(served))]
        for served in names
    }
    return rows.ids, columns


def _row(answers, at, identity, labels):
    """One row's answer, its probabilities by label."""
    row = {"id": identity} if identity else {}
    for key, values in answers.items():
        value = values[at]
        if key.endswith("probabilities"):
            target = key.removesuffix("probabilities").rstrip("_")
            names = labels[target] if target else next(iter(labels.values()))
            row[key] = dict(zip(names, value.tolist(), strict=True))
        else:
            row[key] = value.decode() if isinstance(value, bytes) else value.tolist()
    return row


def _text(row):
    lines = []
    for key, value in row.items():
        if key.endswith("probabilities"):
            ranked = sorted(value.items(), key=lambda pair: -pair[1])[:5]
            value = ", ".join(f"{label} {share:.4f}" for label, share in ranked)
        if value != "":
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _csv(rows):
    plain = [
        {key: value for key, value in row.items() if not isinstance(value, dict)}
        for row in rows
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, plain[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue().rstrip("\n")
