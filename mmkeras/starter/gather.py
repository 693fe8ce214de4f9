"""A folder of files, a folder a label -> the rows of a manifest."""

import csv
from pathlib import Path

from mmkeras import splits
from mmkeras.starter.guess import AUDIO, IMAGE

TEXT = (".txt",)
KINDS = {"text": TEXT, "image": IMAGE, "audio": AUDIO}


class FolderError(ValueError):
    """A folder from which no rows can be made; the message says what was expected."""


def rows(folder):
    """The rows that a folder's files make.

    A label is the folder that a file lies in, `<folder>/cat/001.jpg`; above it may be
    one a split, `<folder>/train/cat/001.jpg`. Files of one folder and one name but for
    their ending are one row: `001.jpg`, `001.wav` and `001.txt`, whose content is the
    text.

    Args:
        folder: path.

    Returns:
        (columns, a list of {column: cell}, in the order of their paths).

    Raises:
        FileNotFoundError: no such folder.
        FolderError: no picture, sound or text in folders below, or two files for one
            cell.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = next((k for k, ends in KINDS.items() if path.suffix.lower() in ends), "")
        parts = path.relative_to(folder).parts
        if not kind or len(parts) < 2 or any(part.startswith(".") for part in parts):
            continue
        row = found.setdefault(path.with_suffix(""), _placed(parts))
        if kind in row:
            raise FolderError(
                f"{path} and another {kind} beside it have one name: a row has one "
                "file of each kind, rename one of them"
            )
        text = path.read_text("utf-8", "replace") if kind == "text" else ""
        row[kind] = " ".join(text.split()) or Path(*parts).as_posix()
    if not found:
        endings = " ".join(end for ends in KINDS.values() for end in ends)
        raise FolderError(
            f"{folder} holds no files in folders named after their label, as "
            f"{folder}/cat/001.jpg. Files looked for: {endings}"
        )
    names = [name for name in KINDS if any(name in row for row in found.values())]
    split = ["split"] if any("split" in row for row in found.values()) else []
    return ["id", *names, "label", *split], list(found.values())


def write(path, columns, made):
    """Writes rows as a CSV; an empty cell is a missing modality.

    Raises:
        FileExistsError: there is a file already.
    """
    with open(path, "x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(made)


def _placed(parts):
    """Id, label and split of a file, by the folders it lies in."""
    *above, name = parts
    first = above[0].lower() if len(above) > 1 else ""
    split = splits.ALIASES.get(first, first)
    row = {"id": Path(*above, Path(name).stem).as_posix(), "label": above[-1]}
    return row | ({"split": split} if split in splits.SPLITS else {})
