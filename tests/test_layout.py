"""Who may import whom: arrows point upstream only. The table is CONTRIBUTING.md's."""

import ast
import re
from pathlib import Path

import pytest

from mmkeras import families

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mmkeras"

LEVELS = {
    "families": 0,
    "splits": 0,
    "targets": 0,
    "modalities": 0,
    "layers": 0,
    "plots": 0,
    "progress": 0,
    "disk": 0,
    "proof": 0,
    "templates": 0,
    "digits": 0,
    "client": 0,
    "scores": 0,
    "manifest": 1,
    "recipe": 1,
    "sharing": 1,
    "augment": 1,
    "branches": 1,
    "fusion": 1,
    "config": 2,
    "space": 3,
    "starter": 3,
    "dataset": 2,
    "doctor": 3,
    "transcode": 3,
    "tasks": 2,
    "distribution": 3,
    "run": 3,
    "model": 3,
    "features": 4,
    "evaluate": 4,
    "export": 4,
    "explain": 5,
    "train": 5,
    "serving": 5,
    "answering": 5,
    "formats": 5,
    "tune": 6,
    "verbs": 7,
    "cli": 8,
}
MAY_IMPORT_TENSORFLOW = {
    "modalities",
    "dataset",
    "distribution",
    "augment",
    "transcode",
    "features",
    "train",
    "export",
    "proof",
    "serving",
    "formats",
    "explain",
    "doctor/opening.py",  # `check` of texts alone answers without
    "branches/hub.py",  # a SavedModel of TF Hub as a layer
    "evaluate/asking.py",  # rows that are changed on their way to a model
    "evaluate/disturbing.py",
    "tasks",  # only `serve`, which puts labels into the served graph
}
NAMELESS = set("utils helpers common misc base core types constants registry".split())
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(module, its line) of every import in a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "mmkeras":
                yield from ((f"mmkeras.{n.name}", node.lineno) for n in node.names)
            else:
                yield node.module or ".", node.lineno


def test_every_room_is_in_the_table():
    rooms = {room(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upstream(path):
    own = "cli" if path.stem == "__main__" else room(path)
    for module, line in imports(path):
        if not module.startswith("mmkeras."):
            continue
        other = module.split(".")[1]
        if other in (own, "__version__") or own == "__init__":
            continue
        assert LEVELS[other] < LEVELS[own], (
            f"{path.name}:{line}: {own} (level {LEVELS[own]}) imports {other} "
            f"(level {LEVELS[other]})"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tensorflow_and_matplotlib_stay_in_their_rooms(path):
    for module, line in imports(path):
        top = module.split(".")[0]
        where = f"{path.name}:{line}"
        if top == "tensorflow":
            own = str(path.relative_to(PACKAGE))
            assert {room(path), own} & MAY_IMPORT_TENSORFLOW, where
        if top == "matplotlib":
            assert room(path) == "plots", where


def test_the_plan_in_contributing_holds_the_same_table():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([a-z, ]+) \|$", text, re.MULTILINE)
    told = {name: int(level) for level, names in rows for name in names.split(", ")}
    assert told.pop("pipelines") == 8
    assert told == LEVELS


def test_sizes_and_names():
    assert len(list(PACKAGE.glob("*.py"))) <= 22
    for path in [*FILES, *(ROOT / "pipelines").glob("*.py")]:
        assert path.stem not in NAMELESS, path
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path} is too long: a concept is missing"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                size = node.end_lineno - node.lineno + 1
                assert size <= 50, f"{path.name}: {node.name} has {size} lines"


@pytest.mark.parametrize("family", families.FAMILIES)
def test_seven_options_at_most(family):
    for kind, options in families.kinds(family).items():
        assert len(options.model_fields) <= 7, kind


def test_importing_the_package_imports_no_tensorflow():
    import subprocess
    import sys

    code = (
        "import sys, mmkeras, mmkeras.cli, mmkeras.config, mmkeras.manifest; "
        "mmkeras.config.load(sys.argv[1]); "
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    recipe = str(ROOT / "pipelines" / "recipes" / "digits.yaml")
    done = subprocess.run(
        [sys.executable, "-c", code, recipe], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
