import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmkeras import cli, config, families
from mmkeras.config import RecipeError

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "pipelines" / "recipes").glob("*.yaml"))


def tree(**changes):
    return {
        "name": "birds",
        "data": {
            "manifest": "birds.csv",
            "inputs": {"text": "text", "image": "image", "audio": "audio"},
            "targets": {"label": "classification"},
        },
        **changes,
    }


def faults(content, *overrides):
    """The faults of a recipe, one a line, without the count before them."""
    with pytest.raises(RecipeError) as caught:
        config.parse(content, overrides, source="birds.yaml")
    head, *lines = str(caught.value).splitlines()
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    assert head == f"birds.yaml has {count}:"
    return [line.strip() for line in lines]


def told(content, *overrides):
    """The message where it is the only fault."""
    (line,) = faults(content, *overrides)
    return line


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_load_and_come_back_from_yaml(path):
    recipe = config.load(path)
    assert recipe.name == path.stem
    text = config.dump(recipe)
    assert config.parse(yaml.safe_load(text)) == recipe
    assert config.dump(config.parse(yaml.safe_load(text))) == text
    assert config.shipped(path.name).samefile(path)


def test_a_dump_spells_every_option_out():
    found = yaml.safe_load(config.dump(config.parse(tree())))
    assert found["schema"] == 1
    assert found["data"]["inputs"]["image"] == families.resolve("modalities", "image")
    assert found["branches"]["audio"] == families.resolve("branches.audio", {})
    assert found["fusion"] == families.resolve("fusion", {})
    assert found["train"]["epochs"] == 12


def test_an_unknown_shipped_recipe_lists_those_there_are():
    with pytest.raises(
        FileNotFoundError, match=r"`nope.yaml`. There are: .*digits.yaml"
    ):
        config.shipped("nope.yaml")


def test_short_forms_of_every_family_equal_the_long_ones():
    short = tree(branches={"text": "transformer"}, fusion="attention")
    long = tree(
        branches={"text": {"kind": "transformer"}}, fusion={"kind": "attention"}
    )
    assert config.parse(short) == config.parse(long)


def test_a_section_left_empty_takes_its_defaults():
    empty = tree(branches=None, fusion=None, augment=None, train=None)
    assert config.parse(empty) == config.parse(tree())


def test_parse_leaves_its_argument_alone():
    content = tree(branches={"text": {"units": 3}})
    before = json.dumps(content)
    config.parse(content, ["train.epochs=3", "data.inputs.image.size=64"])
    assert json.dumps(content) == before


def test_faults_of_every_section_are_told_at_once():
    found = faults(
        tree(
            train={"epochs": 0, "optimizer": "sgdd"},
            fusion={"kind": "cocnat"},
            branches={"text": {"untis": 3}, "imag": {}},
            data={
                "manifest": 3,
                "inputs": {"text": "text", "image": {"kind": "image", "size": -1}},
                "targets": {"label": "clasification"},
            },
        )
    )
    assert sorted(found) == sorted(
        [
            "`data.manifest`: Input should be a valid string, got 3",
            "`train.epochs`: Input should be greater than 0, got 0",
            "`train.optimizer`: Input should be 'adam', 'adamw', 'sgd', 'rmsprop', "
            "'nadam', 'adamax', 'lamb', 'lion', 'adafactor', 'adagrad', 'adadelta' or "
            "'ftrl', got 'sgdd' (did you mean `sgd`?)",
            "data.inputs.image: `size`: Input should be greater than 0, got -1",
            "data.targets.label: no kind `clasification`. Kinds: "
            f"{', '.join(families.kinds('tasks'))} (did you mean `classification`?)",
            "branches: no input `imag`. Inputs: text, image (did you mean `image`?)",
            "branches.text: unknown key `untis` for `lstm`. "
            "Keys: embedding_dim, units, dropout (did you mean `units`?)",
            "fusion: no kind `cocnat`. Kinds: "
            f"{', '.join(families.kinds('fusion'))} (did you mean `concat`?)",
        ]
    )


def test_missing_sections_are_named():
    assert faults({}) == [
        "`name` is missing for `recipe`",
        "`data` is missing for `recipe`",
    ]
    assert told(tree(data={"manifest": "a", "inputs": {"a": "text"}})) == (
        "`data.targets` is missing for `data`"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trian.epochs=2", "unknown key `trian` for `recipe`. Keys: schema, name, "),
        ("trian.epochs=2", "(did you mean `train`?)"),
        ("epochs=2", "unknown key `epochs` for `recipe`: it is `train.epochs`"),
        ("train.epoch=2", "unknown key `train.epoch` for `train`. Keys: epochs, "),
        ("train.epoch=2", "(did you mean `epochs`?)"),
        ("train.epochs=yes", "`train.epochs`: expected a number, got True"),
        ("train.epochs=1.5", "`train.epochs`: "),
        ("train.learning_rate=.inf", "finite number, got inf"),
        ("train.seed=-1", "greater than or equal to 0, got -1"),
        ("train.seed=2147483648", "less than 2147483648, got 2147483648"),
        ("train=3", "`train`: expected a mapping of keys, got 3"),
        ("fusion=3", "`fusion`: expected a mapping of keys, got 3"),
        ("fusion.kind=[concat]", "fusion: no kind `['concat']`. Kinds: "),
        ("schema=2", "`schema`: Input should be 1, got 2"),
        (
            "name=my birds",
            "`name`: expected ASCII letters, digits, `_`, `.` and `-`, got",
        ),
        ("name=..", "`name`: expected ASCII letters"),
        ("name=a/b", "got 'a/b'"),
        ("data.separator=;;", "`data.separator`: expected one character"),
        ("data.separator=", "`data.separator`: "),
        (
            "data.shares=[0.5, 0.2, 0.2]",
            "must add up to 1, not 0.9, got [0.5, 0.2, 0.2]",
        ),
        ("data.shares=[0.5, 0.5]", "`data.shares.2` is missing"),
        ("data.inputs={}", "data.inputs: name at least one column"),
        ("data.targets={}", "data.targets: name at least one column"),
        ("data.inputs=[a]", "`data.inputs`: expected a mapping of keys, got ['a']"),
        ("data.inputs={1: text}", "`data.inputs.1`: expected a name; quote it in YAML"),
        ("data.inputs={no: text}", "expected a name; quote it in YAML, got False"),
        (
            "data.inputs.photo=imag",
            "data.inputs.photo: no kind `imag`. Kinds: text, image",
        ),
        ("data.inputs.foto-1=image", "`foto-1` cannot name a tensor"),
        (
            "data.inputs.图=image",
            "`图` cannot name a tensor of the served model: give it a name of ASCII "
            "letters, digits and underscores here, and the file's under data.columns, "
            "as columns: {text: 图}",
        ),
        (
            "data.columns.txt=文本",
            "data.columns: no input or target reads `txt`. Names: text, image, audio, "
            "label (did you mean `text`?)",
        ),
        (
            "data.columns.split=划分",
            "`split` is no input or target: that column is named by a key of its own, "
            "data.split: 划分",
        ),
        (
            "data.columns.text=image",
            "data.columns: the column `image` is that of two names",
        ),
        ("data.columns.text=[a]", "`data.columns.text`: Input should be a valid str"),
        ("data.inputs.1st=image", "`1st` cannot name a tensor"),
        ("data.targets.my label=classification", "`my label` cannot name a tensor"),
        ("data.targets.text=classification", "`text` is both an input and a target"),
        (
            "data.inputs.image_bytes=text",
            "to a part of input `image`: rename the column",
        ),
        (
            "branches.imag.units=3",
            "branches: no input `imag`. Inputs: text, image, audio",
        ),
        ("branches.image.kind=lstm", "branches.image: no kind `lstm`. Kinds: cnn, "),
    ],
)
def test_a_fault_names_key_value_and_remedy(override, expected):
    assert expected in told(tree(), override)


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("tabular", "person: no columns. List those of numbers under `numbers` and"),
        ("{kind: tabular, numbers: age}", "expected a list of columns, as [age], got"),
        ("{kind: tabular, numbers: [a, b, a]}", "the column `a` is listed twice"),
        ("{kind: tabular, numbers: [a], categories: [a]}", "`a` is listed twice"),
        ("{kind: text, columns: [a, a]}", "person: the column `a` is listed twice"),
        ("{kind: text, columns: [a, label]}", "column `label` is a target, which a"),
        ("{kind: tabular, categories: [label]}", "the column `label` is a target"),
        ("{kind: tabular, numbers: [height cm]}", "`height cm` cannot name a tensor"),
        ("{kind: tabular, numbers: [image]}", "`image` is the name of a file that is"),
        ("{kind: text, columns: [image_bytes]}", "`image_bytes` is the name of a file"),
        ("{kind: tabular, numbers: [1]}", "`numbers.0`: Input should be a valid str"),
        ("{kind: image, columns: [a]}", "unknown key `columns` for `image`"),
    ],
)
def test_faults_in_the_columns_of_an_input(person, expected):
    assert expected in told(tree(), f"data.inputs.person={person}")


def test_columns_come_back_from_yaml_and_may_bear_any_inputs_name():
    content = tree()
    content["data"]["inputs"] |= {
        "age": {"kind": "tabular", "numbers": ["age", "height"]},
        "all": {"kind": "text", "columns": ["text", "age"]},
    }
    recipe = config.parse(content)
    assert config.parse(yaml.safe_load(config.dump(recipe))) == recipe
    found = yaml.safe_load(config.dump(recipe))["data"]["inputs"]
    assert found["age"]["numbers"] == ["age", "height"]
    assert recipe.branches["age"]["kind"] == "tokens"


def test_parts_of_an_input_are_no_names_of_others():
    content = tree()
    person = {"kind": "tabular", "numbers": ["a"]}
    content["data"]["inputs"] |= {"person": person, "person_seen": "text"}
    assert "to a part of input `person`" in told(content)
    content["data"]["inputs"]["person"] = "text"
    config.parse(content)


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("data.inputs.image.size=65", ("data", "inputs", "image", "size"), 65),
        ("branches.text=transformer", ("branches", "text", "kind"), "transformer"),
        ("branches.text.units=7", ("branches", "text", "units"), 7),
        ("fusion=attention", ("fusion", "kind"), "attention"),
        ("fusion.kind=weighted", ("fusion", "kind"), "weighted"),
        ("train.learning_rate=2e-3", ("train", "learning_rate"), 0.002),
        ("train.learning_rate=1", ("train", "learning_rate"), 1.0),
        (" train.epochs =3", ("train", "epochs"), 3),
        ("augment.audio_snr_db=5", ("augment", "audio_snr_db"), 5.0),
        ("data.shares=[0.5, 0.25, 0.25]", ("data", "shares"), [0.5, 0.25, 0.25]),
        ("data.manifest=a=b.csv", ("data", "manifest"), "a=b.csv"),
        ("data.separator=;", ("data", "separator"), ";"),
        ('data.separator="\\t"', ("data", "separator"), "\t"),
    ],
)
def test_set_reaches_its_key_and_no_other(override, keys, value):
    base = yaml.safe_load(config.dump(config.parse(tree())))
    changed = yaml.safe_load(config.dump(config.parse(tree(), [override])))
    assert changed != base
    section, expected = changed, base
    for key in keys[:-1]:
        section, expected = section[key], expected[key]
    assert section.pop(keys[-1]) == value
    expected.pop(keys[-1])
    if keys[-1] != "kind":  # another kind has other options
        assert changed == base


def test_the_last_of_two_overrides_holds():
    assert config.parse(tree(), ["train.epochs=3", "train.epochs=4"]).train.epochs == 4


@pytest.mark.parametrize("override", ["train.epochs", "", "=3", " =3"])
def test_set_without_key_or_value_shows_the_form(override):
    with pytest.raises(RecipeError, match=r"--set takes key\.path=value, got "):
        config.parse(tree(), [override])


def test_set_tells_bad_yaml_in_one_line():
    with pytest.raises(RecipeError) as caught:
        config.parse(tree(), ["train.epochs=["])
    assert str(caught.value).startswith("--set train.epochs=[: the value is not YAML: ")
    assert len(str(caught.value).splitlines()) == 1


def test_set_into_a_number_says_so():
    with pytest.raises(RecipeError, match="--set: 3 has no key `deep`"):
        config.parse(tree(train={"epochs": 3}), ["train.epochs.deep=3"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1,\nfoo: 3: 4", "is not YAML: expected .* line 2, column 7"),
        ("a:\tb", "is not YAML: found character '\\\\t'"),
        ("", "expected a mapping of keys, found None"),
        ("just words", "expected a mapping of keys, found 'just words'"),
        ("- a\n- b", r"expected a mapping of keys, found \['a', 'b'\]"),
        (
            "name: a\ntrain: {epochs: 1,\n  epochs: 2}",
            "`epochs` stands twice: lines 2 and 3",
        ),
        ("train: {}\nname: a\ntrain: {}", "`train` stands twice: lines 1 and 3"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, expected):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=expected) as caught:
        config.load(path)
    assert str(path) in str(caught.value)


def test_bytes_a_folder_and_no_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(RecipeError, match="is not YAML: 'utf-8'.* 0xff"):
        config.load(path)
    with pytest.raises(RecipeError, match="is a folder; a recipe is a YAML file"):
        config.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no recipe at .*none.yaml"):
        config.load(tmp_path / "none.yaml")


def test_quick_changes_the_epochs_alone():
    recipe = config.parse(tree())
    quick = config.quick(recipe)
    assert quick.train.epochs == 1
    assert config.parse(tree(), ["train.epochs=1"]) == quick


def test_the_json_schema_holds_every_kind_and_can_be_written():
    schema = json.loads(json.dumps(config.json_schema()))
    for family in families.FAMILIES:
        for kind, model in families.kinds(family).items():
            options = schema["$defs"][f"{family}.{kind}"]["properties"]
            assert set(options) == set(model.model_fields)
    # An editor must not mark the short form `image: image`.
    inputs = schema["$defs"]["Data"]["properties"]["inputs"]
    allowed = inputs["additionalProperties"]["anyOf"]
    assert {each["type"] for each in allowed} == {"string", "object"}


def test_a_bad_recipe_ends_with_2_without_traceback_and_without_tensorflow(tmp_path):
    path = tmp_path / "bad.yaml"
    content = tree(train={"epochs": 0}, fusion="cocnat", nmae="x")
    path.write_text(yaml.safe_dump(content))
    code = (
        "import sys; from mmkeras import cli; code = cli.main(sys.argv[1:]); "
        "print(code, [m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(path)], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{cli.USAGE} []"
    assert done.stderr.startswith(f"mmkeras train: {path} has 3 faults:\n")
    for part in ("`train.epochs`", "`cocnat`", "`nmae`"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr
