import csv
import functools
import io
import json

import pytest

from mmkeras import cli


@pytest.fixture
def ask(call):
    """`mmkeras predict ...`: (exit code, stdout, stderr)."""
    return functools.partial(call, "predict")


def test_run_and_export_give_the_same_answer(ask, trained, exported, options):
    answers = []
    for source in (trained.folder, exported[0], exported[0].parent):
        code, out, _ = ask(source, *options, "--json")
        assert code == 0
        answers.append(json.loads(out))
    first = answers[0]
    assert list(first) == ["label", "probability", "probabilities", "present", "error"]
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert first["label"] == max(first["probabilities"], key=first["probabilities"].get)
    assert first["present"] == {"text": True, "image": True, "audio": True}
    for other in answers[1:]:
        assert other["label"] == first["label"] and other["error"] == ""
        assert other["present"] == first["present"]
        assert other["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)


def test_text_for_people_names_what_is_missing(ask, exported):
    code, out, _ = ask(exported[0], "--text=seven")
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert code == 0
    assert list(lines) == ["label", "probability", "probabilities", "missing"]
    assert lines["missing"] == "image audio"
    assert lines["probabilities"].startswith(f"{lines['label']} {lines['probability']}")


def test_a_file_that_cannot_be_read_is_the_rows_error(ask, exported, tmp_path):
    (tmp_path / "7.png").write_bytes(b"no picture")
    code, out, _ = ask(
        exported[0], "--text", "seven", "--image", tmp_path / "7.png", "--json"
    )
    answer = json.loads(out)
    assert code == 0 and answer["error"].startswith("image: ")
    assert answer["present"] == {"text": True, "image": False, "audio": False}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--txt", "7"], "no input `--txt`. The model takes --text, --image, --audio"),
        (["--txt", "7"], "(did you mean `--text`?)"),
        (["seven"], "no input `seven`. The model takes --text"),
        (["--text"], "`--text` needs a value after it"),
        (["--text", "a", "--text=b"], "`--text` is given twice"),
        ([], "nothing to answer: give --manifest, or --text, --image, --audio"),
        (["--manifest", "a.csv", "--text", "b"], "unknown arguments: --text b"),
    ],
)
def test_usage_errors(ask, exported, arguments, expected):
    code, out, err = ask(exported[0], *arguments)
    assert (code, out) == (cli.USAGE, "")
    assert expected in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--image", "nope.png"], "no file nope.png for --image"),
        (["--manifest", "nope.csv"], "the manifest nope.csv is not there"),
    ],
)
def test_a_missing_file_is_3(ask, exported, arguments, expected):
    code, out, err = ask(exported[0], *arguments)
    assert (code, out) == (cli.MISSING, "")
    assert expected in err


def test_a_folder_without_a_model_is_3(ask, tmp_path):
    code, _, err = ask(tmp_path, "--text", "seven")
    assert code == cli.MISSING and "holds no trained run" in err


@pytest.fixture
def asked_csv(rows):
    """Four rows without labels, beside the digits' files."""
    frame = rows.split("test").frame.head(4)[["id", "text", "image", "audio"]].copy()
    frame.iloc[2, 2] = ""
    path = rows.path.parent / "asked.csv"
    frame.to_csv(path, index=False)
    return path, frame["id"].tolist()


def test_a_manifest_gives_csv_in_its_order(ask, trained, exported, asked_csv):
    path, ids = asked_csv
    tables = []
    for source in (trained.folder, exported[0]):
        code, out, _ = ask(source, "--manifest", path)
        assert code == 0
        tables.append(list(csv.DictReader(io.StringIO(out))))
    for table in tables:
        assert list(table[0]) == ["id", "label", "probability", "missing", "error"]
        assert [line["id"] for line in table] == ids
        assert "image" in table[2]["missing"]
    for key in ("label", "missing", "error"):
        assert [line[key] for line in tables[0]] == [line[key] for line in tables[1]]


def test_a_manifest_as_json(ask, exported, asked_csv):
    path, ids = asked_csv
    code, out, _ = ask(exported[0], "--manifest", path, "--json")
    answers = json.loads(out)
    assert code == 0 and [answer["id"] for answer in answers] == ids
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_rows_that_cannot_be_asked_are_named(ask, exported, rows):
    path = rows.path.parent / "bad.csv"
    path.write_text("text,image,audio\nseven,,\neight,nope.png,\n")
    code, out, err = ask(exported[0], "--manifest", path)
    assert (code, out) == (cli.REFUSED, "")
    assert "1 of 2 rows cannot be asked:\n  line 3, row `3`, `image`: the file" in err
