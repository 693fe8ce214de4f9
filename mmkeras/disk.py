"""Files and folders that are whole or not there, locks that end with their process."""

import contextlib
import fcntl
import hashlib
import os
import shutil

# What a file is called while it is written.
PARTIAL = ".partial-"


@contextlib.contextmanager
def replacing(path, *, synced=True):
    """A name to write a file to that becomes `path` when it is whole and on disk.

    Whoever is killed meanwhile leaves the file that was there before.

    Args:
        path: a `pathlib.Path`.
        synced: whether to wait for the disk, milliseconds a file; without, a power cut
            (not a kill) may leave an empty file.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        yield partial
        if synced:
            _sync(partial)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def filling(folder):
    """A new folder to write files to that becomes `folder` when all are on disk.

    Where another process was faster, its folder stays. A kill leaves one whose name
    begins with `PARTIAL`, and never `folder`.

    Args:
        folder: a `pathlib.Path`; the folders above are made.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    partial = folder.with_name(f"{PARTIAL}{os.getpid()}-{folder.name}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        for path in partial.iterdir():
            _sync(path)
        if not folder.exists():
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def digest(path, beginning=b""):
    """A hash of a file's bytes: what has the same is the same file.

    By one thread: of files of tens of kilobytes, threads take longer than they save.

    Args:
        path: of the file.
        beginning: bytes that are hashed before those of the file.

    Returns:
        Hex of SHA-256.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.sha256(beginning))
    return found.hexdigest()


def locked(file):
    """Whether the system's lock on an open file could be taken, or there are none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks: no reason to fail there
        return True
    return True
