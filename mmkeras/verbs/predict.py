"""Answers raw rows with a run, an exported folder, or a server.

Who is asked: a run's folder, an exported one, or a URL, http://host:port/v1/models/NAME
or grpc://... One row: an option for each input, as `--text "seven" --image 7.png
--audio 7.wav`, and for each column of a table, as `--age 31`; those left out are
missing. Many: `--manifest rows.csv` (or Parquet); the answers go to stdout as CSV, or
with `--out` to a file, whose parts are kept meanwhile: the same command goes on where
it was stopped.
"""

import time
from pathlib import Path

from mmkeras import families, verbs

# Sounds that no server reads: they are unpacked here, which needs TensorFlow.
COMPRESSED = {".flac", ".ogg", ".oga", ".opus", ".mp3"}


def arguments(parser):
    """Adds the options."""
    parser.add_argument("source", metavar="RUN|DIR|URL")
    parser.add_argument("--manifest", help="CSV or Parquet, with inputs as columns")
    parser.add_argument("--out", metavar="FILE", help="answers as .csv or .parquet")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="answers the I-th of N equal shares of the rows, as 2/8, into FILE-I-of-N",
    )
    parser.add_argument(
        "--rejected",
        metavar="FILE",
        help="CSV of rows that cannot be asked; the others are. Without it none is",
    )
    verbs.table_arguments(parser)
    verbs.server_arguments(parser)


def run(options, extra):
    """Asks."""
    shard = _shard(options)
    if options.manifest:
        verbs.no_more(extra)
    if options.out:
        _check_out(options.out, shard)
    if options.manifest:
        verbs.quiet()  # sounds are unpacked by what imports TensorFlow
    source = open_source(options, options.source)
    if not options.manifest:
        return answered_row(source, extra)
    rows = _rows(options, source)
    if options.out:
        with verbs.terminated():
            return _written(options, source, rows, shard)
    return _listed(source, rows)


def open_source(options, place):
    """Who is asked, a source of `answering`.

    Args:
        options: with those of `verbs.server_arguments`.
        place: a folder or a URL.
    """
    # REST alone needs no TensorFlow; the messages of gRPC import it.
    if not place.startswith("http") or options.export:
        verbs.quiet()
    from mmkeras import answering

    try:
        return answering.source(
            place,
            model=options.model,
            exported=options.export,
            timeout_seconds=options.timeout_seconds,
        )
    except ValueError as error:
        if answering.is_url(place):
            raise verbs.UsageError(str(error)) from error
        raise


def answered_row(source, extra):
    """The answer to one row.

    Args:
        source: of `answering`.
        extra: its cells, see `one_row`.
    """
    from mmkeras import answering

    answers = source.answer(one_row(extra, source.inputs, source.columns))
    row = answering.told(answers, 0, "", source)
    return verbs.Answer(row, answering.shown(row))


def _shard(options):
    """(which, of how many), of options that fit each other."""
    for name in ("out", "shard", "rejected", "separator", "encoding"):
        if getattr(options, name) and not options.manifest:
            raise verbs.UsageError(f"--{name} is for many rows: give --manifest too")
    if options.shard and not options.out:
        raise verbs.UsageError("--shard is for a file of answers: give --out too")
    if not options.shard:
        return 1, 1
    own, _, count = options.shard.partition("/")
    if not (own.isdecimal() and count.isdecimal() and 1 <= int(own) <= int(count)):
        raise verbs.UsageError(
            f"--shard takes I/N with I from 1 to N, as 2/8. Got {options.shard}"
        )
    return int(own), int(count)


def _check_out(out, shard):
    """Refuses a name before anything is loaded."""
    from mmkeras import answering

    try:
        answering.shard_path(out, shard)
    except answering.AnswersError as error:
        raise verbs.UsageError(str(error)) from error


def _rows(options, source):
    """The rows of the manifest that can be asked."""
    from mmkeras import answering, manifest

    keys = verbs.table_keys(options)
    rows = answering.questions(source, options.manifest, **keys)
    if options.rejected:
        rows.write_rejected(options.rejected)
        verbs.log(f"predict: {len(rows.rejected)} rows refused: {options.rejected}")
    elif rows.rejected:
        raise manifest.ManifestError(
            f"{len(rows.rejected)} of {rows.rows_read} rows cannot be asked:\n"
            f"{rows.listed()}\n"
            "Mend them, or let --rejected FILE have them and ask the others"
        )
    if not len(rows):
        raise manifest.ManifestError(f"no row of {options.manifest} can be asked")
    return rows


def _written(options, source, rows, shard):
    """Answers into a file."""
    from mmkeras import answering, progress

    source.ready()
    began = time.perf_counter()
    with progress.bar("predict", len(rows)) as advance:
        try:
            found = answering.write(
                source, rows, options.out, shard=shard, log=verbs.log, advance=advance
            )
        except answering.AnswersError as error:
            raise verbs.UsageError(str(error)) from error
    seconds = time.perf_counter() - began
    found["seconds"] = round(seconds, 3)
    text = f"{found['path']}\n{found['rows']} rows"
    if found["answered"]:
        rate = found["answered"] / seconds
        text += f", {found['answered']} of them answered in {seconds:.1f} s"
        text += f" ({rate:,.0f} a second)"
    if found["errors"]:
        text += f"\n{found['errors']} have an `error`: a file or number of theirs"
    return verbs.Answer(found, text)


def _listed(source, rows):
    """Answers on stdout."""
    import pandas as pd

    from mmkeras import answering

    told, tables = [], []
    for answers, at in answering.batched(source, rows):
        ids = rows.ids[at]
        told += [answering.told(answers, n, each, source) for n, each in enumerate(ids)]
        tables.append(answering.table(answers, ids, source))
    text = pd.concat(tables).to_csv(index=False, lineterminator="\n")
    return verbs.Answer(told, text.rstrip("\n"))


def one_row(extra, inputs, columns):
    """{served name: [bytes]} from `--column value` pairs.

    Args:
        extra: the words of the command.
        inputs: {input: the strings it takes}.
        columns: {name: what tables call it}, which is taken as well.
    """
    from mmkeras import answering

    known, files = {}, set()
    for name, served in inputs.items():
        is_file = answering.is_file(name, served)
        if is_file:
            files.add(f"--{name}")
        options = [name] if is_file else served
        known |= dict(zip((f"--{each}" for each in options), served, strict=True))
    called = {f"--{column}": f"--{name}" for name, column in columns.items()}
    given, left = {}, list(extra)
    while left:
        option, equals, value = left.pop(0).partition("=")
        option = called.get(option, option)
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
    if Path(value).suffix.lower() not in COMPRESSED:
        return Path(value).read_bytes()
    verbs.quiet()
    from mmkeras.answering import sources

    return sources.sent(value)
