"""Inputs with one branch: one set of weights, one vocabulary, trained to served."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from keras import ops

from mmkeras import (
    cli,
    config,
    export,
    features,
    manifest,
    modalities,
    model,
    plots,
    tasks,
    train,
)
from mmkeras import run as runs
from mmkeras.config import RecipeError
from mmkeras.train import optimizers

LABELS = {"label": ["a", "b", "c"]}
TEXT = {"kind": "text", "length": 6}
SOUND = {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.3}
SMALL = {
    "lstm": (TEXT, {"kind": "lstm", "units": 8, "embedding_dim": 8}),
    "bert": (TEXT, {"kind": "kerashub", "preset": "{bert}", "units": 8}),
    "tuned bert": (
        TEXT,
        {"kind": "kerashub", "preset": "{bert}", "units": 8, "lora_rank": 2},
    ),
    "cnn": (
        {"kind": "image", "size": 16},
        {"kind": "cnn", "filters": 4, "num_blocks": 2, "units": 8},
    ),
    "vgg16": (
        {"kind": "image", "size": 32},
        {"kind": "vgg16", "weights": None, "trainable": 0.1, "units": 8},
    ),
    "sounds": (SOUND, {"kind": "cnn", "units": 8, "num_layers": 2}),
}
every_kind = pytest.mark.parametrize("kind", SMALL)


def tree(kind, bert="", **changes):
    """A recipe of `first` and, with the same branch, `second`, as nested dicts."""
    decode, branch = SMALL[kind]
    branch = {
        key: value.replace("{bert}", bert) if isinstance(value, str) else value
        for key, value in branch.items()
    }
    return {
        "name": "pairs",
        "data": {
            "manifest": "pairs.csv",
            "inputs": {"first": dict(decode), "second": dict(decode)},
            "targets": {"label": "classification"},
        },
        "branches": {"first": branch, "second": {"same_as": "first"}},
        "fusion": {"kind": "concat", "units": 8, "hidden": 8},
        **changes,
    }


def built(recipe, only=None):
    """A model of a recipe, without data."""
    decoders = modalities.make(recipe.data.inputs, recipe.branches)
    learning = {name: each for name, each in decoders.items() if not each.is_file}
    modalities.learn(learning, recipe.branches, lambda name: ["a b c", "d e f"])
    decoders = {name: decoders[name] for name in only or decoders}
    keras.utils.set_random_seed(0)
    return model.build(recipe, decoders, tasks.make(recipe.data.targets, LABELS))


@pytest.fixture(scope="module")
def networks(tiny_bert):
    """{kind: (recipe, its model)}, each made once; no test changes it."""
    made = {}

    def make(kind):
        if kind not in made:
            recipe = config.parse(tree(kind, tiny_bert))
            made[kind] = recipe, built(recipe)
        return made[kind]

    return make


def batch(network, rows=5, seed=0):
    """Random rows for the inputs of a model; all is there."""
    rng = np.random.default_rng(seed)
    made = {}
    for key, tensor in network.input.items():
        shape = (rows, *tensor.shape[1:])
        if key.endswith("_present"):
            made[key] = np.ones(shape, bool)
        elif key.endswith("_samples"):
            made[key] = np.full(shape, 1500, "int32")
        elif tensor.dtype == "int32":
            made[key] = rng.integers(1, 6, shape).astype("int32")
        else:
            made[key] = rng.uniform(0, 1, shape).astype("float32")
    return made


def corridors(network, given):
    """{input: (tokens, mask)} as they leave the branches."""
    core, backbones = model.parts(network)
    for name, backbone in backbones.items():
        made = backbone({"first": given[name]})
        made = {f"{name}{key[5:]}": np.array(each) for key, each in made.items()}
        given = given | made
    outputs = {
        name: core.get_layer(f"{name}_missing").input for name in ("first", "second")
    }
    return keras.Model(core.input, outputs)({key: given[key] for key in core.input})


@every_kind
def test_there_is_one_set_of_weights(kind, networks, tiny_bert):
    recipe, network = networks(kind)
    core, backbones = model.parts(network)
    branches = model.branches_of(core)
    assert branches["first"] is branches["second"]
    assert backbones.get("first") is backbones.get("second")
    owned = branches["first"].count_params()
    owned += backbones["first"].count_params() if backbones else 0
    others = [
        core.get_layer(name).count_params()
        for name in ("first_missing", "second_missing", "fusion", "label_logits")
    ]
    assert network.count_params() == owned + sum(others)
    content = tree(kind, tiny_bert)
    content["branches"]["second"] = content["branches"]["first"]
    assert built(config.parse(content)).count_params() == network.count_params() + owned


@every_kind
def test_inputs_that_change_places_change_corridors(kind, networks):
    recipe, network = networks(kind)
    given = batch(network)
    swap = {"first": "second", "second": "first"}
    swapped = {
        key.replace(name, swap[name]): each
        for key, each in given.items()
        for name in swap
        if key.startswith(name)
    }
    one, two = corridors(network, given), corridors(network, swapped)
    for name, other in swap.items():
        for here, there in zip(one[name], two[other], strict=True):
            np.testing.assert_array_equal(here, there)
    assert np.abs(one["first"][0] - one["second"][0]).max() > 1e-4


@every_kind
@pytest.mark.parametrize("name", ["first", "second"])
def test_each_is_missing_for_itself(kind, name, networks):
    _, network = networks(kind)
    given = batch(network)
    whole = np.array(network(given)["label"])
    given[f"{name}_present"][2] = False
    without = np.array(network(given)["label"])
    moved = np.abs(without - whole).max(axis=1)
    assert moved[2] > 1e-5 and np.delete(moved, 2).max() < 1e-6
    given[name][2] = 1  # what stands where nothing is
    np.testing.assert_allclose(network(given)["label"], without, atol=1e-6)
    core = model.parts(network)[0]
    tokens = [core.get_layer(f"{n}_missing").token for n in ("first", "second")]
    assert np.abs(np.subtract(*map(np.array, tokens))).max() > 1e-4


@every_kind
def test_save_and_load_agree(kind, networks, tmp_path):
    recipe, network = networks(kind)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    given = batch(network)
    given["second_present"][1] = False
    wanted = np.array(network(given)["label"])
    if kind == "tuned bert":  # low-rank changes are merged into the weights
        np.testing.assert_allclose(again(given)["label"], wanted, atol=1e-6)
    else:
        np.testing.assert_array_equal(again(given)["label"], wanted)
    branches = model.branches_of(model.parts(again)[0])
    assert branches["first"] is branches["second"]
    told, wanted = (model.outline(each, recipe) for each in (again, network))
    assert [part["shape"] for part in told] == [part["shape"] for part in wanted]
    again.save(tmp_path / "twice.keras")


@every_kind
def test_the_outline_counts_weights_once(kind, networks):
    recipe, network = networks(kind)
    parts = model.outline(network, recipe)
    assert sum(part["parameters"] for part in parts) == network.count_params()
    assert json.loads(json.dumps(parts)) == parts
    own = {(part["part"], part["name"]): part for part in parts}
    second = own["branch", "second"]
    assert (second["kind"], second["same_as"]) == ("same as first", "first")
    assert second["parameters"] == 8  # the token of what is missing
    assert second["shape"] == own["branch", "first"]["shape"]
    assert "same_as" not in own["branch", "first"]
    if ("backbone", "first") in own:
        backbone = own["backbone", "second"]
        assert (backbone["parameters"], backbone["trainable"]) == (0, 0)
        assert backbone["kind"] == "same as first"
        assert backbone["shape"] == own["backbone", "first"]["shape"]


@every_kind
@pytest.mark.parametrize("name", ["first", "second"])
def test_one_input_alone_is_a_model_of_the_same_size(kind, name, networks):
    recipe, network = networks(kind)
    alone = built(recipe, [name])
    assert {key.split("_")[0] for key in alone.input} == {name}
    parts = model.outline(alone, recipe)
    assert sum(part["parameters"] for part in parts) == alone.count_params()
    assert not any("same_as" in part for part in parts)
    first = next(p for p in model.outline(network, recipe) if p["part"] == "branch")
    branch = next(part for part in parts if part["part"] == "branch")
    assert branch["kind"] == first["kind"]
    assert branch["parameters"] == first["parameters"]


def test_the_order_of_inputs_does_not_matter(networks):
    content = tree("lstm")
    content["data"]["inputs"] = dict(reversed(content["data"]["inputs"].items()))
    recipe = config.parse(content)
    network = built(recipe)
    assert network.count_params() == networks("lstm")[1].count_params()
    shared = [
        part["name"] for part in model.outline(network, recipe) if "same_as" in part
    ]
    assert shared == ["second"]


def test_three_inputs_have_one_branch():
    content = tree("lstm")
    content["data"]["inputs"]["third"] = TEXT
    content["branches"]["third"] = {"same_as": "first"}
    recipe = config.parse(content)
    network = built(recipe)
    assert len({id(each) for each in model.branches_of(network).values()}) == 1
    parts = model.outline(built(recipe, ["second", "third"]), recipe)
    named = [part["kind"] for part in parts if part["part"] == "branch"]
    assert named == ["lstm", "same as second"]


@every_kind
@pytest.mark.parametrize("only", [None, ["second"]], ids=["both", "second"])
def test_a_rate_of_the_owner_is_that_of_the_branch(kind, only, networks):
    recipe, network = networks(kind)
    network = built(recipe, only) if only else network
    fitted = keras.Model(*features.on_features(network, set()))
    core, backbones = model.parts(fitted)
    part = next(iter((backbones or model.branches_of(core)).values()))
    found = optimizers.factors({"first": 0.1}, fitted)
    assert [id(variable) for variable, _ in found] == [
        id(variable) for variable in part.trainable_variables
    ]
    assert bool(found) == (kind != "bert")  # frozen
    cached = keras.Model(*features.on_features(network, set(backbones)))
    assert bool(optimizers.factors({"first": 0.1}, cached)) == (not backbones)
    assert {factor for _, factor in found} <= {0.1}


# The vocabulary.


def texts(kind, vectors="", **columns):
    """Two decoders of texts with one branch, and the branches."""
    branch = {"kind": kind, "file": vectors} if vectors else {"kind": kind}
    branches = {"first": branch, "second": {"same_as": "first"}}
    inputs = {name: dict(TEXT) for name in branches}
    for name, listed in columns.items():
        inputs[name]["columns"] = listed
    return modalities.make(inputs, branches), branches


def test_a_word_has_one_id_in_both_inputs(tmp_path):
    decoders, branches = texts("lstm")
    cells = {"first": ["one two two", "six"], "second": ["six six three", "two"]}
    modalities.learn(decoders, branches, cells.__getitem__)
    words = ["", "[UNK]", "six", "two", "one", "three"]
    assert [each.vocabulary for each in decoders.values()] == [words, words]
    ids = [
        each.decode("three six")[name].numpy().tolist()
        for name, each in decoders.items()
    ]
    assert ids == [[5, 2, 0, 0, 0, 0]] * 2
    for each in decoders.values():
        each.save(tmp_path)
    again, _ = texts("lstm")
    for each in again.values():
        each.load(tmp_path)
    assert again["second"].vocabulary == words


def test_columns_of_their_own_are_read_by_the_vocabulary_of_both():
    decoders, branches = texts("lstm", second=("title", "body"))
    cells = {"first": ["one"], "second": [("two", ""), ("", "three")]}
    modalities.learn(decoders, branches, cells.__getitem__)
    words = set(decoders["first"].vocabulary)
    assert {"one", "two", "three", "title", "body"} < words
    assert decoders["second"].vocabulary == decoders["first"].vocabulary


def test_the_owners_reader_reads_both(tmp_path, tiny_bert):
    decoders, branches = texts("chars")
    cells = {"first": ["ab"], "second": ["bc"]}
    modalities.learn(decoders, branches, cells.__getitem__)
    assert decoders["second"].vocabulary == ["", "[UNK]", "b", "a", "c"]
    (tmp_path / "vectors.txt").write_text("a 1 0\nz 0 1\n")
    decoders, branches = texts("vectors", str(tmp_path / "vectors.txt"))
    modalities.learn(decoders, branches, cells.__getitem__)
    for each in decoders.values():
        assert each.vocabulary == ["", "[UNK]", "ab", "bc", "a", "z"]
    branches["first"] = {"kind": "kerashub", "preset": tiny_bert}
    inputs = {name: TEXT for name in branches}
    decoders = modalities.make(inputs, branches)
    modalities.learn(decoders, branches, cells.__getitem__)
    one, two = (
        each.decode("seven 七")[name].numpy() for name, each in decoders.items()
    )
    np.testing.assert_array_equal(one, two)
    assert one[1] == 5  # its place in the words of the preset


# From the CSV to the server.


@pytest.fixture(scope="module")
def pairs_csv(digits_csv):
    """Rows with two texts and two pictures; here and there one of them is missing."""
    with open(digits_csv, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    path = digits_csv.parent / "pairs.csv"
    by_split = {}
    for line in lines:
        by_split.setdefault(line["split"], []).append(line)
    with open(path, "w", newline="", encoding="utf-8") as file:
        names = ["question", "context", "front", "back", "label", "split"]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for mine in by_split.values():
            for at, line in enumerate(mine):
                # The texts of a split again, in another order: the same contents.
                other = mine[-1 - at]
                row = {"question": line["text"], "context": other["text"]}
                row |= {"front": line["image"], "back": other["image"]}
                if at % 7 == 3:
                    row["context"] = row["front"] = ""
                writer.writerow(row | {"label": line["label"], "split": line["split"]})
    return path


PAIRS = {
    "lstm": ("question", "context"),
    "cnn": ("front", "back"),
    "bert": ("question", "context"),
}


def trainable(kind, path, bert, *overrides):
    """The recipe of `tree` on `pairs_csv`."""
    content = tree(kind, bert, train={"epochs": 2, "batch_size": 16})
    names = dict(zip(("first", "second"), PAIRS[kind], strict=True))
    for section in (content["data"]["inputs"], content["branches"]):
        for old, new in names.items():
            section[new] = section.pop(old)
    content["branches"][names["second"]] = {"same_as": names["first"]}
    content["data"]["manifest"] = str(path)
    return config.parse(content, overrides)


# One kind each time; all of them take minutes.
OFTEN = "bert"
TRAINED = [
    pytest.param(kind, marks=() if kind == OFTEN else pytest.mark.nightly)
    for kind in PAIRS
]


@pytest.fixture(scope="module", params=TRAINED)
def trained(request, pairs_csv, tiny_bert, tmp_path_factory):
    """(kind, run, rows) of every kind that is trained here."""
    recipe = trainable(request.param, pairs_csv, tiny_bert)
    rows = manifest.read(recipe.data).head(60)
    folder = tmp_path_factory.mktemp("run") / "pairs"
    return request.param, train.fit(recipe, rows, folder=folder, log=print), rows


def test_a_run_is_opened_as_it_was_trained(trained):
    kind, made, rows = trained
    opened = runs.open_folder(made.folder)
    assert opened.recipe.branches == made.recipe.branches
    given = batch(made.model)
    np.testing.assert_array_equal(
        opened.model(given)["label"], made.model(given)["label"]
    )
    start = model.build(made.recipe, made.decoders, made.tasks)
    before, after = (model.branches_of(model.parts(n)[0]) for n in (start, made.model))
    name = PAIRS[kind][1]
    assert any(
        np.abs(a - b).max() > 1e-5
        for a, b in zip(
            before[name].get_weights(), after[name].get_weights(), strict=True
        )
    )
    if kind != "cnn":
        raw = tf.constant(rows.split("test").cells(name))
        for own in PAIRS[kind]:
            one, two = made.decoders[own], opened.decoders[own]
            np.testing.assert_array_equal(
                one.attempt_batch(raw)[0][own], two.attempt_batch(raw)[0][own]
            )


def test_each_input_alone_was_trained(trained):
    kind, made, _ = trained
    for name in PAIRS[kind]:
        alone = made.baseline(name)
        assert f"{name}_present" in alone.input and len(alone.input) == 2
        out = alone(batch(alone))["label"]
        np.testing.assert_allclose(ops.sum(out, axis=1), 1, rtol=1e-5)


@pytest.mark.nightly
def test_served_equals_trained(trained, tmp_path):
    _, made, rows = trained
    opened = runs.open_folder(made.folder)
    _, found = export.saved_model(opened, tmp_path, rows.split("test"), log=print)
    assert found["rows"] > 20 and found["max_difference"] < 1e-5


@pytest.mark.nightly
def test_a_frozen_backbone_runs_once_for_the_same_contents(
    pairs_csv, tiny_bert, tmp_path, monkeypatch
):
    chunks, plain = [], features._run
    monkeypatch.setenv("MMKERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "_run", lambda *a: chunks.append(1) or plain(*a))
    options = (
        "train.epochs=2",
        "train.baselines=false",
        "branches.question.dropout=0",  # drawn otherwise where a backbone draws too
        "fusion.dropout=0",
    )
    recipe = trainable("bert", pairs_csv, tiny_bert, *options)
    rows = manifest.read(recipe.data)
    made = train.fit(recipe, rows, folder=tmp_path / "run", log=print)
    cells = {
        split: {
            text for name in PAIRS["bert"] for text in rows.split(split).cells(name)
        }
        for split in ("train", "valid")
    }
    assert len(chunks) <= sum(
        -(-len(each) // features.CHUNK) for each in cells.values()
    )
    assert len(chunks) >= 2
    live = trainable("bert", pairs_csv, tiny_bert, *options, "data.features_mb=0")
    other = train.fit(live, rows, folder=tmp_path / "live", log=print)
    one, two = (
        np.genfromtxt(each.history_csv, delimiter=",", skip_header=1)
        for each in (made, other)
    )
    np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.nightly
def test_blending_and_tuning_share_too(pairs_csv, tiny_bert, tmp_path):
    recipe = trainable(
        "bert",
        pairs_csv,
        tiny_bert,
        "branches.question.trainable=true",
        "train.frozen_epochs=1",
        "train.balance=blending",
        "train.learning_rates={question: 0.1}",
        "train.baselines=false",
        "augment.word_dropout=0.1",
    )
    rows = manifest.read(recipe.data).head(40)
    made = train.fit(recipe, rows, folder=tmp_path / "run", log=print)
    again = runs.open_folder(made.folder).model
    given = batch(again)
    np.testing.assert_array_equal(again(given)["label"], made.model(given)["label"])
    backbones = model.parts(again)[1]
    assert backbones["question"] is backbones["context"]


# What is shown.


def test_show_names_the_owner(capsys, pairs_csv, tiny_bert, tmp_path):
    for kind, told in {
        "lstm": "context 6 ids  --> same as question 6 tokens x 8 --",
        "bert": "context 6 ids  --> same as question 6 x 16 --> same as question 6",
    }.items():
        recipe = trainable(kind, pairs_csv, tiny_bert)
        (tmp_path / "it.yaml").write_text(config.dump(recipe), encoding="utf-8")
        assert cli.main(["show", str(tmp_path / "it.yaml")]) == 0
        assert told in capsys.readouterr().out


def test_the_diagram_names_the_owner(networks, tmp_path):
    recipe, network = networks("bert")
    outline = model.outline(network, recipe)
    plots.model(tmp_path / "model.svg", outline)
    drawn = (tmp_path / "model.svg").read_text(encoding="utf-8")
    assert drawn.count("same as first") >= 2
    assert "SavedModel" not in drawn
    lines = {(line[0], line[1]): line for line in plots.parts(outline)}
    assert lines["second backbone", "same as first"][3:] == ["0", "0"]


# The recipe.


def told(content, *overrides):
    with pytest.raises(RecipeError) as caught:
        config.parse(content, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "branches.second.same_as=frist",
            "branches.second: same_as: no input `frist`. Inputs: first, photo, sound, "
            "table (did you mean `first`?)",
        ),
        (
            "branches.second.same_as=3",
            "branches.second: same_as: expected the name of an input, got 3",
        ),
        (
            "branches.second.same_as=[first]",
            "branches.second: same_as: expected the name of an input, got ['first']",
        ),
        (
            "branches.second.same_as=second",
            "same_as: `second` itself. Name another input: first, photo, sound, table",
        ),
        (
            "branches.second.units=3",
            "branches.second: same_as: `units` beside it. It takes the branch of "
            "`first` as it is: leave `units` out, or set it in branches.first",
        ),
        (
            "branches.photo.same_as=first",
            "branches.photo: same_as: `photo` is image and `first` is text, and a "
            "branch reads one kind. Leave same_as out",
        ),
        (
            "data.inputs.second.length=7",
            "branches.second: same_as: data.inputs.second.length is 7 and "
            "data.inputs.first.length is 6. Set both to one value",
        ),
        (
            "data.inputs.second={kind: text, length: 6, vocabulary_size: 9}",
            "data.inputs.second.vocabulary_size is 9 and "
            "data.inputs.first.vocabulary_size is 10000. Set both",
        ),
        (
            "branches.first={same_as: second}",
            "branches.first: same_as: this leads round: `second`, `first`. Give one of "
            "them a branch of its own",
        ),
        (
            "train.learning_rates.second=0.1",
            "train.learning_rates: `second` has the branch of another input. Set the "
            "rate of `first`",
        ),
        ("branches.secnd={same_as: first}", "branches: no input `secnd`. Inputs: "),
        ("branches.second=same_as", "branches.second: no kind `same_as`. Kinds: "),
    ],
)
def test_faults_of_same_as(override, expected):
    content = tree("lstm")
    content["data"]["inputs"] |= {
        "photo": {"kind": "image"},
        "sound": {"kind": "audio"},
        "table": {"kind": "tabular", "numbers": ["age"]},
    }
    assert expected in told(content, override)


@pytest.mark.parametrize(
    ("kind", "option", "values"),
    [
        ("image", "size", (16, 32)),
        ("image", "resize", ("fit", "stretch")),
        ("audio", "clip_seconds", (0.5, 2.0)),
        ("audio", "rate_hz", (8000, 16000)),
    ],
)
def test_what_is_decoded_otherwise_has_no_common_branch(kind, option, values):
    content = tree("lstm")
    content["data"]["inputs"] = {
        "first": {"kind": kind, option: values[1]},
        "second": {"kind": kind, option: values[0]},
    }
    content["branches"] = {"second": {"same_as": "first"}}
    assert (
        f"branches.second: same_as: data.inputs.second.{option} is {values[0]} and "
        f"data.inputs.first.{option} is {values[1]}. Set both to one value"
    ) in told(content)
    del content["data"]["inputs"]["second"][option]
    if values[1] in (2.0, 16000, "stretch"):
        assert config.parse(content).branches["second"] == {"same_as": "first"}


def test_chains_rounds_and_tables_are_refused():
    content = tree("lstm")
    content["data"]["inputs"] |= {"third": TEXT, "fourth": TEXT}
    content["branches"] |= {
        "third": {"same_as": "second"},
        "fourth": {"same_as": "third"},
    }
    found = told(content)
    assert (
        "branches.third: same_as: `second` has no branch of its own, it is the same as "
        "`first`. Write same_as: first"
    ) in found
    assert "branches.fourth: same_as: `third` has no branch" in found
    assert found.count("Write same_as: first") == 2
    content["branches"]["second"] = {"same_as": "fourth"}
    found = told(content)
    assert found.count("this leads round") == 3
    table = {"kind": "tabular", "numbers": ["age"]}
    content["data"]["inputs"] = {"first": table, "second": table}
    content["branches"] = {"second": {"same_as": "first"}}
    assert "same_as: tables cannot share a branch" in told(content)


def test_same_as_comes_back_from_yaml_and_the_command_line():
    content = tree("lstm")
    recipe = config.parse(content)
    assert recipe.branches["second"] == {"same_as": "first"}
    text = config.dump(recipe)
    assert yaml.safe_load(text)["branches"]["second"] == {"same_as": "first"}
    assert config.parse(yaml.safe_load(text)) == recipe
    del content["branches"]["second"]
    assert config.parse(content, ["branches.second.same_as=first"]) == recipe
    assert config.parse(content) != recipe


def test_the_json_schema_knows_same_as():
    schema = json.loads(json.dumps(config.json_schema()))
    shared = schema["$defs"]["branches.same_as"]
    assert shared["required"] == ["same_as"] and not shared["additionalProperties"]
