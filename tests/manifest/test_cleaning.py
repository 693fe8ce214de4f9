"""`data.clean`: what is left out, counted and told; nothing without it."""

import pytest

from mmkeras import config, manifest
from mmkeras.config import RecipeError

LINES = """id,text,note,label,split
a,one,n,x,train
b,one,n,x,train
c,one,n,y,train
d,two,,x,train
e,three,n,x,train
f,three,n,x,test
g,,n,y,valid
h,four,n,x,valid
h,,,y,train
"""


def read(tmp_path, clean=(), **keys):
    (tmp_path / "rows.csv").write_text(LINES)
    data = {
        "manifest": str(tmp_path / "rows.csv"),
        "inputs": {"text": "text", "note": "text"},
        "targets": {"label": "classification"},
        "clean": list(clean),
    }
    return manifest.read(config.parse({"name": "rows", "data": data}).data, **keys)


def test_what_each_word_leaves_out(tmp_path):
    told = {
        clean: {
            row.line: (row.column, row.reason) for row in read(tmp_path, clean).rejected
        }
        for clean in [(), ("empty",), ("duplicates",), ("empty", "duplicates")]
    }
    unusable = {10: ("", "every input is empty: text, note")}
    assert told[()] == unusable
    empty = {
        5: ("note", "empty, which data.clean leaves out"),
        8: ("text", "empty, which data.clean leaves out"),
    }
    assert told["empty",] == unusable | empty
    # Another label is another row; the copy that is held out stays.
    twice = {
        3: ("", "the same as line 2, which data.clean keeps once"),
        6: ("", "the same as line 7, which data.clean keeps once"),
    }
    assert told["duplicates",] == unusable | twice
    assert told["empty", "duplicates"] == unusable | empty | twice


def test_all_rows_are_accounted_for_and_written(tmp_path):
    rows = read(tmp_path, ("empty", "duplicates"))
    assert rows.rows_read == 9 == len(rows) + len(rows.rejected)
    assert [row.line for row in rows.rejected] == [3, 5, 6, 8, 10]
    rows.write_rejected(tmp_path / "rejected.csv")
    text = (tmp_path / "rejected.csv").read_text()
    assert (
        '3,b,,"the same as line 2, which data.clean keeps once",b,one,n,x,train' in text
    )


def test_rows_that_are_to_be_answered_are_all_answered(tmp_path):
    asked = read(tmp_path, ("empty", "duplicates"), targets_required=False)
    assert [row.line for row in asked.rejected] == [10]


def test_another_word_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="'empty' or 'duplicates', got 'blank'"):
        read(tmp_path, ("blank",))
