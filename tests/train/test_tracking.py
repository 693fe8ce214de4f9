"""Trackers: what they are told, that they fail alone; MLflow, W&B without a server."""

import json
import os
import sys

import pytest

from mmkeras import cli, config, manifest, train
from mmkeras.config import RecipeError
from mmkeras.train import tracking
from tests.conftest import words_recipe


class Kept:
    """A tracker that keeps what it is told, in `told`; fails in epoch 2."""

    told = []

    def __init__(self, folder):
        self.folder = folder

    def begin(self, name, title, settings, known):
        self.told.append(("begin", name, title, settings["train.epochs"], known))
        return known or "id-7"

    def tell(self, values, epoch):
        if epoch == 2:
            raise OSError("no route to host")
        self.told.append((epoch, sorted(values)))

    def end(self, state):
        self.told.append(("end", state))


@pytest.fixture
def path(tmp_path):
    """A recipe on 24 texts that is tracked, two epochs."""
    fusion = {"kind": "concat", "units": 4, "hidden": 4}
    options = {"epochs": 2, "batch_size": 8, "trackers": ["mlflow"]}
    return words_recipe(tmp_path, "tracked", 24, fusion=fusion, train=options)


def test_a_tracker_is_told_of_all_and_fails_alone(path, tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", Kept)
    monkeypatch.setattr(Kept, "told", [])
    recipe, said = config.load(path), []
    rows = manifest.read(recipe.data)
    made = train.fit(recipe, rows, folder=tmp_path / "run", log=said.append)
    metrics = ["accuracy", "loss", "val_accuracy", "val_loss"]
    told = [f"fusion/{name}" for name in metrics]
    assert Kept.told == [
        ("begin", "tracked", "run", 2, None),
        (1, told),
        ("end", "finished"),
    ]
    assert "train.trackers: mlflow was not told: no route to host" in said
    kept = json.loads(made.environment_json.read_text())
    assert kept["trackers"] == {"mlflow": "id-7"} and "fusion" in kept["fits"]
    Kept.told.clear()
    tracking.scores(made, {"test": {"rows": 6, "accuracy": 0.5}}, said.append)
    assert Kept.told == [
        ("begin", "tracked", "run", 2, "id-7"),
        (None, ["test/accuracy"]),
        ("end", "finished"),
    ]


def test_a_run_that_fails_ends_its_trackers(path, tmp_path, monkeypatch):
    class Stubborn(Kept):
        def begin(self, *arguments):
            raise OSError("not logged in")

    monkeypatch.setattr(Kept, "told", [])
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", Kept)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", Stubborn)
    recipe = config.load(path, ["train.trackers=[mlflow, wandb]"])
    made = train.run.create(tmp_path / "run", recipe)
    with pytest.raises(tracking.TrackerError) as caught:
        with tracking.begun(made, print):
            pytest.fail("one had not begun")
    assert str(caught.value) == (
        "train.trackers: wandb cannot begin: not logged in. Mend that, work without a "
        "server (MLFLOW_TRACKING_URI=sqlite:///runs.db, WANDB_MODE=offline), or take "
        "wandb out"
    )
    assert Kept.told[-1] == ("end", "stopped")


def test_a_package_that_is_not_there_is_named_before_anything_is_fitted(
    path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code = cli.main(["train", str(path), "--run", str(tmp_path / "run")])
    assert code == cli.MISSING
    told = capsys.readouterr().err
    assert "mlflow is not installed: pip install 'mmkeras[mlflow]', or take" in told


def test_other_names_are_refused(path):
    with pytest.raises(RecipeError, match="'mlflow' or 'wandb', got 'mlfow'"):
        config.load(path, ["train.trackers=[mlfow]"])


@pytest.mark.slow
def test_mlflow_keeps_a_run_without_a_server(path, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert cli.main(["train", str(path), "--run", str(tmp_path / "run")]) == 0
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'tracked'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["train.epochs"] == "2"
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found.data.metrics["test/accuracy"] == metrics["test"]["accuracy"]
    losses = client.get_metric_history(found.info.run_id, "fusion/val_loss")
    assert [each.step for each in losses] == [1, 2]


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(path, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = ["--set", "train.trackers=[wandb]"]
    assert cli.main(["train", str(path), "--run", str(tmp_path / "run"), *words]) == 0
    kept = [*(tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")]
    assert kept and any(b"val_loss" in file.read_bytes() for file in kept)
    names = json.loads((tmp_path / "run" / "environment.json").read_text())["trackers"]
    assert all(names["wandb"] in file.name for file in kept)
    assert "WANDB_RUN_ID" not in os.environ
