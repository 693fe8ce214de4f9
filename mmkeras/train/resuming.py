"""A run that goes on: what its folder holds, and that one process alone writes it."""

import contextlib
import os
from pathlib import Path

from mmkeras import disk, run
from mmkeras.config import RecipeError
from mmkeras.manifest import ManifestError


def begun(folder, recipe):
    """The run that a folder holds, finished or not; None where it holds none yet.

    Args:
        folder: of the run.
        recipe: the `recipe.Recipe` that it is to go on with.

    Raises:
        RecipeError: the run was begun with another recipe; names the first key.
        ManifestError: the manifest has been changed since.
        FileExistsError: a file, or a folder with something else in it.
    """
    found = run.Run(folder)
    if not found.recipe_yaml.is_file():
        run.require_vacant(folder)
        return None
    then, now = (
        each.model_dump(by_alias=True, mode="json")
        for each in (found.recipe, run.resolved(recipe))
    )
    if then != now:
        key, old, new = _first_difference(then, now)
        raise RecipeError(
            f"{folder} was begun with another recipe: `{key}` is {old!r} there and "
            f"{new!r} here. Go on with the one it was begun with (mmkeras train "
            f"{found.recipe_yaml} --run {folder} --resume), or start anew in another "
            "folder: --run"
        )
    known = found.read_json(found.environment_json).get("manifest_sha256")
    if known and known != run.sha256(recipe.data.manifest):
        raise ManifestError(
            f"{recipe.data.manifest} has been changed since the run in {folder} "
            "began: its rows would not be the same. Start anew in another folder: --run"
        )
    return found


def _first_difference(one, two, path=""):
    """(key, value, other value) of the first key in which two nested dicts differ."""
    for key in [*one, *(key for key in two if key not in one)]:
        old, new = one.get(key), two.get(key)
        if old != new:
            own = f"{path}{key}"
            if isinstance(old, dict) and isinstance(new, dict):
                return _first_difference(old, new, f"{own}.")
            return own, old, new
    return None


@contextlib.contextmanager
def lock(folder):
    """Keeps every other process from training into a folder meanwhile.

    The lock is the system's and ends with the process that holds it, however it ends.

    Args:
        folder: made where it is not there, and taken away again where nothing was
            written into it.

    Raises:
        FileExistsError: another process holds it.
        NotWrittenError: the folder cannot be written.
    """
    folder = Path(folder)
    path, made = folder / run.LOCK, not folder.exists()
    with run.told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")
    with file:
        if not _locked(file):
            raise FileExistsError(
                f"{folder} is being written by another run, which holds {path}: wait "
                "for it, or name another folder with --run"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # something was written
                    folder.rmdir()


def _locked(file):
    """Whether the lock on an open file could be taken."""
    if not disk.locked(file):
        return False
    try:  # taken away by the one that held it, between our opening and locking it
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False
