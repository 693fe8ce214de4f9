"""`train.batch_size: auto`: what is measured, what is chosen, what is refused."""

import json
import pickle

import pytest

from mmkeras import config, run, train
from mmkeras.config import RecipeError
from mmkeras.train import sizing


def chosen(law, limit_mb, most=1000):
    """(the size, sizes measured in order) where a size takes `law(size)` megabytes."""
    asked = []

    def measure(size):
        asked.append(size)
        return law(size)

    size, known = sizing.largest(measure, limit_mb, most)
    assert set(known) == set(asked) and len(set(asked)) == len(asked)
    return size, asked


LAWS = {
    "line": lambda size: 500 + 3 * size,
    "bent up": lambda size: 500 + size**2 // 50,
    "bent down": lambda size: 500 + int(90 * size**0.5),
    "noise": lambda size: 500 + (7919 * size) % 13,
    "steps": lambda size: 500 + 100 * (size > 16) + 700 * (size > 128),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("limit_mb", [502, 530, 600, 1100, 1000_000])
def test_it_fits_was_measured_and_is_the_largest(law, limit_mb):
    fits = [2**n for n in range(10) if law(2**n) <= limit_mb]
    if not fits:
        with pytest.raises(RecipeError, match="GB hold no step of one row: it takes"):
            chosen(law, limit_mb)
        return
    size, asked = chosen(law, limit_mb)
    assert size in asked and law(size) <= limit_mb
    assert len(asked) <= 7 and size == max(fits)


def test_a_size_that_is_killed_does_not_fit_and_rows_bound_it():
    size, _ = chosen(lambda size: 500 + size if size <= 64 else None, 10_000)
    assert size == 64
    assert chosen(LAWS["line"], 10_000, most=100)[0] == 64
    assert chosen(LAWS["line"], 10_000, most=5) == (4, [4])
    with pytest.raises(RecipeError, match="it takes more than there is MB"):
        chosen(lambda size: None, 10_000)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["batch_size=auto"], "train.batch_size: auto fits steps into a budget: set"),
        (["memory_limit_gb=2"], "train.memory_limit_gb: 2 is of train.batch_size: aut"),
        (["batch_size=0"], "expected a count of rows from 1, or auto, got 0"),
        (["batch_size=all"], "expected a count of rows from 1, or auto, got 'all'"),
        (["batch_size=true"], "expected a count of rows from 1, or auto, got True"),
        (
            ["batch_size=auto", "memory_limit_gb=2", "strategy=multiworker"],
            "auto is measured by one process, and train.strategy: multiworker has",
        ),
        (
            ["batch_size=auto", "memory_limit_gb=2", "steps_per_execution=2"],
            "train.steps_per_execution, 2, does not divide: give a number",
        ),
    ],
)
def test_what_cannot_be_is_refused(recipe, changes, told):
    tree = recipe.model_dump(by_alias=True)
    with pytest.raises(RecipeError, match=told):
        config.parse(tree, [f"train.{each}" for each in changes])


@pytest.fixture
def auto(recipe):
    """The tiny recipe that asks for what fits into two gigabytes."""
    changes = ["train.batch_size=auto", "train.memory_limit_gb=2"]
    return config.parse(recipe.model_dump(by_alias=True), changes)


def test_workers_are_refused(auto, rows, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(RecipeError, match="is measured by one process, and TF_CONFIG"):
        train.fit(auto, rows, folder=tmp_path / "run")


def test_what_the_process_finds_wrong_is_told_as_it_is(auto, rows, tmp_path, capsys):
    short = run.resolved(sizing.with_size(auto, 4))
    (tmp_path / "recipe.yaml").write_text(config.dump(short), encoding="utf-8")
    (tmp_path / "rows").write_bytes(pickle.dumps(rows.head(0)))
    sizing.main(tmp_path)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["fault"] == "ManifestError"
    assert "has no usable row in the train split" in told["message"]


@pytest.mark.nightly
def test_a_run_keeps_the_number_and_what_was_measured(auto, rows, tmp_path):
    few = rows.head(4)  # of each split: one size is asked, so one process
    said = []
    made = train.fit(auto, few, folder=tmp_path / "run", log=said.append)
    assert made.recipe.train.batch_size == 4 and not made.recipe.train.memory_limit_gb
    found = json.loads(made.environment_json.read_text())["batch_size"]
    (peak,) = found["peak_mb"].values()
    assert list(found) == ["limit_mb", "peak_mb"] and found["limit_mb"] == 2048
    assert 200 < peak <= 2048 and list(found["peak_mb"]) == ["4"]
    assert said[:2] == [
        f"train.batch_size: steps of 4 rows take {peak:,} MB",
        "train.batch_size: 4",
    ]
    said.clear()
    train.fit(auto, few, folder=tmp_path / "run", log=said.append, resume=True)
    assert said == [f"{tmp_path / 'run'} is a finished run: nothing is left to train"]
