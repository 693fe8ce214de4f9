"""Files that are there when they are whole, and locks that end with their process."""

import contextlib
import fcntl
import os

# What a file is called while it is written.
PARTIAL = ".partial-"


@contextlib.contextmanager
def replacing(path):
    """A name to write a file to that becomes `path` when it is whole and on disk.

    Whoever is killed meanwhile leaves the file that was there before.

    Args:
        path: a `pathlib.Path`.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def locked(file):
    """Whether the system's lock on an open file could be taken, or there are none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks: no reason to fail there
        return True
    return True
