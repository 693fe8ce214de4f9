"""A first recipe for rows of one's own: a folder with recipe, README and table."""

import codecs
import contextlib
import json
from pathlib import Path

import pandas as pd
import yaml

from mmkeras import config, templates
from mmkeras.manifest import tables
from mmkeras.recipe import NAME
from mmkeras.starter import gather, guess
from mmkeras.starter.gather import FolderError
from mmkeras.starter.guess import GuessError

__all__ = ["FolderError", "GuessError", "write"]

# Rows to be replaced; texts alone, so that they are a manifest that passes the check.
EXAMPLES = [
    {"id": f"row-{at:03}", "text": text, "label": label, "split": split}
    for at, (text, label, split) in enumerate(
        [
            ("a text, in any language", "cat", "train"),
            ("写中文也可以", "dog", "train"),
            ("it purrs", "cat", "valid"),
            ("it barks", "dog", "valid"),
            ("it purrs and meows", "cat", "test"),
            ("它在叫", "dog", "test"),
        ]
    )
]
COLUMNS = ["id", "text", "image", "audio", "label", "split"]
# What those rows are, said and not guessed: their pictures and sounds are yet to come.
TEMPLATE = guess.Guess(
    inputs={
        "text": {"kind": "text", "length": 32},
        "image": {"kind": "image", "size": 96},
        "audio": {"kind": "audio", "rate_hz": 16000, "clip_seconds": 2.0},
    },
    targets={"label": {"kind": "classification"}},
    told={
        "id": "a name of the row, told where something is wrong with it",
        "text": "the text itself",
        "image": "path of a picture, as images/001.jpg",
        "audio": "path of a sound, as sounds/001.wav",
        "label": "the answer",
        "split": "train, valid or test; without this column the rows are split for you",
    },
    columns={},
    keys={},
)
BRANCHES = {
    "text": ("lstm", "or transformer, bag, gru; kerashub: a pretrained BERT"),
    "image": ("cnn", "or vgg16, resnet50, mobilenet with ImageNet's weights, frozen"),
    "audio": ("cnn", "or gru, conformer; features: log_mel or mfcc"),
    "tabular": ("tokens", "or transformer"),
}
AUGMENT = {
    "image": "  image_shift: 0.05  # of the side; see also image_zoom, image_flip",
    "audio": "  audio_snr_db: 10  # white noise, 10 to 40 dB below the sound",
    "text": "  word_dropout: 0.1  # chance that a word is hidden",
}


def write(name, source=None, *, target=None, separator=None, encoding="utf-8"):
    """Writes a starter project.

    Args:
        name: of the project, its folder and its recipe; letters, digits, `_`, `.`, `-`.
        source: a CSV whose columns are looked at; or a folder of files in folders
            named after their label, of which `manifest.csv` is made in it; None: a
            table of six rows to be replaced.
        target: the CSV's column of the answer; None: by its name.
        separator: of the CSV's cells; None: the one that its first line has most of.
        encoding: of the CSV.

    Returns:
        (path of the recipe, path of the manifest, the `guess.Guess`).

    Raises:
        FileExistsError: the folder holds something, or the folder of files a manifest.
        FileNotFoundError: no such source.
        GuessError, FolderError, ManifestError: nothing can be made of the source.
        RecipeError: a name that a recipe cannot bear.
    """
    folder = _vacant(Path(name))
    columns, made, table = _rows(folder, source)
    written = {"separator": ",", "encoding": "utf-8"}
    if made is None:
        separator = separator or _separator(table, encoding)
        written = {"separator": separator, "encoding": encoding}
        frame = tables.read(table, **written).frame
        found = guess.columns(frame, table.parent, target)
    else:
        frame = pd.DataFrame(made, columns=columns).fillna("")
        found = guess.columns(frame, table.parent, target) if source else TEMPLATE
    text = _recipe(folder.name, table, found, written)
    config.parse(yaml.safe_load(text), source=f"the columns of {table.name}")
    folder.mkdir(parents=True, exist_ok=True)
    if made is not None:
        gather.write(table, columns, made)
    recipe = folder / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    page = _page(folder.name, recipe, table, frame, found)
    (folder / "README.md").write_text(page, encoding="utf-8")
    return recipe, table, found


def _vacant(folder):
    """The folder, of a name that servers can bear too, which holds nothing yet."""
    if not NAME.fullmatch(folder.name):
        raise config.RecipeError(
            f"the name `{folder.name}`: expected ASCII letters, digits, `_`, `.` and "
            "`-`, since servers and run folders bear it"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: choose another name")
    return folder


def _rows(folder, source):
    """(columns, rows to write or None, path of the table)."""
    if source is None:
        return COLUMNS, EXAMPLES, folder / "manifest.csv"
    source = Path(source)
    if source.suffix.lower() in (".csv", ".tsv") and not source.is_dir():
        return None, None, source
    columns, made = gather.rows(source)
    table = source / "manifest.csv"
    if table.exists():
        raise FileExistsError(
            f"{table} is there already: mmkeras new NAME --from {table}"
        )
    return columns, made, table


def _separator(table, encoding):
    """The likeliest separator of a CSV's cells, by its header."""
    if not table.is_file():
        raise FileNotFoundError(f"no file {table}")
    with open(table, "rb") as file:
        header = file.readline()
    known = "latin-1"  # where there is no such encoding, reading the table tells it
    with contextlib.suppress(LookupError):
        known = codecs.lookup(encoding).name
    return max(",;\t|", key=header.decode(known, "replace").count)


def _recipe(name, table, found, written):
    """The recipe's YAML, with what was guessed and why."""
    kinds = [choice["kind"] for choice in found.inputs.values()]
    told = {name: found.told.get(column) for name, column in found.columns.items()}
    told = found.told | told
    fill = {
        "title": f"{name}: {', '.join(found.inputs)} -> {', '.join(found.targets)}.",
        "name": name,
        "manifest": json.dumps(str(table), ensure_ascii=False),
        "inputs": _lines(found.inputs, told),
        "targets": _lines(found.targets, told),
        "extra": "\n".join(_extra(found, written)),
        "branches": "\n".join(
            f"  {key}: {{kind: {BRANCHES[choice['kind']][0]}}}"
            f"  # {BRANCHES[choice['kind']][1]}"
            for key, choice in found.inputs.items()
        ),
        "augment": "\n".join(
            [AUGMENT[kind] for kind in dict.fromkeys(kinds) if kind in AUGMENT]
            + ["  modality_dropout: 0.1  # chance that an input is hidden from a row"]
            * (len(kinds) > 1)
        )
        or "  {}",
    }
    return templates.filled("starter.yaml", fill).replace("\n\nbranches", "\nbranches")


def _extra(found, written):
    """Lines of the keys of `data` that are not as by default."""
    keys = {
        "columns": (found.columns, {}),
        "id": (found.keys.get("id", "id"), "id"),
        "split": (found.keys.get("split", "split"), "split"),
        "separator": (written["separator"], ","),
        "encoding": (written["encoding"], "utf-8"),
    }
    return [
        f"  {key}: {json.dumps(value, ensure_ascii=False)}"
        for key, (value, default) in keys.items()
        if value != default
    ]


def _lines(choices, told):
    """A line of YAML a column, its reason behind."""
    lines = []
    for key, choice in choices.items():
        text = yaml.safe_dump(
            choice, default_flow_style=True, sort_keys=False, width=999
        )
        why = f"  # {told[key]}" if key in told else ""
        lines.append(f"    {key}: {text.strip()}{why}")
    return "\n".join(lines)


def _page(name, recipe, table, frame, found):
    rows = f"{len(frame)} rows in `{table}`."
    if found is TEMPLATE:
        rows += " They are examples: put your own in their place."
    fill = {
        "name": name,
        "rows": rows,
        "recipe": recipe,
        "columns": "\n".join(f"| `{key}` | {why} |" for key, why in found.told.items()),
    }
    return templates.filled("starter.md", fill)
