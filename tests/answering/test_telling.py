"""What people are shown of an answer, and what files hold."""

import types

import numpy as np
import pytest

from mmkeras import answering

SOURCE = types.SimpleNamespace(
    labels={"kind": ["cat", "dog"], "size": ["big", "small"]}, inputs={"text": ["text"]}
)


@pytest.fixture
def two_rows():
    """Two targets of two rows; of the first row `kind` is not told."""
    return {
        "kind_label": np.array([b"cat", b"dog"], object),
        "kind_abstained": np.array([True, False]),
        "size_label": np.array([b"big", b"big"], object),
        "size_abstained": np.array([False, False]),
        "present": np.array([[True], [True]]),
        "error": np.array([b"", b""], object),
    }


def test_people_read_of_abstaining_where_a_model_abstains(two_rows):
    first, second = (answering.told(two_rows, at, "", SOURCE) for at in range(2))
    assert answering.shown(first).splitlines() == [
        "kind_label      cat",
        "kind_abstained  yes, too unsure to answer",
        "size_label      big",
    ]
    assert answering.shown(second) == "kind_label  dog\nsize_label  big"


def test_json_and_tables_always_tell_it(two_rows):
    told = answering.told(two_rows, 1, "", SOURCE)
    assert (told["kind_abstained"], told["size_abstained"]) == (False, False)
    table = answering.table(two_rows, ["a", "b"], SOURCE)
    assert table["kind_abstained"].tolist() == [True, False]
    assert table["size_abstained"].tolist() == [False, False]


def test_an_export_from_before_it_was_served_is_told_too(two_rows):
    old = {key: two_rows[key] for key in two_rows if not key.endswith("abstained")}
    names = ["kind_label", "size_label", "present", "error"]
    assert list(answering.told(old, 0, "", SOURCE)) == names
    table = answering.table(old, ["a", "b"], SOURCE)
    assert list(table) == ["id", "kind_label", "size_label", "missing", "error"]
