"""The folder of a run: made, opened again, read with another manifest."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from mmkeras import dataset, evaluate, manifest, modalities, run


@pytest.fixture(scope="module")
def reopened(trained):
    return run.open_folder(trained.folder)


def test_a_trained_run_leaves_these_files(trained):
    left = {path.name for path in trained.folder.iterdir()}
    assert left == {
        "recipe.yaml",
        "environment.json",
        "model.keras",
        "model.svg",
        "parameters.json",
        "vocabulary",
        "labels.json",
        "decisions.json",
        "history.csv",
        "baselines",
        "logs",
        "metrics.json",
        "report.html",
        "figures",
        "rejected.csv",
        "README.md",
    }
    alone = {path.name for path in trained.baselines.iterdir()}
    assert alone == {"text.keras", "image.keras", "audio.keras"}
    assert [path.name for path in trained.vocabulary.iterdir()] == ["text.txt"]
    assert repr(trained) == f"Run({str(trained.folder)!r})"


def test_opened_again_it_answers_the_same(trained, reopened, rows):
    assert reopened.recipe == trained.recipe
    assert reopened.labels == {"label": [str(digit) for digit in range(10)]}
    vocabulary = trained.decoders["text"].vocabulary
    assert reopened.decoders["text"].vocabulary == vocabulary and len(vocabulary) > 10
    valid = rows.split("valid")
    outputs = []
    for one in (trained, reopened):
        loaded, _ = dataset.load(valid, one.decoders)
        outputs.append(evaluate.predict(one.model, loaded, len(valid))["label"])
    np.testing.assert_array_equal(*outputs)
    # The model of the run is the saved one, not that of the last epoch.
    for one, two in zip(
        trained.model.get_weights(), reopened.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_a_baseline_is_a_model_of_one_input(reopened):
    assert set(reopened.baseline("image").input) == {"image", "image_present"}
    assert reopened.baseline("nothing") is None


def test_a_vocabulary_of_nothing_is_read_back(recipe, tmp_path):
    made = run.Run(tmp_path)
    made.__dict__["recipe"] = recipe
    decoder = modalities.make(recipe.data.inputs, recipe.branches)["text"]
    decoder.learn(["", " "])
    made.vocabulary.mkdir()
    text = "\n".join(decoder.vocabulary)
    (made.vocabulary / "text.txt").write_text(text, encoding="utf-8")
    assert made.decoders["text"].vocabulary == ["", "[UNK]"]


def test_environment_tells_the_versions(trained):
    told = trained.read_json(trained.environment_json)
    hardware = ["cpus", "memory_mb", "gpus"]
    known = ["git_commit", "recipe_sha256", "manifest_sha256"]
    first = ["python", "platform", "processor", "packages"]
    assert list(told) == [*first, *hardware, *known, "fits"]
    csv = Path(trained.recipe.data.manifest).read_bytes()
    assert told["manifest_sha256"] == hashlib.sha256(csv).hexdigest()
    text = trained.recipe_yaml.read_bytes()
    assert told["recipe_sha256"] == hashlib.sha256(text).hexdigest()
    assert told["cpus"] >= 1 and told["memory_mb"] > 100
    assert isinstance(told["gpus"], list)
    assert told["packages"]["keras"] == keras.__version__
    assert told["packages"]["numpy"] == np.__version__
    assert set(told["packages"]) >= {"mmkeras", "tensorflow", "pandas", "scikit-learn"}


def test_environment_knows_the_checkout_it_runs_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run.environment()["git_commit"] is None
    assert run.environment()["recipe_sha256"] is None
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    commit = [*author, "commit", "-q", "--allow-empty", "-m", "first"]
    for command in (["init", "-q"], commit):
        subprocess.run(["git", *command], check=True)
    assert re.fullmatch("[0-9a-f]{40}", run.environment()["git_commit"])
    monkeypatch.setenv("PATH", "")
    assert run.environment()["git_commit"] is None


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "it.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), run.replacing(path) as partial:
        partial.write_text("ne", encoding="utf-8")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["it.json"]
    assert path.read_text(encoding="utf-8") == "old"
    with run.replacing(path) as partial:
        partial.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"


def test_json_is_written_as_it_is_read(tmp_path):
    made = run.Run(tmp_path)
    content = {"b": [1, 0.5], "a": "猫"}
    made.write_json(made.labels_json, content)
    text = made.labels_json.read_text(encoding="utf-8")
    assert (
        "猫" in text and text.endswith("}\n") and text.index('"b"') < text.index('"a')
    )
    assert made.read_json(made.labels_json) == content
    assert made.read_json(made.metrics_json) == {}


def test_create_writes_a_recipe_that_can_be_read_from_anywhere(
    recipe, digits_csv, tmp_path, monkeypatch
):
    monkeypatch.chdir(digits_csv.parent)
    data = recipe.data.model_copy(update={"manifest": digits_csv.name})
    made = run.create(tmp_path / "a" / "b", recipe.model_copy(update={"data": data}))
    monkeypatch.chdir(tmp_path)
    assert made.recipe.data.manifest == str(digits_csv.resolve())
    assert made.recipe.fusion == recipe.fusion


def test_create_refuses_what_is_there(recipe, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="full is not empty: name another folder"):
        run.create(tmp_path / "full", recipe)
    with pytest.raises(FileExistsError, match="thesis.tex is a file: name another"):
        run.create(tmp_path / "full" / "thesis.tex", recipe)
    (tmp_path / "empty").mkdir()
    assert run.create(tmp_path / "empty", recipe).recipe_yaml.is_file()


def test_open_folder_names_what_is_missing(trained, recipe, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        run.open_folder(tmp_path / "gone")
    assert "gone holds no trained run: no recipe.yaml in it. Train" in str(caught.value)
    assert f"--run {tmp_path / 'gone'}`" in str(caught.value)
    half = run.create(tmp_path / "half", recipe)
    with pytest.raises(FileNotFoundError, match="no labels.json in it"):
        run.open_folder(half.folder)
    half.write_json(half.labels_json, {})
    with pytest.raises(FileNotFoundError, match="no model.keras in it"):
        run.open_folder(half.folder)
    half.checkpoints.mkdir()
    with pytest.raises(
        FileNotFoundError, match="stopped before its end. Go on"
    ) as told:
        run.open_folder(half.folder)
    assert f"--run {half.folder} --resume`" in str(told.value)


def test_free_counts_up_past_what_is_taken(tmp_path):
    folder = tmp_path / "birds"
    assert run.free(folder) == folder
    folder.mkdir()
    assert run.free(folder) == folder  # empty
    (folder / "it").touch()
    assert run.free(folder) == tmp_path / "birds-2"
    (tmp_path / "birds-2").touch()  # a file
    assert run.free(folder) == tmp_path / "birds-3"


def test_rows_of_its_own_manifest_are_those_of_training(trained, rows):
    again = run.read_rows(trained)
    assert again.frame.equals(rows.frame)


def test_splits_that_were_made_are_made_the_same(recipe, rows, tmp_path):
    csv = tmp_path / "rows.csv"
    frame = rows.frame.assign(image="", audio="", text="some words")
    frame.drop(columns="split").to_csv(csv, index=False)
    train = recipe.train.model_copy(update={"seed": 5})
    data = recipe.data.model_copy(update={"manifest": str(csv)})
    own = recipe.model_copy(update={"data": data, "train": train})
    made = run.create(tmp_path / "run", own)
    first = manifest.read(own.data, seed=5).frame["split"]
    assert run.read_rows(made).frame["split"].equals(first)
    assert not manifest.read(own.data, seed=6).frame["split"].equals(first)


def test_another_manifest_may_not_bring_labels_of_its_own(trained, tmp_path):
    csv = tmp_path / "others.csv"
    csv.write_text(
        "id,text,image,audio,label,split\na,one,,,1,test\nb,two,,,eleven,test\n",
        encoding="utf-8",
    )
    rows = run.read_rows(trained, csv)
    assert rows.ids == ["a"]
    (refused,) = rows.rejected
    assert refused.line == 3 and refused.column == "label"
    assert "the label `eleven`" in refused.reason


def test_labels_and_metrics_are_plain_json(trained):
    assert json.loads(trained.labels_json.read_text(encoding="utf-8"))
    assert set(trained.read_json(trained.metrics_json)) == {"valid", "test"}
