"""Runs against each other on the same rows, and their mean as a run."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from mmkeras import cli, config, dataset, evaluate, export, model, run, train
from mmkeras.evaluate import comparing, ensembling


@pytest.fixture(scope="module")
def other(recipe, rows, tmp_path_factory):
    """The same recipe from another seed, without baselines."""
    changes = {"seed": 1, "baselines": False, "epochs": 1}
    again = recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})
    folder = tmp_path_factory.mktemp("other") / "second"
    return train.fit(again, rows, folder=folder, log=lambda _: None)


@pytest.fixture(scope="module")
def told(trained, other, rows):
    """{run: which test rows it tells right}."""
    test = rows.split("test")
    loaded, _ = dataset.load(test, trained.decoders)
    true = trained.tasks["label"].target(test.frame["label"]).argmax(1)
    return {
        name: evaluate.predict(one.model, loaded, len(test))["label"].argmax(1) == true
        for name, one in (("first", trained), ("second", other))
    }


@pytest.fixture(scope="module")
def both(trained, other):
    return {"first": trained, "second": other}


def test_differences_and_mcnemar_are_those_of_the_rows(both, rows, told):
    found = evaluate.compare(both, dict.fromkeys(both, rows), "test")
    assert (found["split"], found["rows"]) == ("test", 45)
    one, two = found["targets"]["label"]["runs"].values()
    assert one["score"] == pytest.approx(told["first"].mean())
    assert two["score"] == pytest.approx(told["second"].mean())
    difference = told["second"].mean() - told["first"].mean()
    assert two["difference"] == pytest.approx(difference)
    low, high = two["difference_interval"]
    assert low <= difference <= high
    # The standard error of a paired difference of shares, in closed form.
    error = (told["second"].astype(int) - told["first"]).std() / np.sqrt(45)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.25)
    only = [(told["first"] & ~told["second"]).sum()]
    only += [(told["second"] & ~told["first"]).sum()]
    p = stats.binomtest(int(only[0]), int(sum(only))).pvalue
    assert two["mcnemar"] == {
        "only_first": only[0],
        "only_this": only[1],
        "p": pytest.approx(p),
    }
    (table,) = evaluate.comparison(found)
    assert [line[0] for line in table] == ["test, 45 rows", "first", "second"]
    assert table[2][-1] == f"{p:.3f}" and table[1][3] == ""


def test_mcnemar_without_a_difference():
    same = np.array([True, False])
    assert comparing.mcnemar(same, same) == {"only_first": 0, "only_this": 0, "p": 1.0}


def test_runs_on_other_rows_are_refused(both, rows):
    test = rows.split("test")
    fewer = dataclasses.replace(test, frame=test.frame.iloc[2:])
    with pytest.raises(comparing.NotComparableError) as caught:
        evaluate.compare(both, {"first": rows, "second": fewer}, "test")
    lost = ", ".join(test.ids[:2])
    told = f"not asked the same test rows: 2 stand only among those of first: {lost}."
    assert told in str(caught.value) and "--manifest" in str(caught.value)
    turned = dataclasses.replace(test, frame=test.frame.iloc[::-1])
    with pytest.raises(comparing.NotComparableError, match="in another order"):
        evaluate.compare(both, {"first": rows, "second": turned}, "test")
    frame = test.frame.copy()
    true = frame["label"].iloc[3]
    frame.loc[frame.index[3], "label"] = wrong = "1" if true != "1" else "2"
    with pytest.raises(comparing.NotComparableError) as caught:
        changed = dataclasses.replace(test, frame=frame)
        evaluate.compare(both, {"first": rows, "second": changed}, "test")
    row = f"row {test.ids[3]} is `{true}` and `{wrong}`"
    assert str(caught.value) == (
        f"`label` differs in 1 rows between first and second: {row}"
    )
    none = rows.split("nothing")
    with pytest.raises(comparing.NotComparableError, match="no usable row in test"):
        evaluate.compare(both, dict.fromkeys(both, none), "test")


def test_runs_with_other_labels_or_targets_are_refused(both, trained, other, rows):
    strange = run.open_folder(other.folder)
    strange.__dict__["labels"] = {"label": [*trained.labels["label"][1:], "ten"]}
    with pytest.raises(
        comparing.NotComparableError, match="only one of them knows '0'"
    ):
        evaluate.compare({"a": trained, "b": strange}, {"a": rows, "b": rows}, "test")
    tree = other.recipe.model_dump(by_alias=True)
    tree["data"]["targets"] = {"loudness": "regression"}
    strange.__dict__["recipe"] = config.parse(tree)
    with pytest.raises(comparing.NotComparableError, match="a answers .*'classificat"):
        evaluate.compare({"a": trained, "b": strange}, {"a": rows, "b": rows}, "test")


@pytest.fixture(scope="module")
def mean(both, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mean") / "pair"
    return evaluate.ensemble(both, rows, folder, log=lambda _: None)


def test_an_ensemble_answers_the_mean(mean, both, rows):
    test = rows.split("test")
    loaded, _ = dataset.load(test, mean.decoders)
    each = [
        evaluate.predict(one.model, loaded, len(test))["label"] for one in both.values()
    ]
    found = evaluate.predict(mean.model, loaded, len(test))["label"]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert len(model.members(mean.model)) == 2
    assert "calibration" in mean.read_json(mean.decisions_json)["fusion"]["label"]
    assert list(mean.read_json(mean.members_json)) == ["first", "second"]


@pytest.mark.slow
def test_an_ensemble_is_judged_exported_and_asked_as_a_run(mean, rows, tmp_path):
    judged = evaluate.report(mean, rows, ("test",))["test"]
    assert {"left_out", "shuffled"} <= set(judged["gain"])
    assert "over_single" not in judged["gain"]
    page = mean.report_html.read_text(encoding="utf-8")
    assert "The mean of 2 runs:" in page and "<li>first</li>" in page
    path, found = export.saved_model(
        mean, tmp_path / "served", rows.split("test"), log=lambda _: None
    )
    assert found["rows"] == 45 and found["max_difference"] < 1e-5
    columns = export.raw_columns(mean, rows.split("test"))
    served, own = (export.answer(source, columns) for source in (path, mean))
    np.testing.assert_allclose(served["probabilities"], own["probabilities"], atol=1e-5)
    assert export.features_model(mean).output.shape[1:] == (32,)  # 16 of each
    assert mean.finished  # nothing is left to train


@pytest.mark.slow
def test_an_ensemble_is_explained_as_a_run(mean, rows, capsys):
    row = rows.split("test").ids[0]
    assert cli.main(["explain", str(mean.folder), "--row", row, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    total = sum(told["shapley"].values())
    assert total == pytest.approx(told["value"] - told["base"], abs=1e-6)
    columns = export.raw_columns(mean, rows.split("test"))
    answer = export.answer(mean, {key: one[:1] for key, one in columns.items()})
    # The calibrated probability, which is not the mean of the runs' own.
    assert told["value"] == pytest.approx(float(answer["probability"][0]), abs=1e-6)
    assert told["told"] == answer["label"][0].decode()


def test_the_outline_is_that_of_one_run(mean):
    with pytest.raises(config.RecipeError, match="the mean of 2 models: look at one"):
        model.outline(mean.model)


def test_an_ensemble_of_what_is_read_otherwise_is_refused(trained, other, tmp_path):
    def refused(match, **changed):
        strange = run.open_folder(other.folder)
        strange.__dict__.update({"decoders": other.decoders, **changed})
        with pytest.raises(comparing.NotComparableError, match=match):
            ensembling.ensemble({"a": trained, "b": strange}, None, tmp_path / "no")
        assert not (tmp_path / "no").exists()

    tree = other.recipe.model_dump(by_alias=True)
    tree["data"]["inputs"]["image"]["size"] = 8
    refused("data.inputs.image differs between a and b", recipe=config.parse(tree))
    (tmp_path / "words").mkdir()
    refused("learnt of their train rows differs: vocab", vocabulary=tmp_path / "words")
    refused("labels of `label` differ", labels={"label": ["0", "1"]})


@pytest.mark.nightly  # tests/test_shown.py runs the command, too
def test_the_command_compares_and_makes_an_ensemble(
    trained, other, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "report", lambda *given, **options: {})
    folders = [str(trained.folder), str(other.folder)]
    made = str(tmp_path / "both")
    assert cli.main(["evaluate", *folders, "--ensemble", made, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["targets"]["label"]["runs"]) == [*folders, made]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--ensemble", "b"], "--ensemble takes two runs or more, one was given"),
        (["a", "b", "--slice", "x"], "--slice is about one run, 2 were given"),
        (["a", "b", "--robustness"], "--robustness is about one run"),
        (["a", "b", "--require-fusion-gain"], "--require-fusion-gain is about one"),
        (["a", "./a"], "a run stands twice among those to compare"),
        (["a", "--robustness", "-1"], "--robustness -1: give a count of rows"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments, message, capsys):
    assert cli.main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_gain_that_is_not_there_ends_with_4(trained, other, capsys, monkeypatch):
    judged = {
        "rows": 5,
        "accuracy": 0.5,
        "gain": {
            "score": "accuracy",
            "best_single": "text",
            "over_single": {"difference": 0.1, "interval": [0.02, 0.2]},
        },
    }
    monkeypatch.setattr(evaluate, "report", lambda *given, **options: {"test": judged})
    command = ["evaluate", str(trained.folder), "--require-fusion-gain"]
    assert cli.main(command) == 0
    assert cli.main([*command, "2.5"]) == 4
    assert "begins at +2.0 points of accuracy, not above 2.5" in capsys.readouterr().err
    command[1] = str(other.folder)
    assert cli.main(command) == 2
    assert "has no model of a single modality" in capsys.readouterr().err
