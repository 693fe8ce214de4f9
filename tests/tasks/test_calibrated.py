"""Temperatures and abstaining: chosen on valid rows, served, proved, predicted."""

import csv
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

from mmkeras import cli, config, export, proof
from mmkeras.run import open_folder
from mmkeras.tasks import TASKS

Classification, Multilabel = TASKS["classification"], TASKS["multilabel"]
LABELS = ["bird", "cat", "dog"]


@pytest.fixture
def too_sure(rng):
    """(truth, probabilities, logits as they should be): three times too sure."""
    logits = 1.5 * rng.standard_normal((3000, 3))
    true = np.array([rng.choice(3, p=shares) for shares in softmax(logits, axis=1)])
    spoilt = softmax(3 * logits, axis=1).astype("float32")
    return np.eye(3, dtype="float32")[true], spoilt, logits


def test_a_temperature_is_found_and_told_everywhere(too_sure):
    truth, outputs, logits = too_sure
    plain = Classification(LABELS)
    decision = plain.choose({"valid": (truth, outputs)})
    assert decision["temperature"] == pytest.approx(3, rel=0.1)
    task = Classification(LABELS, decision)
    expected = softmax(3 * logits / decision["temperature"], axis=1)
    np.testing.assert_allclose(task.calibrated(outputs), expected, atol=1e-4)
    served = tf.function(task.serve)(tf.constant(outputs))
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-4)
    np.testing.assert_allclose(served["probability"], expected.max(1), atol=1e-4)
    before, after = (one.scores(truth, outputs) for one in (plain, task))
    assert after["accuracy"] == before["accuracy"]
    assert task.decode(outputs) == plain.decode(outputs)
    assert after["log_loss"] < before["log_loss"] - 0.1
    assert after["calibration_error"] < 0.03 < before["calibration_error"]
    assert after["reliability"]["before"] == before["reliability"]["after"]


def test_labels_have_a_temperature_too_and_thresholds_after_it(rng):
    logits = 1.5 * rng.standard_normal((3000, 2))
    truth = (rng.random((3000, 2)) < expit(logits)).astype("float32")
    outputs = expit(3 * logits).astype("float32")
    plain = Multilabel(["a", "b"])
    decision = plain.choose({"valid": (truth, outputs)})
    assert decision["temperature"] == pytest.approx(3, rel=0.1)
    task = Multilabel(["a", "b"], decision)
    expected = expit(3 * logits / decision["temperature"])
    np.testing.assert_allclose(task.calibrated(outputs), expected, atol=1e-3)
    served = tf.function(task.serve)(tf.constant(outputs))
    assert [told.decode() for told in served["labels"].numpy()] == task.decode(outputs)
    before, after = (one.scores(truth, outputs) for one in (plain, task))
    assert after["calibration_error"] < 0.03 < before["calibration_error"]
    assert after["macro_f1"] >= before["macro_f1"] - 1e-9


def test_rows_that_are_answered_are_right_as_often_as_asked(too_sure):
    truth, outputs, _ = too_sure
    shares = {}
    for precision in (0.8, 0.9):
        plain = Classification(LABELS, precision=precision)
        decision = plain.choose({"valid": (truth, outputs)})
        task = Classification(LABELS, decision, precision=precision)
        scores = task.scores(truth, outputs)
        assert precision <= scores["answered_accuracy"] < precision + 0.01
        shares[precision] = scores["coverage"]
        served = tf.function(task.serve)(tf.constant(outputs))["abstained"].numpy()
        np.testing.assert_array_equal(served, task.abstains(outputs))
        assert 1 - served.mean() == pytest.approx(scores["coverage"])
    assert shares[0.8] > shares[0.9] > 0.05
    assert scores["accuracy"] < 0.8


@pytest.mark.parametrize("decision", [None, {"abstain_below": 0.9}])
def test_without_a_precision_it_never_abstains(too_sure, decision):
    """Whatever was decided when one was asked for; it is served all the same."""
    truth, outputs, _ = too_sure
    task = Classification(LABELS, decision)
    assert not task.abstains(outputs).any()
    served = tf.function(task.serve)(tf.constant(outputs))["abstained"]
    assert served.dtype == tf.bool and not served.numpy().any()
    assert "coverage" not in task.scores(truth, outputs)


def test_with_a_precision_that_nothing_shows_it_always_abstains(too_sure):
    truth, outputs, _ = too_sure
    undecided = Classification(LABELS, {"temperature": 2.0}, precision=0.9)
    assert undecided.abstains(outputs).all()
    assert undecided.serve(tf.constant(outputs))["abstained"].numpy().all()
    scores = undecided.scores(truth, outputs)
    assert scores["coverage"] == 0 and "answered_accuracy" not in scores


def test_a_precision_of_one_cannot_be_chosen():
    with pytest.raises(config.RecipeError, match="`precision`: .* less than 1, got 1"):
        config.parse(
            {
                "name": "it",
                "data": {
                    "manifest": "it.csv",
                    "inputs": {"text": "text"},
                    "targets": {"label": {"kind": "classification", "precision": 1}},
                },
            }
        )


def test_answers_of_yes_and_no_are_proved():
    wanted = {"abstained": {"texts": [True, False], "sure": [True, False]}}
    served = {"abstained": np.array([True, True])}
    assert proof._text_faults(served, wanted) == []
    wanted["abstained"]["sure"] = [True, True]
    assert proof._text_faults(served, wanted) == [
        "abstained of row 1 is `True`, in training `False`"
    ]


@pytest.mark.slow
def test_an_export_serves_calibrated_probabilities(trained, rows, tmp_path, capsys):
    """Proved by a fresh process; `predict` says the same of the run and the export."""
    shutil.copytree(trained.folder, tmp_path / "run")
    run = open_folder(tmp_path / "run")
    tree = run.recipe.model_dump(by_alias=True)
    tree["data"]["targets"]["label"]["precision"] = 0.5
    run.recipe_yaml.write_text(config.dump(config.parse(tree)), encoding="utf-8")
    decision = {"temperature": 0.4, "abstain_below": 0.3}
    run.write_json(run.decisions_json, {"fusion": {"label": decision}})
    run = open_folder(tmp_path / "run")
    test = rows.split("test")
    path, found = export.saved_model(run, tmp_path / "out", test, log=lambda _: None)
    assert found["rows"] == 45 and "abstained" in found["answers"][0]
    columns = export.raw_columns(run, test)
    served = export.answer(path, columns)
    raw = export.answer(trained, columns)["probabilities"]
    expected = softmax(np.log(raw) / 0.4, axis=1)
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    assert served["abstained"].dtype == bool and 0 < served["abstained"].mean() < 1
    np.testing.assert_array_equal(served["abstained"], served["probability"] < 0.3)
    manifest = str(rows.path)
    told = []
    for source in (run.folder, path.parent):
        assert cli.main(["predict", str(source), "--manifest", manifest]) == 0
        told.append(list(csv.DictReader(io.StringIO(capsys.readouterr().out))))
    assert [row["abstained"] for row in told[0]] == [
        row["abstained"] for row in told[1]
    ]
    header = list(told[0][0])
    assert header[:4] == ["id", "label", "probability", "abstained"]
