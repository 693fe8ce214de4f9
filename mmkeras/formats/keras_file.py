"""The plain `.keras` file, which `mmkeras.load_model` reads in safe mode."""

import shutil
import subprocess
import sys

import numpy as np

PACKAGES, EXTRA = (), ""
FILES = {"keras": "model.keras"}

# Nothing but `import mmkeras`, as somebody else's program has it.
ASK = """
import sys
import mmkeras, numpy
network = mmkeras.load_model(sys.argv[1])
with numpy.load(sys.argv[2]) as held:
    outputs = network(dict(held))
numpy.savez(sys.argv[3], **{key: numpy.asarray(one) for key, one in outputs.items()})
"""


def make(run, folder, calibration):
    """Copies the run's file; see `making`."""
    shutil.copyfile(run.model_file, folder / FILES["keras"])
    return FILES


def loaded(run, path):
    """A function {key: array} -> {target: array}, asked in a fresh process."""

    def ask(tensors):
        asked, told = path.with_name("asked.npz"), path.with_name("told.npz")
        np.savez(asked, **tensors)
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(path), str(asked), str(told)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        with np.load(told) as held:
            answers = dict(held)
        asked.unlink()
        told.unlink()
        return answers

    return ask
