from pathlib import Path

import numpy as np
import pytest

from mmkeras.client import rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no rows: give a list of"),
        ({}, "no rows: give a list of"),
        ({"a": ["x"], "b": []}, "columns must be of one length, one or more: {'a': 1,"),
        (
            {"a": "seven"},
            r"column `a` is str, expected a list: columns are {\"text\"",
        ),
        ({"a": b"seven"}, r"is bytes, .* one row alone is \[{\"text\": \"seven\"}\]"),
        (["seven"], "row 0 is str, expected a dict of what each input is given"),
        ([{"a": "", "b": ""}, {"a": ""}], r"row 1 has the inputs \['a'\], row 0 \['a'"),
        ([{"a": "", "b": ""}, {"a": ""}], 'each needs them all, and "" is missing'),
        ([{"a": "x"}, {"a": 31}], r"row 1, `a`: expected str or bytes, got int \(31\)"),
        ({"a": ["x", None]}, 'row 1, `a`: .* got NoneType .* Missing is "", a number'),
        ([{"a": Path("7.png")}], r"got PosixPath .* its bytes, Path\(...\).read_bytes"),
        ([{"a": "\ud800"}], "row 0, `a`: no UTF-8: surrogates not allowed"),
    ],
)
def test_what_cannot_be_sent(given, message):
    with pytest.raises(ValueError, match=message):
        rows.checked(given)


def test_whatever_can_be_gone_through_is_rows():
    one = [{"a": "x", "b": b"\0"}]
    assert rows.checked(row for row in one) == rows.checked(tuple(one)) == one
    texts = np.array(["x", "y"], object)
    assert rows.checked({"a": texts, "b": (b"", memoryview(b"z"))}) == {
        "a": ["x", "y"],
        "b": [b"", b"z"],
    }
