"""`mmkeras show`: the model of a recipe, with and without data, and of a run."""

import json
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import keras
import pytest
import yaml

from mmkeras import cli, config


@pytest.fixture(scope="module")
def recipe_yaml(recipe, tmp_path_factory):
    """The shared tiny recipe as a file."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(config.dump(recipe), encoding="utf-8")
    return path


def show(capsys, *arguments):
    code = cli.main(["show", *map(str, arguments)])
    return code, capsys.readouterr()


def shown_json(capsys, *arguments):
    code, shown = show(capsys, *arguments, "--json")
    assert code == 0, shown.err
    return json.loads(shown.out)


def test_a_recipe_with_data_is_the_model_that_training_makes(
    capsys, recipe_yaml, trained
):
    found = shown_json(capsys, recipe_yaml)
    assert list(found) == ["name", "parameters", "trainable", "notes", "parts"]
    assert found["name"] == "tiny"
    assert found["parts"] == trained.read_json(trained.parameters_json)
    assert found["parameters"] == trained.model.count_params()
    assert found["parameters"] > found["trainable"]
    (note,) = found["notes"]
    assert note.startswith("Vocabulary and classes are those of 210 train rows of ")


def test_the_text_is_a_diagram_and_a_table(capsys, recipe_yaml, trained):
    code, shown = show(capsys, recipe_yaml)
    assert code == 0 and shown.out.isascii()
    name, diagram, table, _ = shown.out.split("\n\n")
    assert name == "tiny"
    assert diagram.splitlines() == [
        "text 8 ids         --> lstm 8 tokens x 8 --+",
        "image 16 x 16 x 3  --> cnn 16 tokens x 8 --+--> concat 16 --+--> label 10",
        "audio 2400 samples --> cnn 8 tokens x 8  --+",
    ]
    head, *lines = table.splitlines()
    assert head.split() == ["part", "kind", "gives", "parameters", "trainable"]
    total = f"{trained.model.count_params():,}"
    assert lines[-1].split()[:2] == ["all", total]


def test_without_data_the_sizes_are_bounds_and_said_to_be(capsys, recipe_yaml):
    settings = ("--set", "data.manifest=none.csv")
    found = shown_json(capsys, recipe_yaml, *settings)
    (note,) = found["notes"]
    assert "none.csv is not there" in note and "upper bound" in note
    head = found["parts"][-1]
    assert (head["shape"], head["assumed"]) == ([2], True)
    text = next(part for part in found["parts"] if part["part"] == "branch")
    assert text["parameters"] > 8 * 10_000  # vectors of 8 for the whole vocabulary
    _, shown = show(capsys, recipe_yaml, *settings)
    assert "--> label 2?\n" in shown.out
    few = shown_json(
        capsys, recipe_yaml, *settings, "--set", "data.inputs.text.vocabulary_size=100"
    )
    assert found["parameters"] - few["parameters"] == 8 * 9_900


def test_frozen_backbones_need_no_weights_and_are_called_frozen(capsys, recipe_yaml):
    settings = [
        "--set=data.manifest=none.csv",
        "--set=data.inputs.image.size=32",
        "--set=branches.image={kind: vgg16, weights: nowhere.h5}",
        "--set=data.targets.more=classification",
    ]
    code, shown = show(capsys, recipe_yaml, *settings)
    assert code == 0
    assert (
        "image 32 x 32 x 3  --> vgg16 1 x 1 x 512, frozen --> 1 token x 64" in shown.out
    )
    text, image, _ = shown.out.split("\n\n")[1].splitlines()
    arrow = text.index("> lstm")
    assert image[arrow:].startswith("> 1 token x 64") and "---- " not in text[:arrow]
    assert "+--> label 2?" in shown.out and "+--> more 2?" in shown.out
    line = next(line for line in shown.out.splitlines() if "image backbone" in line)
    assert line.split()[-2:] == ["14,714,688", "0"]


def test_svg_draws_it(capsys, recipe_yaml, tmp_path):
    path = tmp_path / "model.svg"
    found = shown_json(capsys, recipe_yaml, "--svg", path)
    assert found["svg"] == str(path)
    texts = [each.text for each in ElementTree.parse(path).iter() if each.text]
    assert {"text", "image", "audio", "concat", "label"} <= set(texts)
    code, shown = show(capsys, recipe_yaml, "--svg", path)
    assert code == 0 and f"diagram: {path}\n" in shown.out


def test_a_run_is_shown_as_it_was_trained(capsys, trained, recipe_yaml):
    found = shown_json(capsys, trained.folder)
    assert found["parts"] == shown_json(capsys, recipe_yaml)["parts"]
    assert found["notes"] == []


def test_a_run_that_wrote_no_parameters_is_loaded(capsys, trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "old")
    (tmp_path / "old" / "parameters.json").unlink()
    found = shown_json(capsys, tmp_path / "old")
    assert found["parts"] == trained.read_json(trained.parameters_json)
    assert "no parameters.json" in found["notes"][0]


def test_a_run_keeps_what_was_frozen(digits_csv, tmp_path):
    """What `model.keras` alone does not tell."""
    from mmkeras import model, run

    inputs = {"image": {"kind": "image", "size": 32}}
    recipe = config.parse(
        {
            "name": "frozen",
            "data": {
                "manifest": str(digits_csv),
                "inputs": inputs,
                "targets": {"label": "classification"},
            },
            "branches": {"image": {"kind": "vgg16", "weights": None}},
        }
    )
    from mmkeras import modalities, tasks

    made = run.create(tmp_path / "run", recipe)
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    network = model.build(
        recipe, decoders, tasks.make(recipe.data.targets, {"label": ["a", "b"]})
    )
    made.write_outline(model.outline(network, recipe))
    (backbone,) = [
        part
        for part in made.read_json(made.parameters_json)
        if part["part"] == "backbone"
    ]
    assert backbone["trainable"] == 0 and "frozen" in made.diagram.read_text("utf-8")
    assert isinstance(network, keras.Model)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{recipe}", "--set", "fusion.unit=3"], 2, "(did you mean `units`?)"),
        (["{recipe}", "--set", "branches.image.num_blocks=9"], 2, "branches.image: "),
        (["{recipe}", "--jsn"], 2, "unknown arguments: --jsn. See --help"),
        (["{run}", "--set", "fusion=late"], 2, "--set changes a recipe; "),
        (["none.yaml"], 3, "no recipe at none.yaml"),
        (["{recipe}", "--svg", "none/model.svg"], 3, "no folder for --svg none/mod"),
        (["{empty}"], 3, "holds no trained run: no recipe.yaml in it"),
    ],
)
def test_errors(capsys, recipe_yaml, trained, tmp_path, arguments, code, told):
    places = {"recipe": recipe_yaml, "run": trained.folder, "empty": tmp_path}
    given = [argument.format(**places) for argument in arguments]
    found, shown = show(capsys, *given)
    assert (found, shown.out) == (code, "")
    assert told in shown.err


def test_a_manifest_that_cannot_be_used_is_4(capsys, recipe_yaml, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("words,label\na,x\n", encoding="utf-8")
    code, shown = show(capsys, recipe_yaml, "--set", f"data.manifest={path}")
    assert code == cli.REFUSED and "no column `text`" in shown.err
    path.write_text("text,image,audio,label,split\na,,,x,test\n", encoding="utf-8")
    code, shown = show(capsys, recipe_yaml, "--set", f"data.manifest={path}")
    assert code == cli.REFUSED and "no usable row in the train split" in shown.err


def test_help_imports_no_tensorflow():
    code = (
        "import atexit, sys; from mmkeras import cli; atexit.register(lambda: print("
        "[m for m in ('tensorflow', 'keras', 'matplotlib') if m in sys.modules])); "
        "cli.main(['show', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"
    assert "usage: mmkeras show" in done.stdout


def test_shipped_recipes_are_shown_without_their_data(capsys, tmp_path, monkeypatch):
    from mmkeras.config import shipped

    source = shipped("digits_synergy.yaml")
    monkeypatch.chdir(tmp_path)
    code, shown = show(capsys, source)
    assert code == 0 and "--> low_rank 128 --+--> label 2?" in shown.out
    name = yaml.safe_load(source.read_text(encoding="utf-8"))["name"]
    assert shown.out.startswith(f"{name}\n")
