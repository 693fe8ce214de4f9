"""`train.batch_size: auto`: the largest power of two whose steps fit into a budget.

Each size is measured by a process of its own that makes two steps of the recipe on all
rows: what a step needs cannot be told from shapes, and memory that a process once had
it does not give back.
"""

import json
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from mmkeras import config, distribution, run
from mmkeras.config import RecipeError
from mmkeras.manifest import ManifestError

AUTO = "auto"
# Rows a step that are measured first.
FIRST = (8, 32)
STEPS = 2
# Times the budget that the next size may seem to take and is measured all the same.
NEAR = 1.5
CODE = "import sys; from mmkeras.train import sizing; sizing.main(sys.argv[1])"
# What a process that measures may find wrong with recipe and rows, by name.
FAULTS = {
    kind.__name__: kind for kind in (RecipeError, ManifestError, FileNotFoundError)
}
# How a process ends that gets no more memory.
KILLED = (-signal.SIGKILL, -signal.SIGABRT)


def sized(recipe, rows, folder, log):
    """A recipe whose batch size is a number.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest`, all that is to be trained on.
        folder: of a run that may have been begun: its number is taken then; or None.
        log: called with a line of text for each size.

    Returns:
        (the recipe, without its `memory_limit_gb` if that is used up; what was
        measured, for `environment.json`, or None).

    Raises:
        RecipeError: several workers, or not even one row fits.
        ManifestError: see `train.fit`.
    """
    if recipe.train.batch_size != AUTO:
        return recipe, None
    if distribution.workers().count > 1:
        raise RecipeError(
            f"train.batch_size: {AUTO} is measured by one process, and TF_CONFIG names "
            "several workers: measure it on one of these machines, and write the number"
        )
    if folder and run.Run(folder).recipe_yaml.is_file():
        return with_size(recipe, run.Run(folder).recipe.train.batch_size), None
    limit_mb = recipe.train.memory_limit_gb * 2**10

    def measure(size):
        peak_mb = measured(with_size(recipe, size), rows)
        took = f"{peak_mb:,} MB" if peak_mb else "more memory than there is"
        log(f"train.batch_size: steps of {size} rows take {took}")
        return peak_mb

    size, known = largest(measure, limit_mb, len(rows.split("train")))
    log(f"train.batch_size: {size}")
    found = {"limit_mb": limit_mb, "peak_mb": {str(n): known[n] for n in sorted(known)}}
    return with_size(recipe, size), found


def with_size(recipe, size):
    """The recipe with a number for its batch size."""
    changes = {"batch_size": size, "memory_limit_gb": None}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def largest(measure, limit_mb, most):
    """The largest power of two that fits.

    Memory is taken to grow with the rows of a step as a line does, which says what to
    measure next; only what was measured is believed to fit.

    Args:
        measure: function of a size -> megabytes, None where there is not enough.
        limit_mb: of megabytes.
        most: rows there are.

    Returns:
        (the size, {size: megabytes or None} of all that were measured).

    Raises:
        RecipeError: not even a step of one row fits.
    """
    sizes = [2**power for power in range(max(most, 1).bit_length())]
    known = {min(size, sizes[-1]): None for size in FIRST}
    known = {size: measure(size) for size in known}
    while True:
        fits = [size for size, mb in known.items() if mb and mb <= limit_mb]
        low = max(fits, default=0)
        high = min((size for size in known if size not in fits), default=most + 1)
        between = [size for size in sizes if low < size < high]
        told = [size for size in between if _line(known, size) <= limit_mb]
        # Memory may grow in steps: what seems near is measured, else the smallest.
        near = [size for size in between[:1] if _line(known, size) <= NEAR * limit_mb]
        told = told or near or ([] if fits else between[:1])
        if not told:
            break
        known[told[-1]] = measure(told[-1])
    if fits:
        return low, known
    raise RecipeError(
        f"train.memory_limit_gb: {limit_mb / 2**10:g} GB hold no step of one row: it "
        f"takes {known[1] or 'more than there is'} MB, rows that are kept decoded "
        "included. Raise it, or keep fewer: data.cache_mb"
    )


def _line(known, size):
    """What a size should take, by a line through the two known ones about it."""
    told = sorted((rows, mb) for rows, mb in known.items() if mb)
    if len(told) < 2:
        return told[0][1] if told else float("inf")
    after = sum(rows < size for rows, _ in told)
    first = min(max(after - 1, 0), len(told) - 2)
    (one, least), (two, most) = told[first : first + 2]
    return least + max(most - least, 0) / (two - one) * (size - one)


def measured(recipe, rows):
    """Megabytes that a process holds at most which makes two steps of a recipe.

    Args:
        recipe: a `recipe.Recipe` with a number for its batch size.
        rows: a `manifest.Manifest`.

    Returns:
        Megabytes, of the GPU that needs most where there are any; None where the
        process was ended for want of memory.

    Raises:
        RecipeError, ManifestError, FileNotFoundError: as `train.fit` does.
        RuntimeError: the process failed for another reason.
    """
    changes = {
        "max_steps": STEPS,
        "frozen_epochs": 0,  # what is tuned later needs more than at first
        "checkpoint_steps": 0,
        "profile_steps": None,
        "time_limit_minutes": None,
        "trackers": (),
    }
    options = recipe.train.model_copy(update=changes)
    short = run.resolved(recipe.model_copy(update={"train": options}))
    with tempfile.TemporaryDirectory(prefix="mmkeras-") as folder:
        (Path(folder) / "recipe.yaml").write_text(config.dump(short), encoding="utf-8")
        (Path(folder) / "rows").write_bytes(pickle.dumps(rows))
        command = [sys.executable, "-c", CODE, folder]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode in KILLED:
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"steps of {recipe.train.batch_size} rows failed: {last}")
    told = json.loads(done.stdout.splitlines()[-1])
    if "fault" in told:
        raise FAULTS[told["fault"]](told["message"])
    return told["peak_mb"]


def main(folder):
    """The process that measures; tells as JSON.

    Args:
        folder: with `recipe.yaml` and `rows`.
    """
    from tensorflow.errors import ResourceExhaustedError

    from mmkeras.train import fit, measuring

    recipe = config.load(Path(folder) / "recipe.yaml")
    rows = pickle.loads((Path(folder) / "rows").read_bytes())
    try:
        fit(recipe, rows, folder=Path(folder) / "run", log=lambda line: None)
    except (MemoryError, ResourceExhaustedError):
        told = {"peak_mb": None}
    except tuple(FAULTS.values()) as error:
        told = {"fault": type(error).__name__, "message": str(error)}
    else:
        found = measuring.Measured().found
        gpus = found.get("peak_gpu_memory_mb", {}).values()
        told = {"peak_mb": max(gpus, default=found["peak_memory_mb"])}
    print(json.dumps(told))
