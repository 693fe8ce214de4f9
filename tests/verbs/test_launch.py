"""`mmkeras launch`: workers start together, are told apart, and end together."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmkeras import config, manifest, run, train
from mmkeras.verbs import launch

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--workers", "0", "--", "train", "r.yaml", "--run", "x"],
            "--workers 0: expe",
        ),
        (["--workers", "2"], "expected `train` after `--`"),
        (["--", "evaluate", "x"], "expected `train` after `--`"),
        (["--", "train", "r.yaml"], "name the folder that all workers share"),
    ],
)
def test_usage(call, arguments, told):
    code, out, err = call("launch", *arguments)
    assert code == 2 and told in err and not out


def test_every_worker_has_an_address_of_its_own():
    found = launch.free_addresses(8)
    assert len(set(found)) == 8
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", each) for each in found)


def test_a_failure_is_the_exit_code_and_each_line_tells_its_worker(call, tmp_path):
    missing = tmp_path / "missing.yaml"
    code, out, err = call("launch", "--", "train", missing, "--run", tmp_path / "run")
    assert code == 3 and not out
    assert f"] mmkeras train: no recipe at {missing}\n" in err
    assert re.search(
        r"mmkeras launch: worker [01] ended with exit code 3; the oth", err
    )


class Process:
    """A worker that ends when it is told to, with a code."""

    def __init__(self, name, code=None, heeds=True):
        self.name, self.code, self.heeds, self.got = name, code, heeds, []
        self.end = f"ended with exit code {code}"

    def send(self, number):
        self.got.append(number)
        if self.heeds or number == signal.SIGKILL:
            self.code = self.code if self.code is not None else 128 + number


def test_all_end_when_one_fails(monkeypatch, capsys):
    monkeypatch.setattr(launch, "TO_TELL", 0.0)
    monkeypatch.setattr(launch, "TO_END", 0.0)
    failed, heeds, deaf = (
        Process("worker 0", 4),
        Process("b"),
        Process("c", heeds=False),
    )
    assert launch.watch([heeds, failed, deaf]) == 4
    assert heeds.code == 128 + signal.SIGTERM and deaf.code == 128 + signal.SIGKILL
    assert "worker 0 ended with exit code 4; the others end" in capsys.readouterr().err
    assert launch.watch([Process("a", 0), Process("b", 0)]) == 0


def recipe_of(tmp_path, name):
    """The path of a recipe of tests/two_devices.py, and the recipe."""
    sys.path.insert(0, str(TESTS))
    try:
        import two_devices
    finally:
        sys.path.pop(0)
    recipe = two_devices.recipe_of(tmp_path, name, "auto")
    recipe.train.checkpoint_steps = 1
    recipe.train.learning_rate = 0.01
    path = tmp_path / f"{name}.yaml"
    path.write_text(config.dump(recipe), encoding="utf-8")
    return path, recipe


class Launched:
    """`mmkeras launch` with two workers, as a process; its lines as they come."""

    def __init__(self, *arguments):
        command = [
            sys.executable,
            "-m",
            "mmkeras.cli",
            "launch",
            "--workers",
            "2",
            "--",
        ]
        self.process = subprocess.Popen(
            [*command, "train", *map(str, arguments)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = []

    def until(self, text):
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return
        pytest.fail("".join(self.said[-20:]))

    def worker(self, number):
        """The process id of a worker."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in map(int, path.read_text().split()):
            told = Path(f"/proc/{child}/environ").read_bytes().decode()
            if f'"index": {number}' in told:
                return child
        raise LookupError(number)

    def end(self):
        out, err = self.process.communicate(timeout=400)
        return self.process.returncode, out, "".join(self.said) + err


def left(folder):
    made = run.open_folder(folder)
    with open(made.history_csv, newline="", encoding="utf-8") as file:
        history = [list(map(float, row.values())) for row in csv.DictReader(file)]
    return made.model.get_weights(), np.array(history)


def apart(one, two):
    pairs = zip([*one[0], one[1]], [*two[0], two[1]], strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


EPOCHS = 40


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(path of a recipe, the recipe, the folder of what two workers made of it)."""
    folder = tmp_path_factory.mktemp("plain")
    _, recipe = recipe_of(folder, "plain")
    recipe.train.epochs = EPOCHS
    path = folder / "plain.yaml"
    path.write_text(config.dump(recipe), encoding="utf-8")
    require_done(Launched(path, "--run", folder / "two"))
    return path, recipe, folder / "two"


def require_done(began):
    code, out, err = began.end()
    assert code == 0, err
    assert "report: " in out and "[worker 1] worker 1: done" in err
    return err


def require_equal(recipe, folder, two):
    """What two workers left is what one process gives."""
    rows = manifest.read(recipe.data)
    one = train.fit(recipe, rows, folder=folder, log=lambda _: None).folder
    assert apart(left(one), left(two)) < 1e-5
    assert {each.name for each in one.iterdir()} <= {
        each.name for each in two.iterdir()
    }


@pytest.mark.slow
def test_two_workers_equal_one_process(plain, tmp_path):
    _, recipe, two = plain
    require_equal(recipe, tmp_path / "one", two)


@pytest.mark.slow
def test_two_workers_equal_one_process_with_three_modalities(tmp_path):
    path, recipe = recipe_of(tmp_path, "digits")
    require_done(Launched(path, "--run", tmp_path / "two"))
    require_equal(recipe, tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_workers_that_are_ended_or_die_end_the_run_and_resume_completes_it(
    plain, tmp_path
):
    path, _, whole = plain
    more = ["--run", tmp_path / "run", "--resume"]
    asked = Launched(path, *more)
    asked.until(f"epoch 2/{EPOCHS}")
    asked.process.send_signal(signal.SIGTERM)
    code, _, err = asked.end()
    assert code == 143, err
    assert "[worker 0] To go on: mmkeras train" in err
    assert list((tmp_path / "run" / "checkpoints").glob("*.checkpoint"))
    killed = Launched(path, *more)
    killed.until(f"/{EPOCHS}  ")
    os.kill(killed.worker(1), signal.SIGKILL)
    code, _, err = killed.end()
    assert code == 1
    assert re.search(
        r"\[worker 0\] mmkeras train: worker 1 \(127.0.0.1:\d+\) no long", err
    )
    assert "with the same arguments and --resume" in err
    assert "mmkeras launch: worker 1 was ended by SIGKILL; the others end too" in err
    err = require_done(Launched(path, *more))
    assert "[worker 0] fusion: goes on at epoch" in err
    assert apart(left(whole), left(tmp_path / "run")) == 0
