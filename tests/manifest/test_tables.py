"""The same table as CSV, as Parquet and as a DataFrame; what none of them may hold."""

import builtins

import numpy as np
import pandas as pd
import pytest

from mmkeras import config, manifest
from mmkeras.manifest import ManifestError, tables

CSV = """id,text,count,label,split
a,"two
lines",3,x,train
b,NA,,y,train
c, wide ,12.5,x,test
"""


def data(path, inputs=("text", "count"), **keys):
    content = {
        "manifest": str(path),
        "inputs": dict.fromkeys(inputs, "text"),
        "targets": {"label": "classification"},
        **keys,
    }
    return config.parse({"name": "rows", "data": content}).data


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "text": ["two\nlines", "NA", " wide "],
            "count": [3, np.nan, 12.5],
            "label": pd.Categorical(["x", "y", "x"]),
            "split": ["train", "train", "test"],
        }
    )


def test_a_csv_a_parquet_file_and_a_frame_are_one_table(tmp_path, frame):
    (tmp_path / "rows.csv").write_text(CSV)
    whole = frame.assign(count=["3", None, "12.5"])
    whole.to_parquet(tmp_path / "rows.parquet")
    csv = tables.read(tmp_path / "rows.csv").frame
    for other in (tables.read(tmp_path / "rows.parquet"), tables.of_frame(whole)):
        assert other.frame.to_dict("list") == csv.to_dict("list")
        assert other.frame.index.tolist() == [1, 2, 3] and other.ragged == {}
    rows = manifest.read(data(tmp_path / "rows.parquet"))
    assert rows.cells("text") == ["two\nlines", "NA", "wide"]
    given = manifest.read(data(tmp_path / "none.csv"), frame=whole)
    assert given.frame.equals(rows.frame) and len(given.rejected) == len(rows.rejected)


def test_whole_numbers_stay_whole_beside_missing_ones():
    frame = pd.DataFrame({"n": [1.0, np.nan, 3.0], "x": [0.5, 2.0, np.nan]})
    frame["when"] = pd.to_datetime(["2020-01-02", None, "2021-01-01"])
    found = tables.of_frame(frame.assign(yes=[True, False, None])).frame
    assert found["n"].tolist() == ["1", "", "3"]
    assert found["x"].tolist() == ["0.5", "2.0", ""]
    assert found["yes"].tolist() == ["True", "False", ""]
    assert found["when"].tolist() == ["2020-01-02 00:00:00", "", "2021-01-01 00:00:00"]


def test_files_of_a_frame_start_at_the_manifests_folder(tmp_path, frame):
    (tmp_path / "a.png").write_bytes(b"a")
    frame["image"] = ["a.png", "b.png", "../c.png"]
    section = data(tmp_path / "none.csv", ("text",))
    section = section.model_copy(
        update={"inputs": section.inputs | {"image": {"kind": "image"}}}
    )
    rows = manifest.read(section, frame=frame.assign(split="train"))
    assert rows.cells("image") == [f"{tmp_path}/a.png"]
    assert [row.line for row in rows.rejected] == [2, 3]  # rows count from 1
    assert rows.rows_read == 3
    assert frame.columns.tolist()[-1] == "image" and len(frame) == 3  # as it was


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([b"\xff\xd8", "a.png"], "row 1: column `it` holds a value of type bytes"),
        (["a.png", ["b.png"]], "row 2: column `it` holds a value of type list"),
    ],
)
def test_cells_that_are_no_plain_values_are_refused(cells, expected):
    with pytest.raises(ManifestError, match="A manifest holds texts, numbers") as told:
        tables.of_frame(pd.DataFrame({"it": cells}))
    assert expected in str(told.value)


def test_frames_and_files_that_hold_nothing(tmp_path):
    with pytest.raises(ManifestError, match="the DataFrame has a header but no rows"):
        tables.of_frame(pd.DataFrame({"text": []}))
    twice = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ManifestError, match="two columns called `text`"):
        tables.of_frame(twice)
    path = tmp_path / "rows.parquet"
    path.write_text("text,label\na,x\n")
    with pytest.raises(ManifestError, match="rows.parquet is no Parquet file: "):
        tables.read(path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        tables.read(tmp_path / "none.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    from mmkeras import cli

    whole = builtins.__import__

    def without(name, *rest, **options):
        if name == "pyarrow":
            raise ImportError("no pyarrow")
        return whole(name, *rest, **options)

    (tmp_path / "rows.pq").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'mmkeras\[parquet\]'"):
        tables.read(tmp_path / "rows.pq")
    assert cli.main(["check", str(tmp_path / "rows.pq")]) == cli.MISSING


def test_rows_come_in_piles_and_equal_cells_are_one_text(tmp_path, monkeypatch):
    monkeypatch.setattr(tables._Columns, "PILE", 7)
    monkeypatch.setattr(tables._Columns, "KNOWN", 20)
    rows = [(f"row {n}", f"file {n % 3}.wav", " x ") for n in range(40)]
    lines = ["id,sound,label", *map(",".join, rows)]
    (tmp_path / "rows.csv").write_text("\n".join([*lines[:9], "", "a,b", *lines[9:]]))
    table = tables.read(tmp_path / "rows.csv")
    frame = table.frame
    cells = [[cell.strip() for cell in row] for row in rows]
    assert frame.to_numpy().tolist() == cells
    assert frame.index.tolist() == [*range(2, 10), *range(12, 44)]
    assert table.ragged == {11: ["a", "b"]}
    assert [frame[name].map(id).nunique() for name in frame] == [40, 3, 1]
    rows = manifest.Manifest(tmp_path / "rows.csv", frame, {"sound": "audio"}, {})
    assert rows.reject({}) is rows
