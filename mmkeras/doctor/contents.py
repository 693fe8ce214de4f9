"""What cells hold, to tell equal ones apart from different ones: bytes, not names."""

import concurrent.futures
import functools
import hashlib
import os

import pandas as pd

from mmkeras.families import VALUES

# Bytes at which formats are known by their first ones.
HEAD = 16
MAGICS = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG"),
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("WebP", 8, b"WEBP"),
    ("WAV", 8, b"WAVE"),
)


def told(rows, name):
    """What each row's cell of an input holds.

    Args:
        rows: a `manifest.Manifest`, whose files can be opened.
        name: of the input.

    Returns:
        DataFrame indexed by line: `content`, equal where the cells hold the same (the
        bytes of files, the texts or values of others), "" where missing; `format` of
        files as their first bytes tell it, "" where unknown.
    """
    cells = rows.cells(name)
    if rows.inputs[name] in VALUES:
        content = list(map(_joined, cells))
        return pd.DataFrame({"content": content, "format": ""}, rows.frame.index)
    known = _of_files(sorted({cell for cell in cells if cell})) | {"": ("", "")}
    pairs = [known[cell] for cell in cells]
    return pd.DataFrame(pairs, rows.frame.index, ["content", "format"], dtype=object)


def _joined(cell):
    """A text, or several that stand for one; "" where all are empty."""
    if isinstance(cell, str):
        return cell
    return "\x1f".join(cell) if any(cell) else ""


def _of_files(paths):
    """{path: (content, format)}; only files of one size are read whole."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        heads = list(pool.map(functools.partial(_head, _magics()), paths))
        sizes = pd.Series([size for size, _ in heads], dtype="int64")
        alike = sizes.duplicated(keep=False).tolist()
        again = [path for path, twice in zip(paths, alike, strict=True) if twice]
        digests = dict(zip(again, pool.map(_digest, again), strict=True))
    return {
        path: (digests.get(path, path), head)
        for path, (_, head) in zip(paths, heads, strict=True)
    }


def _magics():
    """(format, place, first bytes) of all that is told apart."""
    # TensorFlow comes with it: asked for where there are files, not of texts alone.
    from mmkeras.modalities import compressed

    return *MAGICS, *((name, 0, magic[0]) for name, magic in compressed.MAGICS)


def _head(magics, path):
    """(size in bytes, format)."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
        size = os.fstat(file.fileno()).st_size
    found = (name for name, at, magic in magics if head[at:].startswith(magic))
    return size, next(found, "")


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
