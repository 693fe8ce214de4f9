import json
import subprocess
import sys

import pytest

from mmkeras import cli, config
from mmkeras.tune import trial

DIGITS = config.shipped("digits.yaml")


@pytest.fixture
def tune(call):
    def called(*arguments):
        return call("tune", DIGITS, *arguments)

    return called


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing to search"),
        (
            ["--over", "fusion.kind=[late]", "--seeds", "0"],
            "--seeds takes a number fro",
        ),
        (
            ["--over", "fusion.units={between: [1, 9]}", "--search", "grid"],
            "a grid has no end with a range of fusion.units: list its values",
        ),
        (
            ["--over", "train.epochs=[1, 2]", "--search", "hyperband"],
            "hyperband chooses train.epochs itself",
        ),
    ],
)
def test_what_cannot_be_searched_is_a_usage_error(tune, arguments, expected):
    code, out, err = tune(*arguments)
    assert (code, out) == (cli.USAGE, "") and expected in err


def test_usage_errors_come_without_tensorflow():
    code = (
        "import sys; from mmkeras import cli; code = cli.main(['tune', sys.argv[1]]); "
        "assert code == 2, code; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(DIGITS)], check=True)


def test_the_table_has_the_best_first_and_intervals(tune, monkeypatch, tmp_path):
    def judged(command, folder):
        recipe = config.load(command[4])
        score = 0.9 + recipe.fusion["units"] / 1000 + recipe.train.seed / 100
        return {s: {"rows": 9, "accuracy": score} for s in ("valid", "test")}, 640

    monkeypatch.setattr(trial, "_run", judged)
    arguments = [
        "--over",
        "fusion.units=[8, 16]",
        "--seeds",
        "2",
        "--test",
        "--no-best",
    ]
    arguments += ["--set", f"data.manifest={DIGITS}", "--folder", tmp_path]
    code, out, err = tune(*arguments)
    lines = out.splitlines()
    assert code == 0, err
    assert lines[0].split() == [
        "fusion.units",
        "valid",
        "test",
        "seconds",
        "peak",
        "MB",
    ]
    # Student's t with one degree of freedom: 12.706 times the standard error.
    assert lines[1].split()[:4] == ["16", "0.9210", "±", "0.0635"]
    assert lines[2].split()[:2] == ["8", "0.9130"] and lines[2].endswith("640")
    assert f"best: {tmp_path / 'best.yaml'}" in out
    told = json.loads(tune(*arguments, "--json")[1])
    assert [each["values"] for each in told["trials"]] == [
        {"fusion.units": "16"},
        {"fusion.units": "8"},
    ]
    assert told["trials"][0]["valid"]["mean"] == pytest.approx(0.921)
    assert told["run"] is None
