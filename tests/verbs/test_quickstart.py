import json
from pathlib import Path

import pytest

from mmkeras import cli, config, digits, verbs
from mmkeras.verbs import quickstart

CONTENT = {
    "lesson": "redundant",
    "accuracy": {"text": 0.7, "late_fusion": 0.85, "fusion": 0.925},
    "verdict": "Fusion helped: 92.5 % against 70.0 % of text alone, +22.5 points.",
    "run": "runs/q/run",
    "report": "runs/q/run/report.html",
    "export": "runs/q/export/2",
    "rows_proved": 45,
    "max_difference": 6e-8,
    "answers": [
        {
            "sent": {"text": "six", "image": "images/1.png", "audio": ""},
            "label": "6",
            "probability": 0.912,
            "truth": {"label": "6"},
        }
    ],
    "seconds": 61.4,
}


def test_the_text_is_short_aligned_and_tells_all():
    text = quickstart._text(CONTENT)
    assert max(map(len, text.splitlines())) <= 88
    assert "Done in 61 s: redundant digits" in text
    rows = "    text         70.0 %\n    late fusion  85.0 %\n    fusion       92.5 %\n"
    assert rows in text and CONTENT["verdict"] in text
    assert "six + image -> 6 (91.2 %), truth 6" in text
    assert "max difference 6.0e-08" in text
    assert f'"{Path("runs/q/export").resolve()}":/models/digits' in text
    assert "mmkeras predict runs/q/export --text seven" in text


def test_every_lesson_has_a_recipe_that_is_shipped():
    lessons = ("redundant", "unique", "synergy")
    assert tuple(quickstart.RECIPES) == lessons
    for name in quickstart.RECIPES.values():
        assert config.load(config.shipped(name)).name


def test_aligned_and_wrapped():
    assert verbs.aligned([["a", "bb"], ["aaa", "b"]]) == "a    bb\naaa   b"
    wrapped = verbs.wrapped("word " * 40, "  ").splitlines()
    assert len(wrapped) == 3 and all(line.startswith("  word") for line in wrapped)
    assert max(map(len, wrapped)) <= 80


def test_only_banners_of_tensorflow_are_silenced():
    for line in (
        "WARNING: All log messages before absl::InitializeLog() is called are written",
        "I0000 00:00:1795330224.2 895 cudart_stub.cc:31] Could not find cuda drivers",
        "E0000 00:00:1 895 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA",
    ):
        assert verbs.BANNERS.search(line)
    for line in ("E0000 00:00:1 895 x.cc:1] out of memory", "ImportError: no keras"):
        assert not verbs.BANNERS.search(line)


@pytest.mark.nightly
def test_quickstart_beside_an_earlier_one(tmp_path, capfd):
    """From nothing to served answers; what an earlier one left stays."""
    folder = tmp_path / "redundant_quick"
    digits.write(folder / "data", rows=300, seed=0)
    for earlier in (folder / "run" / "model.keras", folder / "export" / "1" / "x.pb"):
        earlier.parent.mkdir(parents=True)
        earlier.touch()
    code = cli.main(["quickstart", "--quick", "--json", "--folder", str(tmp_path)])
    shown = capfd.readouterr()
    assert code == 0, shown.err
    found = json.loads(shown.out)
    assert found["run"] == str(folder / "run-2")
    assert found["export"] == str(folder / "export" / "2")
    assert [path.name for path in (folder / "run").iterdir()] == ["model.keras"]
    assert Path(found["report"]).is_file()
    assert found["rows_proved"] == 45 and found["max_difference"] <= 1e-5
    names = ["text", "image", "audio", "late_fusion", "fusion"]
    assert list(found["accuracy"]) == names
    assert found["verdict"].startswith("Fusion ")
    assert len(found["answers"]) == 3
    assert "absl::InitializeLog" not in shown.err
