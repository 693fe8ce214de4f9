import csv
import functools
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from mmkeras import answering, cli, manifest


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
    keys = ["label", "probability", "abstained", "probabilities", "present", "error"]
    assert list(first) == keys and first["abstained"] is False
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
        keys = ["id", "label", "probability", "abstained", "missing", "error"]
        assert list(table[0]) == keys
        assert {line["abstained"] for line in table} == {"False"}
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


def test_an_export_that_is_not_whole(ask, exported, tmp_path):
    shutil.copytree(exported[0], tmp_path / "1")
    (weights,) = tmp_path.glob("1/variables/*.data*")
    weights.write_bytes(weights.read_bytes()[:100])
    code, out, err = ask(tmp_path, "--text", "seven")
    assert (code, out) == (cli.FAILED, "")
    told = err.splitlines()[-1]
    assert told.startswith(f"mmkeras predict: {tmp_path / '1'} does not load: ")
    assert told.endswith("Is it whole? `mmkeras export` writes a version anew")


def test_rows_that_cannot_be_asked_are_named(ask, exported, rows):
    path = rows.path.parent / "bad.csv"
    path.write_text("text,image,audio\nseven,,\neight,nope.png,\n")
    code, out, err = ask(exported[0], "--manifest", path)
    assert (code, out) == (cli.REFUSED, "")
    assert "1 of 2 rows cannot be asked:\n  line 3, row `3`, `image`: the file" in err


@pytest.fixture(scope="module")
def server(exported):
    """The exported model behind the development server, as `pets`."""
    pytest.importorskip("uvicorn")
    from mmkeras.serving import models, server

    versions = models.Versions(exported[0].parent, name="pets", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=0) as running:
        yield running


def test_a_run_an_export_and_a_server_write_the_same_file(
    ask, trained, exported, server, asked_csv, tmp_path
):
    path, ids = asked_csv
    asked = (
        [trained.folder],
        [exported[0].parent],
        [f"{server.url}/v1/models/pets", "--export", exported[0]],
        [f"{server.grpc_url}/v1/models/pets", "--export", exported[0].parent],
    )
    tables = []
    for at, source in enumerate(asked):
        out = tmp_path / f"{at}.parquet"
        code, said, _ = ask(*source, "--manifest", path, "--out", out, "--json")
        assert code == 0
        found = json.loads(said)
        assert (found["path"], found["rows"], found["answered"]) == (str(out), 4, 4)
        tables.append(pd.read_parquet(out))
    names = ["id", "label", "probability", "abstained", "probabilities"]
    names += ["missing", "error"]
    for table in tables:
        assert list(table) == names and table["id"].tolist() == ids
        assert table[["label", "missing"]].equals(tables[0][["label", "missing"]])
        shares = np.stack(table["probabilities"])
        np.testing.assert_allclose(
            shares, np.stack(tables[0]["probabilities"]), 0, 1e-5
        )
        np.testing.assert_allclose(shares.max(axis=1), table["probability"], 1e-6)


def test_one_row_is_asked_of_a_server_too(ask, exported, server, options):
    url = f"{server.url}/v1/models/pets"
    _, by_server, _ = ask(url, "--export", exported[0], *options, "--json")
    _, by_export, _ = ask(exported[0], *options, "--json")
    one, other = json.loads(by_server), json.loads(by_export)
    assert one.pop("probabilities") == pytest.approx(
        other.pop("probabilities"), abs=1e-6
    )
    assert one.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-6)
    assert one == other


def test_rows_that_cannot_be_asked_can_stand_aside(ask, exported, rows, tmp_path):
    path = rows.path.parent / "bad.csv"
    path.write_text("text,image,audio\nseven,,\neight,nope.png,\nnine,,\n")
    aside, out = tmp_path / "rejected.csv", tmp_path / "answers.csv"
    asked = ["--manifest", path, "--rejected", aside, "--out", out, "--shard", "2/2"]
    code, said, err = ask(exported[0], *asked)
    assert code == 0 and f"1 rows refused: {aside}" in err
    own = tmp_path / "answers-2-of-2.csv"
    assert said.startswith(f"{own}\n1 rows, 1 of them answered in ")
    assert [row["id"] for row in csv.DictReader(own.open())] == ["4"]
    (refused,) = csv.DictReader(aside.open())
    assert (refused["line"], refused["column"]) == ("3", "image")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "a.csv"], "--out is for many rows: give --manifest too"),
        (["--shard", "1/2"], "--shard is for many rows: give --manifest too"),
        (["--rejected", "r.csv"], "--rejected is for many rows"),
        (["--manifest", "a.csv", "--shard", "1/2"], "give --out too"),
        *(
            (
                ["--manifest", "a.csv", "--out", "b.csv", "--shard", shard],
                f"--shard takes I/N with I from 1 to N, as 2/8. Got {shard}",
            )
            for shard in ("0/2", "3/2", "2", "a/b")
        ),
    ],
)
def test_options_that_do_not_fit_are_told_before_anything_is_loaded(
    ask, tmp_path, arguments, expected
):
    code, out, err = ask(tmp_path / "nothing", *arguments)
    assert (code, out) == (cli.USAGE, "") and expected in err


def test_an_ending_that_is_no_format_is_told(ask, tmp_path):
    code, _, err = ask(tmp_path, "--manifest", "a.csv", "--out", "a.xlsx")
    assert code == cli.USAGE
    assert "--out a.xlsx: expected a name that ends in .csv or .parquet" in err


def test_a_compressed_sound_is_unpacked_on_its_way(ask, exported, row, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    samples, rate_hz = soundfile.read(row["audio"], dtype="int16")
    soundfile.write(tmp_path / "a.flac", samples, rate_hz)
    (tmp_path / "a.csv").write_text("text,image,audio\n,,a.flac\n")
    code, out, _ = ask(exported[0], "--manifest", tmp_path / "a.csv", "--json")
    (told,) = json.loads(out)
    _, plain, _ = ask(exported[0], "--audio", row["audio"], "--json")
    assert code == 0 and told["error"] == ""
    assert told["present"]["audio"]
    assert told["probabilities"] == json.loads(plain)["probabilities"]
    _, one, _ = ask(exported[0], "--audio", tmp_path / "a.flac", "--json")
    assert json.loads(one) == json.loads(plain)


def test_a_dataframe_is_answered_row_by_row(ask, exported, asked_csv):
    path, ids = asked_csv
    told = json.loads(ask(exported[0], "--manifest", path, "--json")[1])
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame = frame.set_index(pd.Index(list("dcba")))
    frame.loc["c", "image"] = "nowhere.png"
    found = answering.predict(str(exported[0]), frame, folder=path.parent)
    assert list(found.index) == list("dcba") and list(found["id"]) == ids
    refused = found.loc["c"]
    assert refused["error"] == "image: the file `nowhere.png` does not exist"
    assert pd.isna(refused["label"]) and pd.isna(refused["probability"])
    for letter, row in zip("dba", [told[0], *told[2:]], strict=True):
        assert (found["error"][letter], found["label"][letter]) == ("", row["label"])
        shares = list(row["probabilities"].values())
        assert found["probabilities"][letter] == pytest.approx(shares, abs=1e-6)

    whole = answering.predict(answering.source(exported[0]), path)
    assert list(whole.index) == list(range(len(told)))
    assert list(whole["label"]) == [row["label"] for row in told]
    with pytest.raises(TypeError, match="expected a folder, a URL, a Run or a source"):
        answering.predict((exported[0], 0.0), path)
    with pytest.raises(manifest.ManifestError, match="the DataFrame has no column `im"):
        answering.predict(exported[0], frame.drop(columns="image"))
