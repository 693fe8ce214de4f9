import csv
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from mmkeras import cli, config, manifest, starter
from mmkeras.starter import gather, guess


def picture(path, side=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(0, 255, (side, side, 3))
    Image.fromarray(values.astype("uint8")).save(path)


def sound(path, seconds=0.4, rate_hz=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        samples = np.arange(int(seconds * rate_hz)) % 50 * 300
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Twelve cats and dogs: pictures, some with a sound or a text beside."""
    monkeypatch.chdir(tmp_path)
    for label in ("cat", "dog"):
        for at in range(6):
            picture(tmp_path / "photos" / label / f"{at}.png")
        sound(tmp_path / "photos" / label / "1.wav")
        (tmp_path / "photos" / label / "2.txt").write_text("一只\n猫", encoding="utf-8")
    return tmp_path / "photos"


@pytest.fixture
def new(capsys):
    def called(*arguments):
        code = cli.main(["new", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


def frame(**columns):
    return pd.DataFrame(columns).astype(str)


def test_a_folder_becomes_rows_by_label_and_name(photos):
    columns, rows = gather.rows(photos)
    assert columns == ["id", "text", "image", "audio", "label"] and len(rows) == 12
    assert rows[1] == {
        "id": "cat/1",
        "label": "cat",
        "image": "cat/1.png",
        "audio": "cat/1.wav",
    }
    assert rows[2]["text"] == "一只 猫"  # one line, whatever the file's


def test_folders_of_splits_are_splits(tmp_path):
    for split, label in (("train", "cat"), ("val", "cat"), ("test", "dog")):
        picture(tmp_path / split / label / "a.jpg")
    columns, rows = gather.rows(tmp_path)
    assert columns[-1] == "split"
    assert [(row["split"], row["label"]) for row in rows] == [
        ("test", "dog"),
        ("train", "cat"),
        ("valid", "cat"),
    ]


@pytest.mark.parametrize("ending", ["flac", "ogg"])
def test_compressed_sounds_are_sounds(photos, ending):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 12_000)
    for at in range(4):
        soundfile.write(photos / "cat" / f"{at}.{ending}", samples, 16_000)
    cells = [f"cat/{n % 4}.{ending}" for n in range(20)]
    found = guess.columns(frame(it=cells, label=["a", "b"] * 10), photos)
    assert found.inputs["it"]["kind"] == "audio"
    assert found.inputs["it"]["clip_seconds"] == 0.75
    (photos / "cat" / "1.wav").unlink()
    assert gather.rows(photos)[1][1]["audio"] == f"cat/1.{ending}"


def test_two_files_for_one_cell_are_told(photos):
    shutil.copy(photos / "cat" / "1.png", photos / "cat" / "1.jpg")
    with pytest.raises(
        starter.FolderError, match="another image beside it have one na"
    ):
        gather.rows(photos)


def test_a_folder_without_labels_is_told(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(
        starter.FolderError, match="named after their label, as .*cat/0"
    ):
        gather.rows(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        gather.rows(tmp_path / "nowhere")


def test_columns_are_guessed_by_their_cells(photos):
    rows = 60
    cells = {
        "id": range(rows),
        "photo": ["cat/1.png", ""] * 30,
        "voice": ["dog/1.wav"] * rows,
        "note": [f"the {n} cat says 你好 number {n}" for n in range(rows)],
        "weight": [f"{n / 7:.2f}" for n in range(rows)],
        "colour": ["red", "black", "grey"] * 20,
        "empty": [""] * rows,
        "label": ["cat", "dog"] * 30,
        "split": ["train"] * 50 + ["dev"] * 10,
    }
    found = guess.columns(frame(**cells), photos)
    assert found.inputs == {
        "photo": {"kind": "image", "size": 32},
        "voice": {"kind": "audio", "rate_hz": 16000, "clip_seconds": 0.5},
        "note": {"kind": "text", "length": 8},
        "table": {"kind": "tabular", "numbers": ["weight"], "categories": ["colour"]},
    }
    assert found.targets == {"label": {"kind": "classification"}}
    assert "empty" not in found.told and set(found.told) == set(cells) - {"empty"}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["cat", "dog"] * 20, {"kind": "classification"}),
        (["0", "1", "2", "3"] * 10, {"kind": "classification"}),
        ([f"{n}.5" for n in range(40)], {"kind": "regression"}),
        (["a|b", "a", "b|c", "c|a"] * 10, {"kind": "multilabel", "separator": "|"}),
        (["a;b", "a", "b;c", "c;a"] * 10, {"kind": "multilabel", "separator": ";"}),
    ],
)
def test_the_task_is_guessed_by_the_answers(cells, kind, tmp_path):
    texts = [f"text number {n} of many" for n in range(len(cells))]
    assert (
        guess.columns(frame(text=texts, label=cells), tmp_path).targets["label"] == kind
    )


def test_an_answer_of_another_name_is_asked_for(tmp_path):
    cells = frame(words=["a b c", "d e f"], mood=["good", "bad"])
    with pytest.raises(
        starter.GuessError, match="--target COLUMN. Columns with cells: w"
    ):
        guess.columns(cells, tmp_path)
    with pytest.raises(starter.GuessError, match="no column `moo`"):
        guess.columns(cells, tmp_path, "moo")
    assert list(guess.columns(cells, tmp_path, "mood").targets) == ["mood"]


def test_the_starter_of_nothing_passes_its_own_check(
    new, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = new("pets")
    assert code == 0 and "mmkeras check pets/recipe.yaml" in out
    recipe = config.load("pets/recipe.yaml")
    assert list(recipe.data.inputs) == ["text", "image", "audio"]
    rows = manifest.read(recipe.data)
    assert len(rows) == 6 and not rows.rejected
    page = (tmp_path / "pets" / "README.md").read_text(encoding="utf-8")
    assert "examples: put your own in their place" in page and "$" not in page


def test_a_folder_of_pictures_is_ready_to_train(new, photos, tmp_path):
    code, out, err = new("pets", "--from", "photos", "--json")
    assert code == 0, err
    told = json.loads(out)
    recipe = config.load(told["recipe"])
    assert recipe.data.inputs["image"]["size"] == 32
    assert recipe.data.inputs["audio"]["clip_seconds"] == 0.5
    rows = manifest.read(recipe.data)
    assert rows.rows_read == len(rows) == 12
    assert set(rows.frame["label"]) == {"cat", "dog"}
    code, _, err = new("more", "--from", "photos")
    assert code == cli.USAGE and "photos/manifest.csv is there already" in err


def test_nothing_is_overwritten(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "mine.txt").touch()
    code, _, err = new("pets")
    assert code == cli.USAGE and "pets is there already: choose another name" in err
    assert [path.name for path in (tmp_path / "pets").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("content", "expected", "code"),
    [
        (b"text,mood\na b,good\n", "no column is called label", cli.REFUSED),
        (b"\xff\xfe,label\n", "is not utf-8: line 1 holds the byte 0xff", cli.REFUSED),
        (b"", "rows.csv is empty: expected a header", cli.REFUSED),
    ],
)
def test_a_csv_of_which_nothing_can_be_made_leaves_nothing(
    new, tmp_path, monkeypatch, content, expected, code
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_bytes(content)
    found, _, err = new("pets", "--from", "rows.csv")
    assert found == code and expected in err
    assert not (tmp_path / "pets").exists()


def test_a_csv_with_another_separator(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("rows.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["question", "answer"])
        writer.writerows(
            [[f"is {n}, even?", "yes" if n % 2 else "no"] for n in range(40)]
        )
    assert new("quiz", "--from", "rows.csv")[0] == 0  # by the header
    assert new("other", "--from", "rows.csv", "--separator", ";")[0] == 0
    recipe = config.load("quiz/recipe.yaml")
    assert recipe.data.separator == ";" and list(recipe.data.targets) == ["answer"]
    assert len(manifest.read(recipe.data)) == 40
    text = (tmp_path / "quiz" / "recipe.yaml").read_text(encoding="utf-8")
    assert "# the answer: one of 2 labels" in text


def test_columns_of_any_name(new, photos, monkeypatch):
    monkeypatch.chdir(photos)
    header = ["编号", "留言", "图片", "声音", "体重", "user's mood", "标签", "划分"]
    with open("宠物.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for n in range(40):
            media = [f"cat/{n % 6}.png", "dog/1.wav"]
            label, split = "猫狗"[n % 2], "train" if n < 30 else "dev"
            words = f"第 {n} 只 动物 在 睡觉"
            writer.writerow([f"r{n}", words, *media, n / 7, n % 3, label, split])
    assert new("pets", "--from", "宠物.csv")[0] == 0
    data = config.load("pets/recipe.yaml").data
    assert list(data.inputs) == ["text", "image", "audio", "table"]
    assert data.inputs["table"]["numbers"] == ("number", "number2")
    assert data.columns == {
        **{"text": "留言", "image": "图片", "audio": "声音", "number": "体重"},
        **{"number2": "user's mood", "label": "标签"},
    }
    assert (data.id, data.split) == ("编号", "划分")
    rows = manifest.read(data)
    assert len(rows) == 40 and rows.ids[3] == "r3"
    assert rows.frame["划分"].value_counts().to_dict() == {"train": 30, "valid": 10}
    assert rows.cells("table")[7] == ("1.0", "1")


def test_a_name_that_a_column_has_is_given_to_no_other(tmp_path):
    texts = [f"text number {n} of many" for n in range(40)]
    found = guess.columns(
        frame(文=texts, text=texts[::-1], label=["a", "b"] * 20), tmp_path
    )
    assert list(found.inputs) == ["text2", "text"] and found.columns == {"text2": "文"}


def test_a_few_odd_cells_change_no_column_and_are_told(tmp_path):
    cells = {
        "price": [*map(str, range(39)), "35元"],
        "划分": ["train"] * 30 + ["训练"] + ["valid"] * 9,
        "text": [f"text number {n} of many" for n in range(40)],
        "label": ["a", "b"] * 20,
    }
    found = guess.columns(frame(**cells), tmp_path)
    assert found.inputs["table"]["numbers"] == ["price"]
    assert found.keys == {"split": "划分"}
    assert found.told["price"].endswith("1 of 40 is none, as `35元`: mend it")
    assert found.told["划分"].endswith("; 1 of 40 is none, as `训练`: mend it")
    cells["price"][:3] = ["a", "b", "c"]  # a tenth is no number
    assert "table" not in guess.columns(frame(**cells), tmp_path).inputs


def test_a_table_as_a_chinese_spreadsheet_saves_it(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"第 {n} 个 问题,{'是否'[n % 2]}" for n in range(40)]
    Path("问题.csv").write_bytes("\n".join(["问题,答案", *lines]).encode("gb18030"))
    code, _, err = new("quiz", "--from", "问题.csv")
    assert code == cli.REFUSED and "--encoding behind a command" in err
    assert new("quiz", "--from", "问题.csv", "--encoding", "gb18030")[0] == 0
    recipe = config.load("quiz/recipe.yaml")
    assert recipe.data.encoding == "gb18030" and recipe.data.columns["text"] == "问题"
    assert len(manifest.read(recipe.data)) == 40
    code, _, err = new("问答", "--from", "问题.csv", "--encoding", "gb18030")
    assert code == cli.USAGE and "the name `问答`: expected ASCII letters" in err
