"""Functions of one's own as branches: what is refused, and the way from rows to server.

That they keep the contract of all branches is tested with the others.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mmkeras import answering, config, explain, export, manifest, train
from mmkeras.branches import IMAGE, own
from mmkeras.config import RecipeError

FILE = Path(__file__).parent / "own_branches.py"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", "function: `` names no function; name it as `my_branches.py:build`, the"),
        (f"{FILE}", "names no function; name it as"),
        (f"{FILE}:", "names no function; name it as"),
        (
            f"{FILE}:poled",
            "has no function `poled`; it has words, sentence, feature_map",
        ),
        (f"{FILE}:SIZE", "has no function `SIZE`"),
        (
            f"{FILE}:asks_too_much",
            "asks for `depth`. Behind the tensor it may ask for nothing; give the rest "
            "defaults",
        ),
        (f"{FILE}:breaks", "breaks: ValueError: "),
        (
            f"{FILE}:gives_numbers",
            "gives list. Expected a Keras tensor of floats and of",
        ),
        (f"{FILE}:unknown", "`Unknown` could not be read again from the saved model: "),
        (f"{FILE}:unknown", "put @keras.saving.register_keras_serializable() before"),
        (
            f"{FILE}:forgetful",
            "`Forgetful` could not be read again from the saved model",
        ),
        (f"{FILE}:forgetful", "its get_config lacks something: "),
        ("{folder}/torn.py:build", "torn.py:build: SyntaxError: "),
        (
            "{folder}/numpy.py:build",
            "another module is called `numpy`; rename the file",
        ),
    ],
)
def test_what_is_no_branch_is_told(where, expected, tmp_path):
    (tmp_path / "torn.py").write_text("def build(pixels:\n")
    (tmp_path / "numpy.py").write_text("def build(pixels): return pixels\n")
    with pytest.raises(ValueError) as caught:
        IMAGE["own"]("it", size=32, function=where.format(folder=tmp_path))
    assert expected in str(caught.value)


def test_ids_are_no_tokens():
    from mmkeras.branches import TEXT

    expected = (
        r"gives \(None, 6\) int32. Expected a Keras tensor of floats.*steps, dim\)$"
    )
    with pytest.raises(ValueError, match=expected):
        TEXT["own"]("it", length=6, vocabulary_size=9, function=f"{FILE}:gives_ids")


def test_a_spectrogram_that_is_not_there_cannot_be_masked():
    from mmkeras.branches import AUDIO

    with pytest.raises(ValueError, match="augment.audio_time_mask .* leave them out"):
        AUDIO["own"]("it", (0.1, 0), rate_hz=8000, clip_samples=1600)


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """A recipe of texts and pictures, read by `mine.py` beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(FILE, "mine.py")
    rng, lines = np.random.default_rng(0), ["text,photo,label,split"]
    for at in range(40):
        name, split = f"{at}.png", ("train", "valid", "test")[max(0, at - 24) // 8]
        pixels = rng.integers(0, 128, (16, 16, 3)) + 127 * (at % 2)
        keras.utils.save_img(name, pixels, scale=False)
        lines.append(f"row {('dark', 'light')[at % 2]},{name},{'ab'[at % 2]},{split}")
    Path("rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {
        "name": "mine",
        "data": {
            "manifest": "rows.csv",
            "inputs": {
                "text": {"kind": "text", "length": 4},
                "photo": {"kind": "image", "size": 16},
            },
            "targets": {"label": "classification"},
        },
        "branches": {
            "text": {"kind": "own", "function": "mine.py:words"},
            "photo": {"kind": "own", "function": "mine.py:doubled"},
        },
        "fusion": {"kind": "attention", "units": 8},
        "train": {
            **{"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "patience": 0},
            "baselines": False,
        },
    }
    yield config.parse(tree)
    sys.modules.pop("mine", None)


@pytest.mark.slow
def test_a_run_of_ones_own_branches_learns_is_explained_and_served(chosen, tmp_path):
    rows = manifest.read(chosen.data)
    made = train.fit(chosen, rows, folder="run", log=lambda line: None)
    path, _ = export.saved_model(
        made, "served", rows.split("test"), log=lambda line: None
    )
    found = answering.predict(path, "rows.csv")
    assert list(found["label"]) == list(answering.predict(made, "rows.csv")["label"])
    assert (found["label"] == [*"ab"] * 20).mean() > 0.9

    part = explain.row(made, rows, "40").parts["photo"]
    assert part["looked_at"][0]["method"] == "grad_cam" and part["map"].max() == 1
    # In a process of its own the run finds its layers in the file, and says so where
    # that is gone.
    opened = "from mmkeras import run; print(run.open_folder('run').model.name)"
    command = [sys.executable, "-c", opened]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    Path("mine.py").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "Doubled" in done.stderr


def test_a_missing_file_is_told_before_anything_is_decoded(chosen, monkeypatch):
    rows = manifest.read(chosen.data)
    Path("mine.py").unlink()
    monkeypatch.setattr(train, "prepare", None)
    with pytest.raises(
        FileNotFoundError, match="mine.py: the function mine.py:words is named from"
    ):
        train.fit(chosen, rows, folder="run", log=lambda line: None)
    own.imported(chosen.branches, required=False)
    Path("mine.py").write_text("def word(ids): return ids\n")  # read anew
    with pytest.raises(RecipeError, match="branches.text: function: .* it has word$"):
        train.fit(chosen, rows, folder="run", log=lambda line: None)
    assert not Path("run").exists()
