"""Cross-validation: ordinary runs, one a fold, and their scores as one."""

import json
import re
import signal

import numpy as np
import pytest
from scipy import stats

from mmkeras import cli, config, manifest, progress, run, train, verbs
from mmkeras.config import RecipeError
from mmkeras.scores import resampling
from mmkeras.train import folds

TREE = {
    "name": "folded",
    "data": {
        "inputs": {"text": {"kind": "text", "length": 4}, "more": {"kind": "text"}},
        "targets": {"label": "classification"},
        "group": "who",
        "folds": 2,
    },
    "branches": {"text": {"kind": "bag", "units": 4}, "more": {"same_as": "text"}},
    "fusion": {"kind": "concat", "units": 4, "hidden": 4},
    "train": {"epochs": 1, "batch_size": 8, "learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A recipe on 48 rows of 12 groups, two of which are `test` in the file."""
    folder = tmp_path_factory.mktemp("folded")
    lines = ["id,text,more,label,who,split"]
    for number in range(48):
        who, word = number // 4, ("apple", "bear")[number % 2]
        split = "test" if who < 2 else "train"
        lines.append(f"r{number},{word} {who},{word[:2]},{number % 2},g{who},{split}")
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {**TREE, "data": {**TREE["data"], "manifest": str(folder / "rows.csv")}}
    tree["data"]["inputs"]["more"]["length"] = 4
    file = folder / "folded.yaml"
    file.write_text(config.dump(config.parse(tree)), encoding="utf-8")
    return file


def called(*arguments):
    return cli.main([str(each) for each in arguments])


@pytest.fixture(scope="module")
def validated(path, tmp_path_factory):
    """The folder of a cross-validation, stopped in its second fold and gone on with."""
    folder = tmp_path_factory.mktemp("validated") / "run"
    plain, seen = progress.Epochs.on_train_batch_end, []

    def watched(self, batch, logs=None):
        plain(self, batch, logs)
        seen.append(batch)
        if len(seen) == 11:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.Epochs, "on_train_batch_end", watched)
        assert called("train", path, "--run", folder) == cli.TERMINATED
    first = run.open_folder(folder / "folds" / "1")
    assert first.finished and not (folder / "folds.json").exists()
    stamp = first.model_file.stat().st_mtime_ns
    assert called("train", path, "--run", folder, "--resume") == 0
    assert first.model_file.stat().st_mtime_ns == stamp, "not trained again"
    return folder


@pytest.mark.slow
def test_a_fold_is_the_run_that_its_recipe_gives_alone(path, validated, tmp_path):
    recipe = config.load(path, ["data.fold=2", "train.baselines=false"])
    rows = manifest.read(recipe.data)
    alone = train.fit(recipe, rows, folder=tmp_path / "alone", log=lambda _: None)
    fold = run.open_folder(validated / "folds" / "2")
    assert fold.recipe.data.fold == 2 and fold.history_csv.read_text() == (
        alone.history_csv.read_text()
    )
    for one, two in zip(
        fold.model.get_weights(), alone.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_what_all_folds_say_is_of_their_own_reports(validated):
    told = json.loads((validated / "folds.json").read_text())["test"]
    each = [
        json.loads((validated / "folds" / name / "metrics.json").read_text())["test"]
        for name in "12"
    ]
    assert told["rows"] == [one["rows"] for one in each] == [20, 20]
    report = (validated / "folds" / "1" / "report.html").read_text()
    assert re.search(
        r"48 rows read, 40 used \(\d+ train, \d valid, 20 test\), 8 kept out", report
    )
    losses = [one["log_loss"] for one in each]
    assert told["scores"]["log_loss"]["values"] == losses
    assert told["scores"]["log_loss"]["mean"] == pytest.approx(np.mean(losses))
    alone = [one["baselines"]["more"]["accuracy"] for one in each]
    assert told["baselines"]["more"]["accuracy"]["values"] == alone
    less = [one["accuracy"] - two for one, two in zip(each, alone, strict=True)]
    assert told["differences"]["more"]["accuracy"]["values"] == pytest.approx(less)


@pytest.mark.slow
def test_evaluate_judges_every_fold_and_other_verbs_ask_for_one(
    validated, path, tmp_path, capsys
):
    before = json.loads((validated / "folds.json").read_text())
    capsys.readouterr()
    assert called("evaluate", validated, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"test": before["test"]}
    lines = verbs.folds_text(before, validated).splitlines()
    at = lines.index(next(line for line in lines if line.startswith("test ")))
    assert [line.split()[:3] for line in lines[at + 1 : at + 4]] == [
        ["fold", "1", "20"],
        ["fold", "2", "20"],
        ["mean", "40", f"{before['test']['scores']['accuracy']['mean']:.4f}"],
    ]
    assert sum(line.startswith("more alone") for line in lines) == 2
    assert called("evaluate", validated, "--require-fusion-gain") == cli.USAGE
    assert "is about one run, and this is a cross-vali" in capsys.readouterr().err
    assert called("export", validated, tmp_path / "out") == cli.MISSING
    told = capsys.readouterr().err
    assert f"holds a cross-validation of 2 runs: name one of them, as {validated}" in (
        told
    )
    assert called("train", path, "--run", validated) == cli.USAGE
    told = capsys.readouterr().err
    assert "is not empty: name another folder" in told and "unfinished" not in told


def test_the_interval_counts_train_rows_that_folds_share():
    values = [0.91, 0.95, 0.93, 0.9, 0.96]
    found = resampling.across_folds(values)
    assert found["deviation"] == pytest.approx(np.std(values, ddof=1))
    low, high = found["interval"]
    plain = stats.sem(values) * stats.t.ppf(0.975, 4)
    # The variance of the mean: 1/5 + 1/4 times that of the folds, not 1/5.
    assert (high - low) / 2 == pytest.approx(plain * (0.45 / 0.2) ** 0.5)
    assert (high + low) / 2 == pytest.approx(np.mean(values))


def test_one_fit_is_of_one_fold(path, tmp_path, monkeypatch, capsys):
    recipe = config.load(path)
    with pytest.raises(RecipeError, match="2 folds are as many runs, and this trains"):
        train.fit(recipe, manifest.read(recipe.data), folder=tmp_path / "run")
    assert called("tune", path, "--over", "fusion.units=[4, 8]") == cli.USAGE
    assert "2 are as many runs, and a trial is one" in capsys.readouterr().err
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(RecipeError, match="2 folds are trained by one process"):
        folds.cross_validate(recipe, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.fold=3", "data.fold: there are 2 folds, counted from 1: no 3"),
        ("data.folds=1", "data.folds"),
        ("data.shares=[0, 0.5, 0.5]", "leaves nothing to train on beside the fold"),
    ],
)
def test_folds_that_cannot_be_are_refused(path, change, told):
    with pytest.raises(RecipeError, match=told):
        config.load(path, [change])


def test_a_fold_without_folds_is_refused(path):
    with pytest.raises(RecipeError, match="data.fold: 1 is one of data.folds, which"):
        config.load(path, ["data.folds=null", "data.fold=1"])
