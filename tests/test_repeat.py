"""The same recipe gives the same bits, by command line, pipeline and Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmkeras import config, manifest, run, train

ROOT = Path(__file__).parent.parent

TREE = {
    "name": "texts",
    "data": {
        "inputs": {"text": {"kind": "text", "length": 4}},
        "targets": {"label": "classification"},
    },
    "branches": {"text": {"kind": "gru", "units": 4, "embedding_dim": 4}},
    "fusion": {"kind": "concat", "units": 4, "hidden": 4},
    "augment": {"word_dropout": 0.1},
    "train": {"epochs": 2, "batch_size": 8, "deterministic": True},
}


@pytest.fixture
def path(tmp_path):
    """A recipe whose manifest is relative to `tmp_path`."""
    lines = ["text,label,split"]
    for number in range(32):
        split = ("train", "train", "valid", "test")[number // 2 % 4]
        lines.append(
            f"{'apple bear'.split()[number % 2]} {number},{number % 2},{split}"
        )
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {**TREE, "data": {**TREE["data"], "manifest": "rows.csv"}}
    (tmp_path / "texts.yaml").write_text(config.dump(config.parse(tree)))
    return tmp_path / "texts.yaml"


@pytest.mark.slow
def test_three_ways_of_one_recipe_give_the_same_bits(path, tmp_path):
    def process(*command):
        subprocess.run([sys.executable, *command], check=True, cwd=tmp_path)

    process("-m", "mmkeras.cli", "train", "texts.yaml", "--run", "one")
    # What a run keeps of its recipe repeats it.
    process(ROOT / "pipelines" / "train.py", "one/recipe.yaml", "--run", "two")
    code = (
        "from mmkeras import config, manifest, train; "
        "recipe = config.load('texts.yaml'); "
        "train.fit(recipe, manifest.read(recipe.data), folder='three')"
    )
    process("-c", code)
    one, two, three = (
        run.open_folder(tmp_path / name) for name in ("one", "two", "three")
    )
    for other in (two, three):
        assert other.recipe_yaml.read_text() == one.recipe_yaml.read_text()
        assert other.history_csv.read_text() == one.history_csv.read_text()
        pairs = zip(other.model.get_weights(), one.model.get_weights(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


def test_deterministic_is_as_the_recipe_says(path, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        train.tf.config.experimental, "enable_op_determinism", lambda: asked.append(1)
    )
    monkeypatch.chdir(tmp_path)

    class Enough(Exception):
        pass

    def prepare(*arguments, **options):
        raise Enough

    monkeypatch.setattr(train, "prepare", prepare)
    for told, expected in (("false", 0), ("true", 1)):
        recipe = config.load(path, [f"train.deterministic={told}"])
        rows = manifest.read(recipe.data)
        with pytest.raises(Enough):
            train.fit(recipe, rows, folder=tmp_path / "run")
        assert len(asked) == expected
