import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from mmkeras import config, manifest, run, space, tune
from mmkeras.tune import trial
from tests.conftest import words_recipe

DIGITS = config.shipped("digits.yaml")


@pytest.fixture
def plan(digits_csv):
    overrides = (f"data.manifest={digits_csv}", "train.epochs=2")
    given = ["fusion.kind=[concat, late]", "fusion.units=[8, 12, 16]"]
    return space.Plan(DIGITS, overrides, space.read(DIGITS, overrides, given))


@pytest.fixture
def trained(monkeypatch):
    """Commands of the trainings asked for; each is judged by what its recipe says."""
    commands = []

    def judged(command, folder):
        commands.append(command)
        recipe = config.load(command[4])
        if recipe.fusion["units"] == 12:
            raise tune.TrialError("its process was ended by SIGKILL: out of memory?")
        score = recipe.fusion["units"] / 100 + recipe.train.seed / 1000
        score += 0.5 * (recipe.fusion["kind"] == "late")
        splits = ("valid", "test")
        return {s: {"rows": 9, "accuracy": score, "macro_f1": 0.1} for s in splits}, 700

    monkeypatch.setattr(trial, "_run", judged)
    return commands


def test_trials_are_ranked_by_valid_and_the_best_recipe_is_written(
    plan, trained, tmp_path
):
    lines = []
    ranked = tune.search(plan, tmp_path / "search", log=lines.append)
    assert [tuple(one.values.values()) for one in ranked[:2]] == [
        ('"late"', "16"),
        ('"late"', "8"),
    ]
    assert [one.error != "" for one in ranked] == [False] * 4 + [True] * 2
    best = config.load(tmp_path / "search" / "best.yaml")
    assert (best.fusion["kind"], best.fusion["units"]) == ("late", 16)
    assert best.train.baselines  # trials go without, the best is compared
    assert lines[0] == 'trial 1: fusion.kind="concat", fusion.units=8'
    assert (
        sum("failed: its process was ended by SIGKILL" in line for line in lines) == 2
    )


def test_the_table_on_disk_holds_every_trial(plan, trained, tmp_path):
    tune.search(plan._replace(seeds=3), tmp_path, log=lambda line: None)
    with open(tmp_path / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and (tmp_path / "trials.png").stat().st_size > 5000
    first = rows[0]
    assert first["fusion.kind"] == '"concat"' and first["seeds"] == "3"
    assert float(first["valid"]) == pytest.approx(0.081)
    # Student's t with two degrees of freedom: 4.303 times the standard error.
    assert float(first["valid_interval"]) == pytest.approx(
        4.303 * 0.001 / 3**0.5, rel=1e-3
    )
    assert "SIGKILL" in rows[1]["error"] + rows[2]["error"] + rows[3]["error"]


def test_what_is_trained_is_not_trained_again(plan, trained, tmp_path):
    whole = tune.search(plan, tmp_path, log=lambda line: None)
    count = len(trained)
    assert tune.search(plan, tmp_path, log=lambda line: None) == whole
    assert len(trained) == count + 2  # those that failed are tried anew
    tune.search(plan._replace(seeds=2), tmp_path, log=lambda line: None)
    assert len(trained) == count + 2 + 6  # the second seed of each, failures again


def test_another_content_of_the_manifest_is_another_trial(plan, trained, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("label\n1\n", encoding="utf-8")
    plan = plan._replace(overrides=(f"data.manifest={rows}",), space={})
    plan = plan._replace(space={"fusion.units": space.Values(["8"])})
    tune.search(plan, tmp_path, log=lambda line: None)
    rows.write_text("label\n2\n", encoding="utf-8")
    tune.search(plan, tmp_path, log=lambda line: None)
    assert len(trained) == 2


def test_where_all_fail_the_first_reason_is_told(plan, trained, tmp_path):
    plan = plan._replace(space={"fusion.units": space.Values(["12"])})
    with pytest.raises(
        tune.TrialError, match="all 1 trials failed; the first: its pro"
    ):
        tune.search(plan, tmp_path, log=lambda line: None)


def test_a_manifest_without_the_split_is_told(plan, monkeypatch, tmp_path):
    only = {"test": {"rows": 3, "accuracy": 1.0}}
    monkeypatch.setattr(trial, "_run", lambda command, folder: (only, 1))
    with pytest.raises(tune.TrialError, match="has no usable row in its split valid"):
        tune.search(plan, tmp_path, log=lambda line: None)


@pytest.fixture
def few_words(tmp_path):
    """A recipe on 60 texts: what is searched is a search, not a model."""
    return words_recipe(tmp_path, "words", 60, train={"epochs": 2})


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_where_it_was(few_words, tmp_path):
    command = [sys.executable, "-m", "mmkeras.cli", "tune", str(few_words)]
    command += ["--no-best", "--over", "fusion.units=[8, 16]", "--json", "--folder"]

    def trials(folder):
        return sorted((folder / "trials").glob("*/trial.json"))

    stopped = tmp_path / "stopped"
    with subprocess.Popen(
        [*command, str(stopped)], stdout=subprocess.DEVNULL
    ) as process:
        while not trials(stopped) and process.poll() is None:
            time.sleep(0.05)
        # In the second: as soon as its run has begun.
        while len([*stopped.glob("trials/*/run")]) < 2 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait() in (143, 0)
    first = trials(stopped)[0]
    stamp = first.stat().st_mtime_ns
    subprocess.run([*command, str(stopped)], check=True, stdout=subprocess.DEVNULL)
    assert first.stat().st_mtime_ns == stamp  # not trained again
    left = [run.Run(each.parent / "run") for each in trials(stopped)]
    assert len(left) == 2 and all(one.finished for one in left)
    assert [len(one.history_csv.read_text().splitlines()) for one in left] == [3, 3]
    assert not os.path.exists(stopped / "best")
    assert manifest.header(config.load(stopped / "best.yaml").data)
