import collections
import csv
import random

import pytest

from mmkeras import config, manifest
from mmkeras.manifest import ManifestError

SHARES = (0.8, 0.1, 0.1)


def data(path, inputs=("text", "image"), targets=("label",), **keys):
    kinds = {name: name if name in ("image", "audio") else "text" for name in inputs}
    content = {
        "manifest": str(path),
        "inputs": kinds,
        "targets": dict.fromkeys(targets, "classification"),
        **keys,
    }
    return config.parse({"name": "rows", "data": content}).data


@pytest.fixture
def write(tmp_path):
    """A function that writes a manifest beside two files, and gives its path."""
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "with space.png").write_bytes(b"b")

    def to_disk(content, name="rows.csv"):
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = content.encode()
        path.write_bytes(content)
        return path

    return to_disk


def text_rows(labels, splits=None):
    """A CSV of texts with these labels and, where given, splits."""
    if splits is None:
        return "\n".join(["text,label", *[f"w{n},{x}" for n, x in enumerate(labels)]])
    rows = zip(labels, splits, strict=True)
    lines = [f"w{n},{label},{split}" for n, (label, split) in enumerate(rows)]
    return "\n".join(["text,label,split", *lines])


def message(call, *arguments, **options):
    with pytest.raises(ManifestError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def reasons(rows):
    return {row.line: (row.column, row.reason) for row in rows.rejected}


# ---------------------------------------------------------------- the file as a whole


def test_bom_crlf_and_cells_as_they_are(write):
    content = "id,text,image,label,split\r\n1, NA ,a.png,x,train\r\n"
    content += '2,"a,""b""\r\nc",,y,Val\r\n'
    rows = manifest.read(data(write(b"\xef\xbb\xbf" + content.encode())))
    assert rows.ids == ["1"]  # y is not known from train
    assert rows.cells("text") == ["NA"]
    known = manifest.read(data(rows.path), labels={"label": ["x", "y"]})
    assert known.cells("text") == ["NA", 'a,"b"\r\nc']
    assert known.cells("image") == [str(rows.path.parent / "a.png"), ""]
    assert known.frame["split"].tolist() == ["train", "valid"]


def test_a_row_is_known_by_the_line_where_it_begins(write):
    content = 'text,label,split\n"two\nlines",x,train\n\n'
    content += '"three\n\nlines",x,nowhere\nb,x,train'
    rows = manifest.read(data(write(content), ["text"]))
    assert rows.frame.index.tolist() == [2, 8]
    assert rows.ids == ["2", "8"]  # there is no id column
    assert [row.line for row in rows.rejected] == [5]


def test_blank_lines_are_no_rows(write):
    rows = manifest.read(data(write("\n\ntext,label\n\na,x\n\n\nb,x\n\n"), ["text"]))
    assert (len(rows), rows.rows_read) == (2, 2)
    assert rows.frame.index.tolist() == [5, 8]


def test_ragged_rows_are_refused_with_all_their_cells(write, tmp_path):
    content = "id,text,label\n1,a,x\n2,b\n3,c,x,more,most\n4,d,x"
    rows = manifest.read(data(write(content), ["text"]))
    assert rows.ids == ["1", "4"]
    assert reasons(rows) == {
        3: ("", "2 cells where the header has 3"),
        4: ("", "5 cells where the header has 3"),
    }
    assert [row.id for row in rows.rejected] == ["2", "3"]
    assert list(rows.rejected[1].cells.values()) == ["3", "c", "x", "more", "most"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "rows.csv is empty: expected a header and rows"),
        ("\n\n", "rows.csv is empty"),
        ("text,label\n", "has a header but no rows. Header: ['text', 'label']"),
        (
            "text,text,label\na,b,c",
            "has two columns called `text`: rename one. Header: [",
        ),
        (
            "TEXT,label\na,x",
            "has no column `text`. Found ['TEXT', 'label']. Rename it, ",
        ),
        (
            "TEXT,label\na,x",
            "or name your own column under data.inputs or data.columns",
        ),
        (
            "text,lable\na,x",
            "no column `label`. Found ['text', 'lable']. Rename it, or name ",
        ),
        ("text,lable\na,x", "under data.targets"),
        ("text;label\na;x", "`text`, `label`. Found ['text;label']"),
        (
            "text;label\na;x",
            "If the cells are not separated by `,`, set data.separator",
        ),
        ('text,label\na,x\n"b,y\nc,z', "the row that begins on line 3: unexpected end"),
        (
            'text,label\na,x\n"b" c,y\nd,z',
            "that begins on line 3: ',' expected after '\"'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(write, content, expected):
    assert expected in message(manifest.read, data(write(content), ["text"]))


def test_no_file_and_a_folder(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="the manifest .*none.csv is not there"):
        manifest.read(data(tmp_path / "none.csv"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"start where .*, {tmp_path}$"):
        manifest.read(data("none.csv"))
    with pytest.raises(FileNotFoundError, match="is a folder, not a CSV file"):
        manifest.read(data(tmp_path))


def test_the_encoding_is_named_with_the_line_and_can_be_set(write):
    # Far into the file: a decoder that works in pieces would tell a wrong place.
    content = "text,label\n" + "plain,x\n" * 5000 + "été,x\n"
    path = write(content.encode("cp1252"))
    text = message(manifest.read, data(path, ["text"]))
    assert text.startswith("rows.csv is not utf-8: line 5002 holds the byte 0xe9. ")
    assert "data.encoding in a recipe, --encoding behind a command (cp1252 and" in text
    rows = manifest.read(data(path, ["text"], encoding="cp1252"))
    assert rows.cells("text")[-1] == "été"
    for encoding in ("utf8", "UTF-8", "utf_8"):
        bom = write(b"\xef\xbb\xbf" + b"text,label\na,x\n")
        assert manifest.header(data(bom, ["text"], encoding=encoding))[0] == "text"
    text = message(manifest.read, data(path, ["text"], encoding="klingon"))
    assert text == "data.encoding: no encoding `klingon`"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_can_be_set(write, separator):
    path = write("text,label\na b,x\n".replace(",", separator))
    rows = manifest.read(data(path, ["text"], separator=separator))
    assert rows.cells("text") == ["a b"]


def test_a_very_long_text_is_a_cell(write):
    rows = manifest.read(data(write(f"text,label\n{'long ' * 60_000},x\n"), ["text"]))
    assert len(rows.cells("text")[0]) == 299_999


def test_a_column_chosen_in_the_recipe_must_be_there(write):
    path = write("text,label\na,x\nb,x")
    text = message(manifest.read, data(path, ["text"], split="fold", id="uid"))
    assert "no column `uid`, `fold`. Found ['text', 'label']" in text
    assert "under data.id, data.split" in text
    # A trained model also answers rows without them.
    known = {"label": ["x"]}
    rows = manifest.read(data(path, ["text"], split="fold", id="uid"), labels=known)
    assert rows.ids == ["2", "3"]
    assert rows.frame["fold"].tolist() == ["test", "test"]


# ------------------------------------------------------------------------- single rows


PATHS = {
    "../rows.csv": "leads out of the manifest's folder",
    "../../x": "leads out of the manifest's folder",
    "sub/../../x": "leads out of the manifest's folder",
    "/etc/hostname": "is absolute: name it from the manifest's folder",
    "C:\\cats\\a.png": "is absolute",
    "\\\\server\\a.png": "is absolute",
    "http://localhost:9/a.png": "is a network address: download it beside the manifest",
    "file:///etc/hostname": "is a network address",
    "gs://bucket/a.png": "is a network address",
    "folder": "the file `folder` is a folder",
    "none.png": "the file `none.png` does not exist",
    "folder\\a.png": "does not exist; write / between folders",
    "out.png": "leads out of the manifest's folder",
    "loop.png": "`loop.png` is no path",
    "x" * 5000: "is no path",
    "a\0b.png": "is no path",
}


@pytest.mark.parametrize("cell", PATHS, ids=lambda cell: repr(cell[:20]))
def test_paths_that_are_refused(write, tmp_path, cell):
    (tmp_path / "folder").mkdir()
    (tmp_path / "data").mkdir()
    for name in ("folder", "data"):
        (tmp_path / name / "a.png").write_bytes(b"a")
    folder = tmp_path / "data"
    (folder / "folder").mkdir()
    (folder / "out.png").symlink_to(tmp_path / "a.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    path = write(f'text,image,label\nword,"{cell}",x\nword,a.png,x\n', "data/rows.csv")
    rows = manifest.read(data(path))
    assert rows.rows_read == 2 and len(rows) == 1
    ((column, reason),) = reasons(rows).values()
    assert column == "image"
    assert PATHS[cell] in reason
    assert f"`{cell}`" in reason


def test_paths_that_are_used(write, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "фото 猫 #1.png").write_bytes(b"c")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    cells = [
        "  a.png ",
        "with space.png",
        "sub/../a.png",
        "sub/фото 猫 #1.png",
        "link.png",
    ]
    lines = [f"w,{cell},x" for cell in cells]
    rows = manifest.read(data(write("\n".join(["text,image,label", *lines]))))
    assert rows.rejected == ()
    assert rows.cells("image") == [f"{tmp_path}/{cell.strip()}" for cell in cells]


def test_faults_of_a_row(write):
    content = """id,text,image,label,split
    1,NA,,x,train
    2,   ,a.png,x,Training
    3, , ,x,train
    4,word,,  ,train
    5,word,,x,holdout
    6,word,,x,
    7,word,,never,test
    8,word,, x ,VALIDATION
    9,word,,x,dev"""
    rows = manifest.read(data(write(content.replace("    ", ""))))
    assert rows.ids == ["1", "2", "8", "9"]
    assert rows.cells("text") == ["NA", "", "word", "word"]
    assert rows.frame["split"].tolist() == ["train", "train", "valid", "valid"]
    known = "Splits: train, valid, test, training, val, validation, dev, testing"
    assert reasons(rows) == {
        4: ("", "every input is empty: text, image"),
        5: ("label", "the label is empty"),
        6: ("split", f"`holdout` is not a split. {known}"),
        7: ("split", f"the split is empty. {known}"),
        8: ("label", "the label `never` does not occur in the train split"),
    }
    assert str(rows.rejected[0]) == "line 4, row `3`: every input is empty: text, image"
    assert str(rows.rejected[1]) == "line 5, row `4`, `label`: the label is empty"


def tables(path, **inputs):
    content = {
        "manifest": str(path),
        "inputs": inputs,
        "targets": {"label": "classification"},
    }
    return config.parse({"name": "rows", "data": content}).data


def test_an_input_that_lists_columns_reads_those(write):
    lines = [" 30 ,Graz,a,,x", ",,,,x", ",,,a.png,x", ",Wien,,,x"]
    path = write("\n".join(["age,city,note,image,label", *lines]))
    person = {"kind": "tabular", "numbers": ["age"], "categories": ["city"]}
    everything = {"kind": "text", "columns": ["note", "age", "city"]}
    words = {"kind": "text", "columns": ["note"]}
    rows = manifest.read(
        tables(path, person=person, all=everything, words=words, image="image")
    )
    assert rows.cells("person") == [("30", "Graz"), ("", ""), ("", "Wien")]
    assert rows.cells("all")[0] == ("a", "30", "Graz")
    assert rows.cells("words") == ["a", "", ""]
    assert rows.cells("image") == ["", str(path.parent / "a.png"), ""]
    assert rows.columns("person") == ("age", "city")
    assert rows.columns("image") == ("image",)
    assert reasons(rows) == {3: ("", "every input is empty: age, city, note, image")}
    assert rows.split("train").cells("person")[0] == ("30", "Graz")


def test_every_column_that_is_listed_must_be_there(write):
    path = write("age,note,label\n30,a,x")
    person = {"kind": "tabular", "numbers": ["age", "height"]}
    text = message(manifest.read, tables(path, person=person, note="text"))
    assert "no column `height`. Found ['age', 'note', 'label']" in text
    assert "under data.inputs" in text and "`person`" not in text


def test_labels_of_a_trained_model_are_the_known_ones(write):
    path = write(text_rows(["x", "z", "y"]))
    rows = manifest.read(data(path, ["text"]), labels={"label": ["x", "y"]})
    assert rows.frame["label"].tolist() == ["x", "y"]
    assert rows.frame["split"].tolist() == ["test", "test"]
    assert list(reasons(rows)) == [3]


def test_rows_to_predict_need_neither_labels_nor_splits(write):
    path = write("id,text,split\n1,a,\n2,b,tomorrow\n3,c,train\n4,,\n")
    rows = manifest.read(data(path, ["text"]), targets_required=False)
    assert rows.ids == ["1", "2", "3"]
    assert rows.targets == {}
    assert rows.frame["split"].tolist() == ["test", "test", "train"]
    assert list(reasons(rows)) == [5]


def test_an_empty_id_is_the_line(write):
    rows = manifest.read(data(write("id,text,label\n,a,x\n ,b,x\nq,c,x"), ["text"]))
    assert rows.ids == ["2", "3", "q"]
    assert rows.warnings == ()


def test_repeated_ids_are_warned_of_and_used(write):
    lines = ["d,a,x,train", "d,a,x,train", "e,b,x,train", "e,b,y,train"]
    lines += ["f,c,x,train", "f,c,x,test", "g,d,x,valid"]
    path = write("\n".join(["id,text,label,split", *lines]))
    rows = manifest.read(data(path, ["text"]))
    assert len(rows) == 7
    assert rows.warnings == (
        "id `d` stands on lines 2, 3 (train): the same row",
        "id `e` stands on lines 4, 5 (train): different rows",
        "id `f` stands on lines 6, 7 (train, test): the same row",
    )


def test_the_same_row_is_the_same_where_its_split_is_made(write):
    """Rows of one id may come into two splits; they are no different for that."""
    rows = manifest.read(data(write("id,text,label\n" + "d,a,x\n" * 10), ["text"]))
    assert set(rows.frame["split"]) == set(manifest.SPLITS)
    (warning,) = rows.warnings
    assert warning.startswith("id `d` stands on lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 (")
    assert warning.endswith("): the same row")


def test_many_repeated_ids_are_counted(write):
    lines = [f"{n % 30},a,x,train" for n in range(60)] + ["q,a,x,valid"]
    rows = manifest.read(
        data(write("\n".join(["id,text,label,split", *lines])), ["text"])
    )
    assert len(rows.warnings) == 21
    assert rows.warnings[0] == "id `0` stands on lines 2, 32 (train): the same row"
    assert rows.warnings[-1] == "10 more ids stand on several lines"


@pytest.mark.parametrize("seed", range(40))
def test_rows_read_are_rows_used_and_refused(write, seed):
    """Whatever the rows, none is lost and none is counted twice."""
    draw = random.Random(seed)
    choices = {
        "text": ["word", "", "NA", '"a,b"', '"two\nlines"'],
        "image": ["a.png", "", "none.png", "../a.png", "with space.png"],
        "label": ["x", "y", "z", ""],
        "split": ["train", "train", "valid", "test", "val", "", "later"],
    }
    columns = ["text", "image", "label", *["split"] * draw.randint(0, 1)]
    draw.shuffle(columns)
    count = draw.randint(1, 30)
    lines = [[draw.choice(choices[name]) for name in columns] for _ in range(count)]
    for cells in lines:
        if draw.random() < 0.1:
            cells.append("more")
    content = "\n".join(",".join(cells) for cells in [columns, *lines])
    rows = manifest.read(data(write(content)))
    lines = [*rows.frame.index, *[row.line for row in rows.rejected]]
    assert rows.rows_read == count == len(set(lines))
    assert [row.line for row in rows.rejected] == sorted(r.line for r in rows.rejected)
    train = rows.split("train")
    assert set(rows.frame["label"]) <= set(train.frame["label"])
    assert set(rows.frame["split"]) <= set(manifest.SPLITS)
    assert sum(len(rows.split(name)) for name in manifest.SPLITS) == len(rows)


# ------------------------------------------------------------------------------ splits


def made(write, labels, seed=0, **keys):
    path = write(text_rows(labels))
    frame = manifest.read(data(path, ["text"], **keys), seed=seed).frame
    assert len(frame) == len(labels)
    return frame


def share(frame):
    return [(frame["split"] == name).mean() for name in manifest.SPLITS]


@pytest.mark.parametrize(
    "shares", [SHARES, (0.5, 0.3, 0.2), (0.6, 0.4, 0), (0.9, 0, 0.1)]
)
def test_made_splits_keep_the_shares_in_every_label(write, shares):
    labels = ["x"] * 200 + ["y"] * 100 + ["z"] * 50
    random.Random(0).shuffle(labels)
    frame = made(write, labels, shares=list(shares))
    assert share(frame) == pytest.approx(shares, abs=1 / 350)
    for _, part in frame.groupby("label"):
        assert share(part) == pytest.approx(shares, abs=2 / len(part))


def test_small_labels_keep_the_shares_as_a_whole(write):
    """Forty labels of three rows: none can be split 8:1:1, together they can."""
    frame = made(write, [f"c{n % 40}" for n in range(120)])
    assert share(frame) == pytest.approx(SHARES, abs=2 / 120)
    train = frame[frame["split"] == "train"]
    assert train["label"].nunique() == 40


def test_labels_of_one_row_go_to_train_and_leave_the_others_alone(write):
    frame = made(write, [f"one{n}" for n in range(30)] + ["many"] * 100)
    alone = frame[frame["label"] != "many"]
    assert set(alone["split"]) == {"train"}
    many = frame[frame["label"] == "many"]
    assert share(many) == pytest.approx(SHARES, abs=1 / 100)


def test_made_splits_follow_the_seed(write):
    labels = ["x", "y"] * 50
    first = made(write, labels, seed=3)["split"].tolist()
    assert made(write, labels, seed=3)["split"].tolist() == first
    assert made(write, labels, seed=4)["split"].tolist() != first
    # Nor does the row's place tell its split.
    assert first != sorted(first, key=manifest.SPLITS.index)


def test_two_targets_each_have_all_their_labels_in_train(write):
    draw = random.Random(1)
    lines = [
        f"w,{draw.choice('abcdefgh')},{draw.choice('pqrstuvw')}" for _ in range(150)
    ]
    path = write("\n".join(["text,kind,place", *lines]))
    rows = manifest.read(data(path, ["text"], ["kind", "place"]))
    assert len(rows) == 150
    assert share(rows.frame) == pytest.approx(SHARES, abs=0.03)


def test_valid_is_taken_from_train_where_there_is_none(write):
    path = write(text_rows("xy" * 50 + "xxyy", ["train"] * 100 + ["test"] * 4))
    rows = manifest.read(data(path, ["text"]))
    assert rows.warnings == (
        "no row is `valid`: 10 of 100 train rows are taken for it",
    )
    counts = collections.Counter(
        zip(rows.frame["label"], rows.frame["split"], strict=True)
    )
    assert counts["x", "valid"] == counts["y", "valid"] == 5
    assert counts["x", "test"] == counts["y", "test"] == 2
    # A trained run judges rows as they are.
    known = manifest.read(data(path, ["text"]), labels={"label": ["x", "y"]})
    assert known.warnings == () and len(known.split("train")) == 100


def test_a_split_column_of_another_name(write):
    path = write("text,label,fold\na,x,train\nb,x,val\nc,x,test")
    rows = manifest.read(data(path, ["text"], split="fold"))
    assert rows.cells("text") == ["a", "b", "c"]
    assert rows.split("valid").cells("text") == ["b"]


def test_a_manifest_of_bad_rows_alone_is_still_accounted_for(write):
    rows = manifest.read(data(write("text,label\na,\nb,\n"), ["text"]))
    assert (len(rows), rows.rows_read) == (0, 2)
    assert len(rows.head(3)) == len(rows.split("train")) == 0


# ----------------------------------------------------------------- parts of a manifest


def test_head_has_every_label_of_rows_sorted_by_label(write):
    labels = ["x"] * 50 + ["y"] * 50 + ["z"] * 50
    splits = (["train"] * 30 + ["valid"] * 10 + ["test"] * 10) * 3
    rows = manifest.read(data(write(text_rows(labels, splits)), ["text"]))
    few = rows.head(6)
    for name in manifest.SPLITS:
        part = few.split(name).frame["label"]
        assert part.value_counts().to_dict() == {"x": 2, "y": 2, "z": 2}
    assert few.frame.index.is_monotonic_increasing
    assert few.frame.index[:2].tolist() == [2, 3]
    assert few.rejected == few.warnings == ()
    assert len(rows.head(10_000)) == len(rows) == 150
    # Two rows of train know two labels; the third may then not be asked for.
    two = rows.head(2)
    assert set(two.frame["label"]) == set(two.split("train").frame["label"])


def test_reject_moves_rows_and_leaves_the_manifest_alone(write):
    content = "id,text,label\n1,a,x\n2,,x\n3,c,x\n4,d,x"
    rows = manifest.read(data(write(content), ["text"]))
    fewer = rows.reject({5: ("text", "no good"), 2: ("text", "bad")})
    assert fewer.ids == ["3"]
    assert [(row.line, row.id) for row in fewer.rejected] == [
        (2, "1"),
        (3, "2"),
        (5, "4"),
    ]
    assert fewer.rejected[0].cells["label"] == "x"
    assert fewer.rows_read == rows.rows_read == 4
    assert len(rows) == 3 and len(rows.rejected) == 1
    assert rows.reject({}).ids == rows.ids


def test_refused_rows_come_back_from_their_file(write, tmp_path):
    content = (
        'id,text,label,reason\n1,"a,""b""\nc",,why\n2,b\n3,c,x,d,extra\n4,数字,,"e\r\nf"\n'
        "5,ok,x,\n"
    )
    rows = manifest.read(data(write(content), ["text"]))
    rows.write_rejected(tmp_path / "rejected.csv")
    with open(tmp_path / "rejected.csv", newline="", encoding="utf-8") as file:
        header, *found = csv.reader(file)
    assert header[:4] == ["line", "id", "column", "reason"]
    assert len(set(header)) == len(header)
    found = [dict(zip(header, cells, strict=True)) for cells in found]
    assert len(found) == len(rows.rejected) == 4
    for read, row in zip(found, rows.rejected, strict=True):
        assert (read["line"], read["id"]) == (str(row.line), row.id)
        assert (read["column"], read["reason"]) == (row.column, row.reason)
        for name, cell in row.cells.items():
            name = f"manifest_{name}" if name in ("id", "reason") else name
            assert read[name] == cell
    assert found[0]["text"] == 'a,"b"\nc' and found[0]["manifest_reason"] == "why"
    assert found[2]["cell 5"] == "extra"


def test_no_refused_rows_are_a_file_with_a_header(write, tmp_path):
    rows = manifest.read(data(write("text,label\na,x"), ["text"]))
    rows.write_rejected(tmp_path / "rejected.csv")
    assert (tmp_path / "rejected.csv").read_text() == "line,id,column,reason\n"


# ----------------------------------------------- columns that are called otherwise

CHINESE = "编号,文本,图片,标签\n甲,你好,a.png,猫\n乙,再见,none.png,猫\n丙,早,,狗"


def test_the_files_own_names_of_columns(write, tmp_path):
    called = {"text": "文本", "image": "图片", "label": "标签"}
    rows = manifest.read(data(write(CHINESE), columns=called, id="编号"))
    assert rows.ids == ["甲", "丙"] and rows.cells("text") == ["你好", "早"]
    assert rows.frame["label"].tolist() == ["猫", "狗"]
    assert reasons(rows) == {3: ("图片", "the file `none.png` does not exist")}
    rows.write_rejected(tmp_path / "rejected.csv")
    header, cells = (tmp_path / "rejected.csv").read_text("utf-8").splitlines()
    assert header == "line,id,column,reason,编号,文本,图片,标签"
    assert cells.endswith("乙,再见,none.png,猫")


def test_rows_to_be_predicted_need_no_column_of_the_target(write):
    called = {"text": "文本", "label": "标签"}
    path = write("文本\n你好")
    rows = manifest.read(data(path, ["text"], columns=called), targets_required=False)
    assert rows.cells("text") == ["你好"]


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (
            {"text": "文"},
            "no column `文`, `image`, `label`. Found ['编号', '文本', '图",
        ),
        ({"text": "文"}, "under data.inputs, data.targets or data.columns"),
    ],
)
def test_a_column_that_is_not_there_bears_the_files_name(write, called, expected):
    assert expected in message(manifest.read, data(write(CHINESE), columns=called))


def test_two_columns_of_one_name_are_told(write):
    path = write("text,文本,label\na,b,x")
    told = message(manifest.read, data(path, ["text"], columns={"text": "文本"}))
    assert told == (
        "rows.csv has a column `text` beside `文本`, which data.columns calls `text`: "
        "choose another name there"
    )
    # But two may change their names.
    called = {"text": "label", "label": "text"}
    rows = manifest.read(data(write("text,label\nx,a"), ["text"], columns=called))
    assert rows.cells("text") == ["a"] and rows.frame["label"].tolist() == ["x"]
