"""Runs every notebook: stores its outputs, or compares them with those stored.

    python tests/run_notebooks.py              # fails where an output is out of date
    python tests/run_notebooks.py --write      # stores them: `make notebooks`
    python tests/run_notebooks.py 02 --write   # of those whose names begin so

Each runs on a fresh kernel of this very interpreter, in a folder that is deleted
afterwards, and sees no settings of the user.
"""

import argparse
import base64
import difflib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CELL_SECONDS = 300  # the slowest cell of a slow machine
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What TensorFlow's C++ says about the machine, whatever TF_CPP_MIN_LOG_LEVEL is.
MACHINE_LOG = re.compile(
    r"^(?:WARNING: All log messages before absl|[IWEF]\d{4} \d\d:\d\d).*\n?",
    re.MULTILINE,
)
# Where an object lies in memory, and how long Keras took: they never come twice.
PASSING = re.compile(r"0x[0-9a-f]{6,}|\b\d+(?:ms|us|s)\b(?:/(?:step|epoch))?")


def paths(beginnings=("",)):
    """The notebooks whose names begin with one of these, in the order of their names.

    Raises:
        ValueError: one of the beginnings is that of no notebook.
    """
    for each in beginnings:
        if not any(FOLDER.glob(f"{each}*.ipynb")):
            names = ", ".join(path.stem for path in sorted(FOLDER.glob("*.ipynb")))
            raise ValueError(f"no notebook begins with `{each}`. Found {names}")
    found = sorted(FOLDER.glob("*.ipynb"))
    return [path for path in found if path.stem.startswith(tuple(beginnings))]


def load(path):
    """A notebook as it is stored."""
    return nbformat.read(path, as_version=4)


def execute(notebook):
    """A copy of a notebook with fresh outputs.

    Raises:
        CellExecutionError: a cell raised, or took more than `CELL_SECONDS`.
    """
    fresh = nbformat.from_dict(json.loads(json.dumps(notebook)))
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        work = Path(folder).resolve()
        (work / "run").mkdir()
        client = NotebookClient(
            fresh,
            km=_kernel(work),
            timeout=CELL_SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(work / "run")}},
        )
        environment = os.environ | {
            "IPYTHONDIR": str(work / "ipython"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        client.execute(env=environment)
        return _tidy(fresh, str(work / "run"))


def _kernel(work):
    """A kernel of this interpreter, whatever kernels are installed."""
    spec = work / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    command += ["--log-level=ERROR"]  # it warns that local sockets are not encrypted
    described = {"argv": command, "display_name": "Python 3", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(described), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(work / "kernels")])
    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=specs,
        connection_file=str(work / "connection.json"),
    )


def _tidy(notebook, work):
    """Leaves out what tells of the machine and the moment."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        kept = []
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = MACHINE_LOG.sub("", output.text).replace(work, ".")
                if not output.text:
                    continue
            elif "image/png" in output.get("data", ()):
                output.data["image/png"] = _small(output.data["image/png"])
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def _small(png):
    """A PNG in base64 with 256 colours: a third of the bytes, no difference to see."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    written = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode("ascii")


def texts(cell):
    """What a reader sees as text below a cell, a list of str to compare.

    Pictures count by their one-line description: their bytes differ between releases
    of a library. Logs and progress, all of stderr, do not count.
    """
    found = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream" and output.name == "stdout":
            found.append(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            found.append(output.data.get("text/plain", ""))
    return [PASSING.sub("_", text).rstrip() for text in found]


def difference(stored, fresh):
    """The first cell with other outputs than stored, in words; "" where none is."""
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        before, now = "\n".join(texts(old)), "\n".join(texts(new))
        if before == now:
            continue
        lines = difflib.unified_diff(
            before.splitlines(), now.splitlines(), "stored", "now", lineterm="", n=1
        )
        return (
            f"cell {number} (In [{new.execution_count}]), which begins\n"
            f"    {new.source.splitlines()[0]}\n"
            "gives another output than the one stored:\n"
            + "\n".join(f"    {line}" for line in lines)
            + "\nIf the new one is right: make notebooks"
        )
    return ""


def check(path, *, store=False):
    """Executes a notebook and compares its outputs with those stored.

    Args:
        path: of the notebook.
        store: store the outputs instead, where no cell raises.

    Returns:
        What is wrong, in words; "" where nothing is.
    """
    stored = load(path)
    try:
        fresh = execute(stored)
    except CellExecutionError as error:
        return f"{path.name}: a cell raised {error.ename}: {error.evalue}\n{error}"
    if store:
        nbformat.write(fresh, path)
        return ""
    fault = difference(stored, fresh)
    return f"{path.name}, {fault}" if fault else ""


def main(arguments=None):
    """Gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the outputs")
    parser.add_argument("names", nargs="*", help="how their names begin; none: all")
    options = parser.parse_args(arguments)
    try:
        chosen = paths(options.names or [""])
    except ValueError as error:
        parser.error(str(error))
    faults = 0
    for path in chosen:
        fault = check(path, store=options.write)
        faults += bool(fault)
        done = "outputs stored" if options.write else "outputs up to date"
        print(fault or f"{path.name}: {done}, {path.stat().st_size / 1000:.0f} kB")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
