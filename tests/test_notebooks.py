"""Every notebook is whole, small, runs, and shows what it gives today."""

import ast
import copy
import importlib.util
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location(
    "run_notebooks", HERE / "run_notebooks.py"
)
run_notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_notebooks)

PATHS = run_notebooks.paths()
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

ANSWER = re.compile(r"^(\w+) = None  #", re.MULTILINE)
MACHINE = re.compile(
    r"(?:^|[\s'\"(=])(?:/(?:home|Users|root|tmp|var|work|mnt|opt)/|[A-Z]:\\)"
)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """Source and outputs of a cell as text, without what is encoded in base64."""
    outputs = [str(output.get("data", output)) for output in cell.get("outputs", ())]
    return re.sub(r"[A-Za-z0-9+/=\n]{200,}", "", "\n".join([cell.source, *outputs]))


def notebook_of(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


def test_there_are_notebooks_and_they_are_numbered_in_order():
    numbers = [int(path.stem[:2]) for path in PATHS]
    assert numbers == list(range(1, len(PATHS) + 1))


def test_some_are_chosen_by_how_their_names_begin():
    assert run_notebooks.paths(["02", "01"]) == PATHS[:2]
    with pytest.raises(ValueError, match="no notebook begins with `3`. Found 01_from"):
        run_notebooks.paths(["01", "3"])


@each_notebook
def test_is_valid_and_small(path):
    nbformat.validate(run_notebooks.load(path))
    assert path.stat().st_size < 300_000


@each_notebook
def test_begins_with_goal_and_time(path):
    first = run_notebooks.load(path).cells[0]
    assert first.cell_type == "markdown"
    for word in ("# ", "**Goal.**", "**Time.**"):
        assert word in first.source, word


@each_notebook
def test_outputs_are_stored_from_one_run_in_order(path):
    cells = code_cells(run_notebooks.load(path))
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "make notebooks"
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert "display_data" in kinds, "no picture at all"


@each_notebook
def test_tells_nothing_of_the_machine_that_ran_it(path):
    notebook = run_notebooks.load(path)
    assert notebook.metadata == run_notebooks.METADATA
    for number, cell in enumerate(notebook.cells):
        text = shown(cell)
        assert "execution" not in cell.metadata
        for place in (str(run_notebooks.ROOT), tempfile.gettempdir() + "/"):
            assert place not in text, f"cell {number}"
        found = MACHINE.search(text)
        assert not found, f"cell {number}: {found.group()}"


@each_notebook
def test_defines_nothing_and_keeps_its_cells_short(path):
    made = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    for number, cell in enumerate(run_notebooks.load(path).cells):
        if cell.cell_type != "code":
            continue
        assert cell.source.count("\n") < 20, f"cell {number} is too long"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, made), (
                f"cell {number}: {type(node).__name__}; what a notebook needs and "
                "mmkeras lacks belongs into mmkeras"
            )


@each_notebook
def test_every_exercise_has_a_check_and_a_hidden_solution(path):
    cells = run_notebooks.load(path).cells
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        for name in ANSWER.findall(cell.source):
            assert "### Exercise" in cells[number - 1].source
            assert name in cells[number + 1].source
            assert "not yet" in "".join(run_notebooks.texts(cells[number + 1]))
            assert solution(cells, name)


def solution(cells, name):
    """The code that solves an exercise, from the fold behind it."""
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("<details>"):
            for code in re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL):
                if code.startswith(f"{name} = "):
                    return code
    return ""


# Cells behind see the random numbers that they would have seen without.
KEEP = "import random, numpy\n_kept = random.getstate(), numpy.random.get_state()"
RESTORE = "random.setstate(_kept[0]); numpy.random.set_state(_kept[1])"


def with_solutions(notebook):
    """A copy in which each check is asked again behind itself, of the solution."""
    cells = list(notebook.cells)
    for number, cell in reversed(list(enumerate(cells))):
        for name in ANSWER.findall(cell.source if cell.cell_type == "code" else ""):
            lines = [KEEP, solution(cells, name), cells[number + 1].source]
            source = "\n".join([*lines, f"{name} = None", RESTORE])
            solved = nbformat.v4.new_code_cell(source)
            solved.metadata["solves"] = name
            cells.insert(number + 2, solved)
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def test_a_solution_is_checked_behind_the_check():
    asked = notebook_of("n = None  # yours", "print('right' if n == 2 else 'not yet')")
    told = "<details>\n\n```python\nn = 2\n```\n\n</details>"
    asked.cells.append(nbformat.v4.new_markdown_cell(told))
    cells = with_solutions(asked).cells
    assert [cell.metadata.get("solves") for cell in cells] == [None, None, "n", None]
    assert f"n = 2\n\n{cells[1].source}\nn = None" in cells[2].source


@pytest.mark.slow
@each_notebook
def test_runs_gives_what_is_stored_and_the_solutions_are_right(path):
    stored = run_notebooks.load(path)
    fresh = run_notebooks.execute(with_solutions(stored))
    answers = [cell for cell in fresh.cells if "solves" in cell.metadata]
    fresh.cells = [cell for cell in fresh.cells if "solves" not in cell.metadata]
    fault = run_notebooks.difference(stored, fresh)
    assert not fault, fault
    for cell in answers:
        told = "\n".join(run_notebooks.texts(cell))
        assert re.findall(r"^right$", told, re.MULTILINE), cell.metadata.solves
        assert "not yet" not in told, cell.metadata.solves


def test_a_changed_text_is_told_with_its_cell_and_the_remedy():
    stored = notebook_of("1 + 1", "print(rows)")
    stored.cells[1].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="600 rows\n")
    ]
    fresh = copy.deepcopy(stored)
    assert run_notebooks.difference(stored, fresh) == ""
    fresh.cells[1].outputs[0].text = "599 rows\n"
    told = run_notebooks.difference(stored, fresh)
    for part in ("cell 1", "print(rows)", "-600 rows", "+599 rows", "make notebooks"):
        assert part in told


def test_addresses_times_pictures_and_stderr_are_not_compared():
    stored = notebook_of("model")
    output = nbformat.v4.new_output
    stored.cells[0].outputs = [
        output("stream", name="stdout", text="<A at 0x7f0011223344> 1s 20ms/step\n"),
        output("stream", name="stderr", text="epoch 1/3  2.3 s\n"),
        output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"}),
    ]
    fresh = copy.deepcopy(stored)
    first, second, third = fresh.cells[0].outputs
    first.text = "<A at 0x7f00aabbccdd> 12s 3ms/step\n"
    second.text = "epoch 1/3  9.9 s\n"
    third.data["image/png"] = "BBBB"
    assert run_notebooks.difference(stored, fresh) == ""
    third.data["text/plain"] = "<Other figure>"
    assert run_notebooks.difference(stored, fresh)


def test_runs_on_this_interpreter_and_writes_nothing_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = notebook_of(
        "import os, sys\nopen('left.txt', 'w').close()\nprint(sys.executable)",
        "print(os.getcwd())",
    )
    fresh = run_notebooks.execute(notebook)
    import sys

    assert run_notebooks.texts(fresh.cells[0]) == [sys.executable]
    assert run_notebooks.texts(fresh.cells[1]) == ["."]
    assert list(tmp_path.iterdir()) == []
    assert notebook.cells[0].outputs == []  # a copy was executed


def test_a_cell_that_raises_is_told_and_nothing_is_stored(tmp_path):
    path = tmp_path / "01_broken.ipynb"
    nbformat.write(notebook_of("1 / 0"), path)
    before = path.read_bytes()
    told = run_notebooks.check(path, store=True)
    assert "01_broken.ipynb: a cell raised ZeroDivisionError" in told
    assert path.read_bytes() == before
