"""Tables from CSV to served model: numbers beside texts, all columns as one text."""

import argparse
import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import cli, config, evaluate, export, manifest, train
from mmkeras.families import columns_of
from mmkeras.manifest import ManifestError
from mmkeras.modalities import make
from mmkeras.run import Run
from mmkeras.verbs import check

GOOD, BAD = ("fine", "good", "great"), ("poor", "bad", "awful")


def write(folder, rows=240, **cells):
    """Whether a person comes: the age says it, but in Graz the text does."""
    rng = np.random.default_rng(0)
    path = folder / "people.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("id note age height city comes split".split())
        for number in range(rows):
            age, city = rng.uniform(10, 90), rng.choice(["Graz", "Wien", "Linz"])
            glad = bool(rng.integers(2))
            comes = glad if city == "Graz" else age > 50
            row = {
                "note": rng.choice(GOOD if glad else BAD),
                "age": f"{age:.1f}",
                "height": f"{rng.normal(170, 10):.0f}" if rng.random() < 0.8 else "",
                "city": city,
                "comes": "yes" if comes else "no",
                "split": ("train", "train", "train", "valid", "test")[number % 5],
            } | (cells if number == 7 else {})
            writer.writerow([number, *row.values()])
    return path


def recipe(path, *overrides, **changes):
    person = {"kind": "tabular", "numbers": ["age", "height"], "categories": ["city"]}
    content = {
        "name": "people",
        "data": {
            "manifest": str(path),
            "inputs": {"note": {"kind": "text", "length": 4}, "person": person},
            "targets": {"comes": "classification"},
        },
        "branches": {
            "note": {"kind": "bag", "units": 16},
            "person": {"kind": "tokens", "units": 32},
        },
        "fusion": {"kind": "concat", "units": 32, "hidden": 64},
        "train": {"epochs": 40, "patience": 0, "learning_rate": 0.01},
    }
    return config.parse(content | changes, overrides)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A run on tables and texts with its baselines, judged: (run, rows, metrics)."""
    folder = tmp_path_factory.mktemp("people")
    chosen = recipe(write(folder, 600, age="12 kg"))
    rows = manifest.read(chosen.data)
    run = train.fit(chosen, rows, folder=folder / "run", log=lambda _: None)
    return run, rows, evaluate.report(run, rows, log=lambda _: None)


@pytest.fixture(scope="module")
def served(people, tmp_path_factory):
    """The run exported and proved: (path, what was found)."""
    run, rows, _ = people
    folder = tmp_path_factory.mktemp("served")
    return export.saved_model(run, folder, rows.split("test"), log=lambda _: None)


def test_the_numbers_are_learned(people):
    judged = people[2]["test"]
    assert judged["accuracy"] > 0.9
    alone = judged["baselines"]
    assert set(alone) == {"note", "person", "late_fusion"}
    assert alone["note"]["accuracy"] < 0.8 and 0.7 < alone["person"]["accuracy"] < 0.95


def test_a_bad_number_is_refused_with_line_and_column(people):
    run, rows, _ = people
    assert rows.rejected == ()
    with open(run.rejected_csv, newline="", encoding="utf-8") as file:
        (refused,) = csv.DictReader(file)
    assert (refused["line"], refused["id"], refused["column"]) == ("9", "7", "age")
    assert refused["reason"].startswith("`12 kg` is not a number: expected one as 12")
    assert refused["age"] == "12 kg"


def test_what_was_learnt_is_of_the_train_split_alone(people):
    run, rows, _ = people
    ages = [float(age) for age in rows.split("train").frame["age"] if age != "12 kg"]
    learnt = Run(run.folder).decoders["person"].learnt
    assert learnt == run.decoders["person"].learnt
    assert learnt["numbers"]["age"]["median"] == np.median(ages)
    assert set(learnt["categories"]["city"]) == {"Graz", "Wien", "Linz"}


def test_the_card_and_the_report_are_written(people):
    assert "`person` (tabular)" in people[0].card.read_text(encoding="utf-8")
    assert people[0].report_html.is_file()


def test_every_column_is_served_under_its_name(served, people):
    path, found = served
    assert found["faults"] == [] and found["max_difference"] <= export.TOLERANCE
    assert found["rows"] == 120
    assert export.assets(path)[1] == {
        "note": ["note"],
        "person": ["age", "height", "city"],
    }
    assert list(export.raw_columns(people[0], people[1].head(1))) == [
        "note",
        "age",
        "height",
        "city",
    ]


def test_a_bad_number_is_told_and_its_row_answered_without_it(served):
    serve = tf.saved_model.load(str(served[0])).signatures["serving_default"]
    given = {
        "note": ["good"] * 3,
        "age": ["", "1,5", "30"],
        "height": ["170"] * 3,
        "city": ["Graz"] * 3,
    }
    answers = serve(**{name: tf.constant(each) for name, each in given.items()})
    error = [each.decode() for each in answers["error"].numpy()]
    assert error[0] == error[2] == ""
    assert error[1].startswith("age: `1,5` is not a number: expected one as 12, -1.5")
    assert answers["present"].numpy().all()
    # Calibrated, they may be next to 0.
    chances = np.log(answers["probabilities"].numpy())
    np.testing.assert_allclose(chances[0], chances[1], atol=1e-4)
    assert np.abs(chances[0] - chances[2]).max() > 1e-2


def ask(capsys, *arguments):
    code = cli.main(["predict", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_predict_takes_an_option_for_each_column(served, people, capsys):
    asked = ["--age=-3", "--height", "180", "--city", "Wien", "--json"]
    answers = []
    for source in (served[0], people[0].folder):
        code, out, _ = ask(capsys, source, *asked)
        assert code == 0
        answers.append(json.loads(out))
    assert answers[0]["label"] == answers[1]["label"] == "no"
    assert answers[0]["present"] == {"note": False, "person": True}
    code, _, err = ask(capsys, served[0], "--person", "3")
    assert code == cli.USAGE
    assert "The model takes --note, --age, --height, --city" in err


def test_predict_answers_a_manifest(served, people, capsys, tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text(
        f"city,age,note,height\nWien,80,{GOOD[0]},170\nWien,20,{GOOD[0]},170\n"
        "Wien,80,,\n,,good,\n"
    )
    tables = []
    for source in (served[0], people[0].folder):
        code, out, _ = ask(capsys, source, "--manifest", path)
        assert code == 0
        tables.append(list(csv.DictReader(out.splitlines())))
    for table in tables:
        assert [row["label"] for row in table[:2]] == ["yes", "no"]
        assert [row["missing"] for row in table] == ["", "", "note", "person"]
    one, other = ([row["label"] for row in table] for table in tables)
    assert one == other


def test_check_reports_a_bad_number(tmp_path):
    path = write(tmp_path, 20, age="12 kg", height="1e400")
    (tmp_path / "people.yaml").write_text(config.dump(recipe(path)))
    source = str(tmp_path / "people.yaml")
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    answer = check.run(parser.parse_args([source]), [])
    assert answer.code == cli.REFUSED
    (row,) = answer.content["rejected"]
    assert (row["line"], row["column"]) == (9, "age")
    assert row["reason"].startswith("`12 kg` is not a number")


def test_rows_with_bad_numbers_can_stop_a_run(tmp_path):
    chosen = recipe(write(tmp_path, 20, age="x"), "data.on_bad_row=refuse")
    with pytest.raises(ManifestError, match="line 9, row `7`, `age`: `x` is not a n"):
        train.prepare(chosen, manifest.read(chosen.data))


def test_tables_decoded_anew_each_epoch_are_the_same(tmp_path):
    """Where they do not fit in memory; the learnt weights do not differ."""
    path = write(tmp_path, 40, age="12 kg")
    weights = []
    for number, cache_mb in enumerate((2048, 0)):
        chosen = recipe(
            path,
            "train.epochs=1",
            "train.baselines=false",
            f"data.cache_mb={cache_mb}",
            "augment.modality_dropout=0.3",
            "augment.word_dropout=0.1",
        )
        rows = manifest.read(chosen.data)
        folder = tmp_path / str(number)
        run = train.fit(chosen, rows, folder=folder, log=lambda _: None)
        weights.append(run.model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.nightly
def test_all_columns_as_one_text(tmp_path):
    """The baseline: words that hold numbers; served by columns as well."""
    inputs = {
        "everything": {"kind": "text", "columns": ["note", "age", "city"], "length": 16}
    }
    path = write(tmp_path, 60)
    data = {"manifest": str(path), "inputs": inputs}
    data["targets"] = {"comes": "classification"}
    chosen = recipe(path, "train.epochs=1", data=data, branches={})
    rows = manifest.read(chosen.data)
    run = train.fit(chosen, rows, folder=tmp_path / "run", log=lambda _: None)
    words = run.decoders["everything"].vocabulary
    assert {"note", "age", ":", "city", "wien"} <= set(words)
    _, found = export.saved_model(
        run, tmp_path / "out", rows.split("test"), log=lambda _: None
    )
    assert found["max_difference"] <= export.TOLERANCE
    assert export.served(run) == ["note", "age", "city"]


@pytest.mark.nightly
def test_two_inputs_may_read_one_column(tmp_path):
    chosen = recipe(
        write(tmp_path, 40),
        "train.epochs=1",
        "train.baselines=false",
        "data.inputs.note.columns=[note, age]",
        "branches.person.kind=transformer",
    )
    rows = manifest.read(chosen.data)
    run = train.fit(chosen, rows, folder=tmp_path / "run", log=lambda _: None)
    assert export.served(run) == ["note", "age", "height", "city"]
    _, found = export.saved_model(
        run, tmp_path / "out", rows.split("test"), log=lambda _: None
    )
    assert found["max_difference"] <= export.TOLERANCE


def test_every_decoder_is_served_under_the_columns_that_it_reads(tmp_path):
    chosen = recipe(tmp_path / "people.csv", "data.inputs.note.columns=[note, city]")
    for name, decoder in make(chosen.data.inputs, chosen.branches).items():
        assert decoder.signatures == columns_of(name, chosen.data.inputs[name])
