"""What every task promises, whatever it is about."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import tasks
from mmkeras.scores import resampling
from mmkeras.tasks import TASKS

# Cells of the train rows, and options, for each task.
CELLS = {
    "classification": (["cat", "dog", "bird", "dog"], {}),
    "regression": (["-3.5", "1e3", "40", "7"], {}),
    "multilabel": (["odd|prime", "", "round", "odd | round"], {"separator": "|"}),
    "verification": (["ann", "bob", "ann", "bob"], {"embedding_dim": 8}),
}


# Under which name the output itself is served.
OUTPUT = {
    "classification": "probabilities",
    "regression": "value",
    "multilabel": "probabilities",
    "verification": "embedding",
}


@pytest.fixture(params=CELLS)
def kind(request):
    """One of the tasks."""
    return request.param


@pytest.fixture
def task(kind):
    """The task, made as a run makes it: from what JSON holds."""
    values, options = CELLS[kind]
    choice = {"kind": kind, **options}
    learnt = json.loads(json.dumps(tasks.learn({"it": choice}, {"it": values})))
    return tasks.make({"it": choice}, learnt)["it"]


def network(task, width=6):
    keras.utils.set_random_seed(0)
    fused = keras.Input((width,), name="fused")
    return keras.Model(fused, {"it": task.head(fused, "it")})


def features(rng, rows=48):
    return rng.standard_normal((rows, 6)).astype("float32")


def test_there_are_cells_for_every_task():
    assert set(CELLS) == set(TASKS)


def test_target_and_output_fit_loss_and_metrics(kind, task, rng):
    values = CELLS[kind][0]
    truth = task.target(values)
    assert truth.dtype == np.float32 and len(truth) == len(values)
    outputs = network(task).predict(features(rng, len(values)), verbose=0)["it"]
    assert len(outputs) == len(values) and outputs.dtype == np.float32
    each = task.loss().call(truth, outputs)
    assert tuple(each.shape) == (len(values),) and np.isfinite(each).all()
    for metric in task.metrics():
        metric.update_state(truth, outputs)
        assert np.isfinite(metric.result()).all()


def test_a_fit_lowers_the_loss(kind, task, rng):
    values = CELLS[kind][0] * 12
    hidden = np.eye(4, 6, dtype="float32")[np.arange(48) % 4]
    inputs = hidden + 0.1 * features(rng)
    model = network(task)
    model.compile(
        keras.optimizers.Adam(0.05),
        loss={"it": task.loss()},
        weighted_metrics={"it": task.metrics()},
    )
    losses = model.fit(inputs, {"it": task.target(values)}, epochs=30, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_save_and_load_agree(task, rng, tmp_path):
    model = network(task)
    model.save(tmp_path / "it.keras")
    loaded = keras.saving.load_model(tmp_path / "it.keras")
    inputs = features(rng)
    np.testing.assert_array_equal(
        model.predict(inputs, verbose=0)["it"], loaded.predict(inputs, verbose=0)["it"]
    )


def test_served_answers_are_the_decoded_ones(kind, task, rng):
    values = CELLS[kind][0] * 12
    inputs = features(rng)
    outputs = network(task).predict(inputs, verbose=0)["it"]
    if task.judged_on:
        judged = dict.fromkeys(task.judged_on, (task.target(values), outputs))
        options = CELLS[kind][1]
        decision = json.loads(json.dumps(task.choose(judged)))
        if "temperature" in decision:  # too few rows here to find one
            assert (
                "48 valid rows with a label, fewer than 50" in decision["calibration"]
            )
            decision["temperature"] = 1.7
        task = TASKS[kind](task.labels, decision, **options)
    served = tf.function(task.serve)(tf.constant(outputs))
    told = next(iter(served.values())).numpy()
    if told.dtype == object:
        assert [text.decode("utf-8") for text in told] == task.decode(outputs)
    else:
        np.testing.assert_array_equal(told, np.array(task.decode(outputs), "float32"))
    raw = served[OUTPUT[kind]].numpy()
    calibrated = np.asarray(task.calibrated(outputs))
    np.testing.assert_allclose(raw.reshape(outputs.shape), calibrated, atol=1e-6)
    if not task.has_probabilities:
        np.testing.assert_array_equal(calibrated, outputs)


def test_scores_of_rows_drawn_are_scores_of_those_rows(kind, task, rng):
    """Every number of `scores` has an interval, and the draws are of that number."""
    values = [CELLS[kind][0][at] for at in rng.integers(0, 4, 60)]
    truth = task.target(values)
    outputs = network(task).predict(features(rng, 60), verbose=0)["it"]
    scores = task.scores(truth, outputs)
    told = {key: value for key, value in scores.items() if isinstance(value, float)}
    counts = np.concatenate([np.ones((1, 60)), *resampling.counts(60, 4)])
    found = task.redrawn(truth, outputs, counts)
    assert set(told) <= set(found)
    for key, value in told.items():
        assert found[key][0] == pytest.approx(value, abs=1e-9), key
    first = next(iter(told))
    alone = task.redrawn(truth, outputs, counts, first=True)
    assert list(alone) == [first]
    np.testing.assert_allclose(alone[first], found[first], rtol=1e-12)
    if kind == "verification":  # a row drawn twice makes no pair with itself
        return
    for count, draw in zip(counts[1:].astype(int), range(1, 5), strict=True):
        rows = np.repeat(np.arange(60), count)
        again = task.scores(truth[rows], outputs[rows])
        for key in told:
            assert found[key][draw] == pytest.approx(again[key], abs=1e-9), key
        for label, one in again.get("per_class", {}).items():
            for key in ("precision", "recall", "f1"):
                drawn = found[f"per_class.{label}.{key}"][draw]  # nan: none to divide
                assert np.nan_to_num(drawn) == pytest.approx(one[key], abs=1e-9), key


def test_scores_begin_with_the_one_that_judges_fusion(kind, task, rng):
    values = CELLS[kind][0] * 12
    truth = task.target(values)
    outputs = network(task).predict(features(rng), verbose=0)["it"]
    scores = task.scores(truth, outputs)
    first = next(iter(scores))
    expected = {
        "classification": "accuracy",
        "regression": "r2",
        "multilabel": "macro_f1",
        "verification": "roc_auc",
    }
    assert first == expected[kind] and isinstance(scores[first], float)
    json.dumps(scores)


def test_empty_cells_teach_nothing(kind, task):
    truth, known = tasks.truth(task, ["", *CELLS[kind][0]])
    assert known.tolist() == [task.takes_empty] + [True] * 4
    np.testing.assert_array_equal(truth[1:], task.target(CELLS[kind][0]))
    assert not truth[0].any()
