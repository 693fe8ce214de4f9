"""One trial: `mmkeras train` in a process of its own.

So the memory of one trial is not that of the next, one that crashes ends alone, and
each leaves an ordinary run.
"""

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mmkeras.evaluate import headlines

RESULT = "trial.json"
# The one number by which trials are ranked; higher is better.
RANK = "score"


class TrialError(RuntimeError):
    """A trial that came to no end; the message says why."""


def result(folder, recipe_text, *, quick=False):
    """What a trial found; trained now where its folder does not hold it already.

    Args:
        folder: of the trial: its recipe, its run and its result.
        recipe_text: YAML of its recipe.
        quick: a hundred rows, one epoch.

    Returns:
        {"scores": {split: {score: number}}, "seconds", "peak_mb"}: of each split the
        first score of every target, and their mean as `RANK`.

    Raises:
        TrialError: it failed, or its process died.
        KeyboardInterrupt: Ctrl-C, after the trial has written a checkpoint.
    """
    folder = Path(folder)
    if found := _read(folder / RESULT):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe_text, encoding="utf-8")
    command = [sys.executable, "-m", "mmkeras.cli", "train", str(recipe), "--json"]
    command += ["--run", str(folder / "run"), "--resume", *["--quick"] * quick]
    began = time.monotonic()
    told, peak_mb = _run(command, folder / "run")
    found = {
        "scores": {split: _scores(judged) for split, judged in told.items()},
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": peak_mb,
    }
    (folder / RESULT).write_text(json.dumps(found, indent=2), encoding="utf-8")
    return found


def _read(path):
    """The result that a file holds; None where there is none or it is half written."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(path.read_text(encoding="utf-8"))


def _run(command, folder):
    """(what it printed as JSON, the most memory that it held, megabytes)."""
    # A group of its own: Ctrl-C is told to it once, by this process.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
    try:
        printed = process.stdout.read()
        process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)  # ends after a checkpoint
        try:
            process.wait()
        except KeyboardInterrupt:  # once more: at once
            process.kill()
            process.wait()
        raise
    finally:
        process.stdout.close()
    if process.returncode:
        raise TrialError(_fault(process.returncode))
    kept = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    return json.loads(printed), kept["fits"]["fusion"]["peak_memory_mb"]


def _fault(code):
    if code > 0:
        return f"its training ended with exit code {code}, for the reason told above"
    return f"its process was ended by {signal.Signals(-code).name}: out of memory?"


def _scores(judged):
    """{score: number}: the first of each target, and their mean, the trial's rank."""
    found = {key: judged[key] for key in headlines(judged).values()}
    return {RANK: statistics.fmean(found.values()), **found}
