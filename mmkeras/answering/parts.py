"""A file of answers: written in parts, joined when all are there.

Beside `answers.parquet` stands `.answers.parquet.parts/` meanwhile: one file for each
`PART_ROWS` rows, each written under another name and then renamed, and `asked.json`,
what the answers are to. Whoever is killed leaves whole parts, and whoever asks the same
again goes on behind them: every row is answered once.
"""

import contextlib
import hashlib
import itertools
import json
import shutil
from pathlib import Path

import pandas as pd

from mmkeras import __version__, disk
from mmkeras.answering import asking, telling

# What is lost at most by a kill.
PART_ROWS = 512
PARQUET, CSV = (".parquet", ".pq"), (".csv",)


class AnswersError(ValueError):
    """A file of answers that cannot be written, or gone on with."""


def shard_path(out, shard):
    """Where a shard's answers stand.

    >>> str(shard_path("a.parquet", (2, 16)))
    'a-02-of-16.parquet'

    Raises:
        AnswersError: the name's ending is of no known format.
        ImportError: Parquet without pyarrow.
    """
    out, (own, count) = Path(out), shard
    if out.suffix.lower() not in PARQUET + CSV:
        raise AnswersError(
            f"--out {out}: expected a name that ends in .csv or .parquet"
        )
    if out.suffix.lower() in PARQUET:
        _pyarrow(out)
    if count == 1:
        return out
    return out.with_name(f"{out.stem}-{own:0{len(str(count))}}-of-{count}{out.suffix}")


def span(rows, shard):
    """(first row, the row after the last) of a shard; they differ by one row at most.

    >>> [span(10, (own, 3)) for own in (1, 2, 3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    own, count = shard
    return (own - 1) * rows // count, own * rows // count


def write(
    source, rows, out, *, shard=(1, 1), log=print, advance=lambda done, total: None
):
    """Answers rows into a CSV or Parquet file, which is there when it is whole.

    Args:
        source: who answers, see `sources`.
        rows: a `manifest.Manifest`, see `asking.questions`.
        out: the file, of a shard see `shard_path`; an older one is replaced.
        shard: (which, of how many), from 1 on: neighbouring rows, so that the shards'
            files one after another are the answers to all rows.
        log: called with one line of text where parts are found.
        advance: called with (rows answered, all rows) now and then.

    Returns:
        {"path", "rows": in the file, "answered": now and not earlier, "errors": rows
        whose `error` is not empty}.

    Raises:
        AnswersError: parts of other answers are in the way, or another process writes
            this file, or the shard has no row.
        FileNotFoundError: a row's file, or the folder of `out`, is not there.
    """
    out = shard_path(out, shard)
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.parent}")
    start, stop = span(len(rows), shard)
    if start == stop:
        raise AnswersError(
            f"shard {shard[0]} of {shard[1]} has no row: there are {len(rows)}"
        )
    with _held(_folder(out), _question(source, rows, start, stop)) as folder:
        firsts = range(0, stop - start, PART_ROWS)
        parts = [folder / f"{first:09}{out.suffix}" for first in firsts]
        had = len(list(itertools.takewhile(Path.is_file, parts)))
        before = min(had * PART_ROWS, stop - start)
        if had:
            log(f"predict: {before} of {stop - start} rows were answered before")
        for done in _fill(parts[had:], source, rows, (start + before, stop)):
            advance(before + done, stop - start)
        errors = _join(parts, out)
    shutil.rmtree(folder)
    return {
        "path": str(out),
        "rows": stop - start,
        "answered": stop - start - before,
        "errors": errors,
    }


def _fill(parts, source, rows, todo):
    """Asks rows from one to another; yields how many are kept, after each part."""
    start, stop = todo
    done = 0
    batches = asking.answered(source, rows, start=start, stop=stop, part_rows=PART_ROWS)
    with contextlib.closing(batches):
        for part in parts:
            first = start + done
            ids = rows.ids[first : min(first + PART_ROWS, stop)]
            _write_part(part, source, ids, batches)
            done += len(ids)
            yield done


def _folder(out):
    return out.with_name(f".{out.name}.parts")


def _question(source, rows, start, stop):
    """What the answers are to; parts of anything else are not gone on with."""
    ids = "\n".join(rows.ids[start:stop]).encode("utf-8")
    return {
        "model": source.identity,
        "manifest": hashlib.sha256(rows.path.read_bytes()).hexdigest(),
        "rows": [start, stop, hashlib.sha256(ids).hexdigest()],
        "mmkeras": __version__,
    }


@contextlib.contextmanager
def _held(folder, question):
    """The folder of parts, this process's alone, and of this question alone."""
    folder.mkdir(exist_ok=True)
    asked = folder / "asked.json"
    with open(folder / ".lock", "w") as lock:
        if not disk.locked(lock):
            raise AnswersError(
                f"another process writes into {folder}: let it end, or name another "
                "--out"
            )
        had = json.loads(asked.read_text("utf-8")) if asked.is_file() else question
        if changed := [key for key in question if had.get(key) != question[key]]:
            raise AnswersError(
                f"{folder} holds parts of other answers: changed since is the "
                f"{', the '.join(changed)}. Delete that folder, or name another --out"
            )
        with disk.replacing(asked) as partial:
            partial.write_text(json.dumps(question), encoding="utf-8")
        yield folder


def _write_part(path, source, ids, batches):
    """Takes as many batches as the rows of a part have."""
    is_table = path.suffix.lower() in PARQUET
    tables, done = [], 0
    while done < len(ids):
        answers = next(batches)
        count = len(next(iter(answers.values())))
        own = ids[done : done + count]
        tables.append(telling.table(answers, own, source, long=is_table))
        done += count
    whole = pd.concat(tables, ignore_index=True)
    with disk.replacing(path) as partial:
        if is_table:
            whole.to_parquet(partial, engine="pyarrow", index=False)
        else:
            whole.to_csv(partial, index=False, lineterminator="\n")


def _join(parts, out):
    """Writes the parts as one file, part by part; how many rows have an `error`."""
    with disk.replacing(out) as partial:
        if out.suffix.lower() in PARQUET:
            return _join_parquet(parts, partial)
        errors = 0
        with open(partial, "w", encoding="utf-8", newline="") as file:
            for at, part in enumerate(parts):
                read = pd.read_csv(part, dtype=str, keep_default_na=False)
                errors += sum(map(bool, read.get("error", ())))
                read.to_csv(file, header=at == 0, index=False, lineterminator="\n")
    return errors


def _join_parquet(parts, partial):
    import pyarrow.parquet

    errors, writer = 0, None
    for part in parts:
        read = pyarrow.parquet.read_table(part)
        writer = writer or pyarrow.parquet.ParquetWriter(partial, read.schema)
        writer.write_table(read)
        if "error" in read.column_names:  # of a model that mmkeras exported
            errors += sum(map(bool, read["error"].to_pylist()))
    writer.close()
    return errors


def _pyarrow(out):
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"--out {out} is Parquet, which needs: pip install 'mmkeras[parquet]'"
        ) from error
