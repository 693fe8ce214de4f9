"""What the cell of a target may hold; manifests with every kind of target."""

import pandas as pd
import pytest

from mmkeras import manifest, targets
from mmkeras.recipe import Data

NUMBER = {"kind": "regression", "error": "squared"}
SET = {"kind": "multilabel", "separator": "|"}
CLASS = {"kind": "classification"}
IDENTITY = {"kind": "verification"}


@pytest.mark.parametrize(
    ("choice", "cell", "labels"),
    [
        (CLASS, "a|b", ["a|b"]),
        (SET, " a | b|", ["a", "b"]),
        (SET, "", []),
        (NUMBER, "1e3", ["1e3"]),
    ],
)
def test_labels_in_a_cell(choice, cell, labels):
    assert targets.labels_in(choice, cell) == labels


@pytest.mark.parametrize("cell", ["12", "-1.5", "1e3", " 7", "0"])
def test_numbers_are_numbers(cell):
    assert targets.is_number(cell) and targets.fault(NUMBER, cell) == ""


@pytest.mark.parametrize("cell", ["12 kg", "1,5", "nan", "inf", "1_000", "ten"])
def test_what_is_no_number_is_told_with_its_value(cell):
    told = f"`{cell}` is not a number: write 12, -1.5 or 1e3"
    assert targets.fault(NUMBER, cell) == told


def test_an_empty_cell_is_a_fault_but_of_a_set():
    assert targets.fault(CLASS, "") == targets.fault(NUMBER, "") == "the label is empty"
    assert targets.fault(SET, "") == ""


def test_only_closed_tasks_refuse_labels_never_seen():
    frame = pd.DataFrame(
        {"c": ["a", "z"], "s": ["a|z", "a"], "n": ["1", "9"], "v": ["a", "z"]}
    )
    choices = {"c": CLASS, "s": SET, "n": NUMBER, "v": IDENTITY}
    found = dict(targets.unseen(frame, choices, dict.fromkeys(choices, ["a"])))
    assert found == {1: ("c", "the label `z`"), 0: ("s", "the label `z`")}


def read(tmp_path, text, **chosen):
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return manifest.read(
        Data(manifest=str(path), inputs={"text": "text"}, targets=chosen)
    )


def test_a_number_that_is_none_refuses_its_row(tmp_path):
    rows = read(
        tmp_path,
        "text,price,split\na,12,train\nb,1 200,train\nc,3,test\n",
        price=NUMBER,
    )
    assert len(rows) == 2 and rows.rows_read == 3
    (row,) = rows.rejected
    assert (row.line, row.column) == (3, "price")
    assert row.reason == "`1 200` is not a number: write 12, -1.5 or 1e3"


def test_test_rows_may_have_numbers_and_people_that_train_has_not(tmp_path):
    text = "text,price,who,split\na,12,ann,train\nb,13,bob,train\nc,99,eve,test\n"
    rows = read(tmp_path, text, price=NUMBER, who=IDENTITY)
    assert len(rows) == 3 and not rows.rejected


def test_a_label_of_a_set_that_train_has_not_refuses_the_row(tmp_path):
    text = "text,tags,split\na,x|y,train\nb,,train\nc,y|z,test\nd,,test\n"
    rows = read(tmp_path, text, tags=SET)
    assert [row.reason for row in rows.rejected] == [
        "the label `z` does not occur in the train split"
    ]


def test_of_several_targets_some_may_be_empty(tmp_path):
    text = "text,label,price,split\na,x,,train\nb,,4,train\nc,,,train\nd,y,5,train\n"
    rows = read(tmp_path, text, label=CLASS, price=NUMBER)
    assert len(rows) == 3
    (row,) = rows.rejected
    assert row.line == 4 and row.reason == "the label is empty"


def test_splits_that_are_made_put_every_label_of_a_set_into_train(tmp_path):
    lines = "".join(f"t{n},{'rare|' * (n % 10 == 0)}often,{n}\n" for n in range(50))
    rows = read(tmp_path, f"text,tags,price\n{lines}", tags=SET, price=NUMBER)
    train = rows.split("train").frame["tags"]
    assert train.str.contains("rare").sum() == 4 and len(train) == 40
