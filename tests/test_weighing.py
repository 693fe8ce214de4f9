"""Several targets: what each counts, fixed or learned; rows that lack one."""

import keras
import numpy as np
import pytest

from mmkeras import config, dataset, evaluate, manifest, train
from mmkeras.tasks import TASKS
from mmkeras.train import weighing
from mmkeras.train.compiling import loss_weights

TARGETS = {
    "label": "classification",
    "parity": "classification",
    "properties": "multilabel",
    "loudness": "regression",
}


def several(recipe, *overrides, targets=TARGETS):
    """A recipe with the four targets of the lesson `redundant`."""
    tree = recipe.model_dump(by_alias=True)
    tree["data"]["targets"] = targets
    return config.parse(tree, overrides)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A run of four targets with learned weights, judged; and its metrics."""
    whole = several(
        recipe,
        "train.loss_weights=uncertainty",
        "train.learning_rate=0.005",
        "train.epochs=1",
    )
    rows = manifest.read(whole.data)
    folder = tmp_path_factory.mktemp("run") / "many"
    made = train.fit(whole, rows, folder=folder, log=lambda _: None)
    return made, rows, evaluate.report(made, rows, log=lambda _: None)


def test_a_row_without_sound_does_not_teach_loudness(recipe):
    whole = several(recipe)
    prepared = train.prepare(whole, manifest.read(whole.data), log=lambda _: None)
    targets, weights = prepared.taught("train")
    silent = (prepared.manifest.split("train").frame["audio"] == "").to_numpy()
    np.testing.assert_array_equal(weights["loudness"], (~silent).astype("float32"))
    assert weights["label"].all() and silent.any()
    batch = next(iter(dataset.labelled(prepared.rows["train"], (targets, weights), 8)))
    assert len(batch) == 3 and batch[2]["loudness"].shape == (8,)


@pytest.mark.slow
def test_all_four_are_judged_each_by_its_own_score(run):
    made, _, metrics = run
    assert set(evaluate.telling.headlines(metrics["test"]).values()) == {
        "label.accuracy",
        "parity.accuracy",
        "properties.macro_f1",
        "loudness.r2",
    }
    told = evaluate.verdict(metrics["test"])
    assert "properties: Fusion" in told and "loudness: Fusion" in told and "R2" in told
    names = {path.name for path in made.figures.iterdir()}
    assert {
        "numbers_loudness.png",
        "confusion_label.png",
        "baselines_parity.png",
    } < names
    card = made.card.read_text(encoding="utf-8")
    assert "`properties` (multilabel, 4 labels), `loudness` (regression)" in card


@pytest.mark.slow
def test_thresholds_are_decided_for_every_model(run):
    made, rows, _ = run
    decisions = made.read_json(made.decisions_json)
    assert list(decisions) == ["fusion", "text", "image", "audio", "late_fusion"]
    for decision in decisions.values():
        assert list(decision) == ["label", "parity", "properties"]
    chosen = decisions["fusion"]["properties"]["thresholds"]
    np.testing.assert_allclose(
        made.tasks["properties"].thresholds, list(chosen.values()), rtol=1e-6
    )
    judged = evaluate.judge(made, rows.split("valid"), log=lambda _: None)
    half = made.tasks_of("nobody")["properties"]
    assert (half.thresholds == 0.5).all()
    assert judged["properties.macro_f1"] > 0


@pytest.mark.slow
def test_learned_weights_are_logged_and_move(run):
    made, _, _ = run
    lines = made.history_csv.read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    last = dict(zip(names, map(float, lines[-1].split(",")), strict=True))
    weights = [last[f"{name}_weight"] for name in TARGETS]
    assert all(np.isfinite(weights)) and len(set(np.round(weights, 3))) > 1


@pytest.mark.slow
def test_four_targets_are_served_and_proved(run, tmp_path):
    from mmkeras import export

    made, rows, _ = run
    path, found = export.saved_model(
        made, tmp_path, rows.split("test"), log=lambda _: None
    )
    assert found["max_difference"] <= export.TOLERANCE
    assert {"label_classify", "loudness_regress"} <= set(found["differences"])
    answer = found["answers"][0]
    assert {"label_label", "properties_labels", "loudness_value"} <= set(answer)
    columns = export.raw_columns(made, rows.split("test"))
    served = export.answer(path, columns)
    inputs, _ = dataset.load(rows.split("test"), made.decoders)
    outputs = evaluate.predict(made.model, inputs, len(rows.split("test")))
    told = [text.decode("utf-8") for text in served["properties_labels"]]
    assert told == made.tasks["properties"].decode(outputs["properties"])


def network():
    """Two numbers and a class of one input."""
    tasks = {
        "a": TASKS["regression"]({"mean": 0, "scale": 1}),
        "b": TASKS["classification"](["x", "y"]),
    }
    inputs = keras.Input((3,))
    outputs = {name: task.head(inputs, name) for name, task in tasks.items()}
    return inputs, outputs, tasks


def test_the_loss_is_the_papers(rng):
    inputs, outputs, tasks = network()
    model = weighing.Weighed(inputs, outputs, tasks)
    model.compile("sgd", loss={name: task.loss() for name, task in tasks.items()})
    model.log_variances.assign([0.7, -0.4])
    x = rng.standard_normal((5, 3)).astype("float32")
    y = {"a": rng.standard_normal((5, 1)), "b": np.eye(2)[[0, 1, 1, 0, 1]]}
    told = model(x)
    each = {name: float(tasks[name].loss()(y[name], told[name])) for name in tasks}
    expected = 0.5 * np.exp(-0.7) * each["a"] + 0.7 / 2
    expected += np.exp(0.4) * each["b"] - 0.4 / 2
    found = model.compute_loss(x, y, told, training=True)
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)
    plain = model.compute_loss(x, y, told, training=False)
    np.testing.assert_allclose(float(plain), each["a"] + each["b"], rtol=1e-5)


def test_fixed_weights_multiply_the_losses(recipe):
    whole = several(recipe, "train.loss_weights={label: 2, loudness: 0.5}")
    expected = {"label": 2.0, "parity": 1.0, "properties": 1.0, "loudness": 0.5}
    assert loss_weights(whole.train, TARGETS) == expected


def test_weights_of_targets_that_are_not_there_are_told(recipe):
    with pytest.raises(config.RecipeError, match="no target `lable`.*did you mean `la"):
        several(recipe, "train.loss_weights={lable: 2}")
    with pytest.raises(config.RecipeError, match="goes without train.balance"):
        several(recipe, "train.loss_weights=uncertainty", "train.balance=blending")
