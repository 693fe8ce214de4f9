"""Every shipped recipe trains, small, on a manifest that is not its own."""

from pathlib import Path

import numpy as np
import pytest

from mmkeras import config, digits, manifest

RECIPES = sorted(
    (Path(__file__).parent.parent / "pipelines" / "recipes").glob("*.yaml")
)
# No weights can be fetched in a test: what is pretrained there is random here.
SMALL = {
    "image_text": ["branches.image.weights=null", "data.inputs.image.size=32"],
    "pictures": ["train.learning_rate=0.001"],
}


@pytest.fixture(scope="session")
def lessons(tmp_path_factory):
    """{column: a small manifest that has it}."""
    root = tmp_path_factory.mktemp("lessons")
    unique = digits.write(root / "unique", lesson="unique", rows=40, seed=0)
    plain = digits.write(root / "redundant", rows=60, seed=0)
    return {"total": unique, "label": plain, "properties": plain}


# All of them take minutes; one is tried each time, and some are much like others.
OFTEN = ("intents",)
ALIKE = ("digits_unique", "digits_synergy", "multilabel", "regression")


def how_often(name):
    """The markers of a recipe's test."""
    if name in OFTEN:
        return ()
    return pytest.mark.nightly if name in ALIKE else pytest.mark.slow


TRIED = [
    pytest.param(path, marks=how_often(path.stem), id=path.stem) for path in RECIPES
]


@pytest.mark.parametrize("path", TRIED)
def test_it_trains_on_another_manifest(path, lessons, tiny_bert, tmp_path):
    from mmkeras import dataset, evaluate, train

    plain = config.load(path)
    csv = lessons[next(iter(plain.data.targets))]
    changes = [f"data.manifest={csv}", "train.epochs=1", "train.baselines=false"]
    if plain.name == "intents":  # whose rows outside are a label of the set
        changes.append("data.targets.label.outside='9'")
    if plain.name == "visual_questions_bert":
        changes.append(f"branches.text.preset={tiny_bert}")
    recipe = config.load(path, changes + SMALL.get(plain.name, []))
    rows = manifest.read(recipe.data)
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=lambda _: None)
    judged = evaluate.judge(run, rows.split("test"), log=lambda _: None)
    assert judged["rows"] == len(rows.split("test")) > 0
    inputs, _ = dataset.load(rows.split("test"), run.decoders)
    outputs = evaluate.predict(run.model, inputs, judged["rows"])
    for name, task in run.tasks.items():
        assert len(task.decode(outputs[name])) == judged["rows"]
        assert np.isfinite(outputs[name]).all()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_is_named_as_its_file(path):
    assert config.load(path).name == path.stem
