import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from mmkeras import config

FOLDER = Path(__file__).parent.parent / "pipelines"
NAMES = ["train", "evaluate", "export"]


def pipeline(name):
    spec = importlib.util.spec_from_file_location(
        f"pipelines_{name}", FOLDER / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_three():
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_with_command_time_and_result_on_top(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= 100
    told = pipeline(name).__doc__
    assert f"    python pipelines/{name}.py " in told
    assert re.search(r"\d+ s\b|seconds|minute", told)
    assert re.search(r"expected|[Pp]rints|within", told)
    stages = re.findall(r"^    # (\d)\. ", text, re.MULTILINE)
    assert stages == [str(number + 1) for number in range(len(stages))]
    assert len(stages) >= 3


def test_train_then_export(two_targets, digits_csv, tmp_path, capsys):
    """The main path on a small set, a run of one input."""
    recipe, _ = two_targets[0].recipe, two_targets[1]
    tree = recipe.model_dump(by_alias=True)
    tree["data"]["inputs"] = {"image": tree["data"]["inputs"]["image"]}
    tree["data"]["targets"] = {"label": "classification"}
    tree["data"]["manifest"] = str(digits_csv)
    tree["branches"] = {"image": tree["branches"]["image"]}
    file = tmp_path / "tiny.yaml"
    file.write_text(config.dump(config.parse(tree)), encoding="utf-8")
    folder = tmp_path / "run"
    pipeline("train").main([str(file), "--run", str(folder), "--quick"])
    shown = capsys.readouterr().out
    assert re.search(r"^\d+ rows read, \d+ refused", shown)
    assert re.search(r"test: accuracy 0\.\d+", shown)
    assert f"report: {folder / 'report.html'}" in shown
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"valid", "test"}
    pipeline("export").main([str(folder), str(tmp_path / "served")])
    shown = capsys.readouterr().out
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    assert re.search(r"served/1: \d+ rows, max difference \d\.\de-\d\d", shown)
    assert re.search(r"^  label: b'\d'$", shown, re.MULTILINE)


def test_evaluate(trained, tmp_path, capsys):
    shutil.copytree(trained.folder, tmp_path / "run")
    pipeline("evaluate").main([str(tmp_path / "run"), "--split", "valid"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("valid: 45 rows, accuracy 0.")
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        *("text", "image", "audio", "late_fusion"),
    ]
    assert lines[5].startswith("Fusion ")
