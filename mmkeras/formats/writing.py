"""The folder `formats` beside the versions: other formats, and their figures."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mmkeras import dataset, export, families, manifest, tasks
from mmkeras.formats import graph, making
from mmkeras.tasks.classification import Classification

FORMATS = tuple(making.MAKERS)
FOLDER, FIGURES = "formats", "formats.json"
# Rows that a format is asked, and on which eight bits are measured.
ASKED_ROWS, CALIBRATION_ROWS = 256, 128


class FormatError(ValueError):
    """A format that there is not."""


def check(names):
    """Refuses formats that there are not, or whose packages are not installed.

    Raises:
        FormatError: the first; names the nearest.
        ImportError: the second; names the extra.
    """
    for name in names:
        if name not in making.MAKERS:
            hint = families.nearest(name, FORMATS)
            raise FormatError(
                f"no format `{name}`: there are savedmodel, {', '.join(FORMATS)}{hint}"
            )
        maker = making.MAKERS[name]
        lacking = [p for p in maker.PACKAGES if not importlib.util.find_spec(p)]
        if lacking:
            raise ImportError(
                f"the format {name} needs {', '.join(lacking)}: pip install "
                f"'mmkeras[{maker.EXTRA}]'"
            )


def write(run, folder, names, rows, *, log=print):
    """Writes `folder/formats/`: files, and `formats.json`, what was measured of them.

    The folder of an earlier export is replaced: what stands there is of one run.

    Args:
        run: a `run.Run`.
        folder: where the versions stand, or nothing yet.
        names: of `FORMATS`.
        rows: a `manifest.Manifest`; its test rows are asked, and train rows calibrate
            eight bits.
        log: called with one line of text now and then.

    Returns:
        {"inputs": {key: [dtype, *shape of a row]}, "labels", "files": see
        `making.make`, those that are kept, "refused": {what: why}}.

    Raises:
        ManifestError: there is no test row that can be read.
        FormatError, ImportError: see `check`.
    """
    check(names)
    Path(folder).mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".formats-", dir=folder))
    found = {
        "inputs": making.told(run),
        "labels": run.labels,
        "files": [],
        "refused": {},
    }
    try:
        asked = _asked(run, rows, work, log)
        for name in names:
            log(f"export: making {name}, in a process of its own")
            _one(name, asked, work, found)
        target = work / FOLDER
        target.mkdir()
        for each in found["files"]:
            _keep(work / each["file"], target)
        run.write_json(target / FIGURES, found)
        with contextlib.suppress(FileNotFoundError):
            os.rename(Path(folder) / FOLDER, work / "before")
        os.rename(target, Path(folder) / FOLDER)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return found


def _asked(run, rows, work, log):
    """What `making` is given but for the format; rows and answers stand in `work`."""
    tensors, asked = _decoded(run, rows.split("test"), ASKED_ROWS, log)
    if not tensors:
        raise manifest.ManifestError(
            "formats are compared on test rows, and none of this manifest can be read"
        )
    outputs = run.model.predict(tensors, verbose=0)
    answers = export.answers(run.tasks, outputs)
    arrays = {
        "rows": tensors,
        "outputs": outputs,
        "answers": {
            key: value.numpy() for key, value in answers.items() if graph.is_number(key)
        },
        "calibration": _decoded(run, rows.split("train"), CALIBRATION_ROWS, log)[0],
        "truth": _truth(run, asked),
    }
    places = {name: str(work / f"{name}.npz") for name in arrays}
    for name, each in arrays.items():
        np.savez(places[name], **each)
    return {
        "run": str(run.folder),
        "folder": str(work),
        "rows": places["rows"],
        "expected": {name: places[name] for name in ("outputs", "answers")},
        "calibration": places["calibration"] if arrays["calibration"] else None,
        "truth": places["truth"],
    }


def _truth(run, rows):
    """The true classes, see `making.accuracy`: of outputs, and of what is served."""
    found = {}
    for target, task in run.tasks.items():
        if isinstance(task, Classification):
            truth, known = tasks.truth(task, list(rows.frame[target]))
            places = np.where(known, truth.argmax(axis=1), -1)
            found[target] = places
            found[export.served_as(run.tasks, target, "probabilities")] = places
    return found


def _decoded(run, rows, count, log):
    """At most so many rows from all over: ({key: (rows, ...) array}, which they are).

    The first is {} where none can be read.
    """
    places = np.unique(np.linspace(0, max(0, len(rows) - 1), count).astype(int))
    frame = rows.frame.iloc[places[: len(rows)]]
    rows = dataclasses.replace(rows, frame=frame, rejected=(), warnings=())
    loaded, faults = dataset.load(rows, run.decoders, cache_mb=run.recipe.data.cache_mb)
    if faults:
        log(f"export: left out {len(faults)} rows that cannot be read")
        rows = rows.reject(faults)
        if len(rows):
            return _decoded(run, rows, count, log)
    if not len(rows):
        return {}, rows
    (tensors,) = dataset.ordered(loaded, len(rows), len(rows))
    return {key: tensor.numpy() for key, tensor in tensors.items()}, rows


def _one(name, asked, work, found):
    """Makes one format, adds what came of it."""
    request = work / "asked.json"
    request.write_text(json.dumps({**asked, "format": name}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mmkeras.formats.making", str(request)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        found["refused"][name] = _reason(done)
        return
    for each in json.loads(done.stdout.splitlines()[-1]):
        why = each.pop("refused")
        if why:
            found["refused"][each["what"]] = why
        else:
            found["files"].append(each)


def _reason(done):
    """The last line of a traceback, or the signal that ended a converter."""
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"its converter broke down ({name})"
    lines = [line for line in done.stderr.splitlines() if line[:1].strip()]
    return lines[-1] if lines else f"its converter ended with {done.returncode}"


def _keep(path, target):
    """Moves a file, and the weights beside a `.xml`, to where it is looked for."""
    if path.suffix == ".xml":
        os.replace(path.with_suffix(".bin"), target / f"{path.stem}.bin")
    os.replace(path, target / path.name)
