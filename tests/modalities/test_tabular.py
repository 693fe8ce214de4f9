"""Tables: what is a number, what becomes an id, faults, and the same everywhere."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.modalities.tabular import EXPECTED, Tabular

TRAIN = [
    ("20", "1.6", "Graz"),
    ("30", "1.7", "Graz"),
    ("40", "", "Wien"),
    ("50", "1.7", "Wien"),
    ("", "1.8", "Graz"),
    ("60", "1.9", "Linz"),
]


def learnt(cells=TRAIN, **options):
    table = Tabular(
        "person", numbers=("age", "height"), categories=("city",), **options
    )
    table.learn(cells)
    return table


def decoded(table, *cells):
    rows, faults = table.attempt_batch(tf.constant(cells))
    return {key: value.numpy() for key, value in rows.items()}, faults.numpy().tolist()


def age(raw):
    """(number, seen, fault) of one cell of a column with median 0 and scale 1."""
    table = Tabular("it", numbers=("age",))
    table.learnt = {"numbers": {"age": {"median": 0, "scale": 1}}, "categories": {}}
    row, fault = table.attempt(tf.constant(raw))
    return row["it"].numpy()[0], row["it_seen"].numpy()[0], fault.numpy().decode()


def squashed(value):
    return value / math.sqrt(1 + (value / 3) ** 2)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1.5", 1.5),
        ("-2", -2),
        ("+2", 2),
        (".5", 0.5),
        ("+.5", 0.5),
        ("5.", 5),
        ("1e3", 1000),
        ("-2.5E-1", -0.25),
        ("007", 7),
        (" 3 ", 3),
        ("\u00a03\u3000", 3),
        ("1e-400", 0),
        ("0" * 5000 + "1", 1),
    ],
)
def test_numbers(raw, value):
    found, seen, fault = age(raw)
    assert (seen, fault) == (True, "")
    assert found == pytest.approx(squashed(value), rel=1e-6)


@pytest.mark.parametrize("raw", ["", " ", "\t\n", "\u00a0\u3000"])
def test_blank_is_missing(raw):
    assert age(raw) == (0, False, "")


@pytest.mark.parametrize(
    "raw",
    "12 kg|1,5|1.000,5|nan|NaN|inf|-Infinity|0x10|1_000|1 000|--1|e3|1e|.|+|\u0663"
    "|\u22121|NA|n/a|1e1.5".split("|"),
)
def test_what_is_no_number_is_a_fault_with_the_value(raw):
    assert age(raw) == (0, False, f"`{raw}`{EXPECTED}")


@pytest.mark.parametrize("raw", ["1e400", "-1e301", "9" * 400])
def test_what_is_too_large_is_a_fault(raw):
    value, seen, fault = age(raw)
    assert (value, seen) == (0, False)
    assert fault == f"`{raw[:40]}` is too large a number"


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"1\x002", b"\x00\x01broken", b"a" * 10**6]
)
def test_bytes_that_are_no_text_are_told_as_text(raw):
    _, seen, fault = age(raw)
    assert not seen and fault.endswith(EXPECTED) and len(fault) < 200


def test_numbers_are_scaled_by_the_quartiles_of_the_train_split():
    scale = learnt().learnt["numbers"]
    assert scale["age"] == {"median": 40, "scale": 1 / 20}
    assert scale["height"] == {"median": 1.7, "scale": pytest.approx(10)}
    rows, _ = decoded(learnt(), ("60", "1.7", ""))
    assert rows["person"][0] == pytest.approx([squashed(1), 0])


def test_one_wild_row_changes_nothing_for_the_others():
    plain = learnt(TRAIN * 20)
    wild = learnt([*(TRAIN * 20), ("40", "180000", "Graz")])
    rows = [decoded(table, *TRAIN)[0]["person"] for table in (plain, wild)]
    np.testing.assert_allclose(*rows, atol=1e-6)
    far, _ = decoded(wild, ("1e300", "-1e300", ""), ("1e6", "180000", ""))
    assert far["person"] == pytest.approx(np.array([[3, -3], [3, 3]]), abs=1e-4)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["7"] * 5, {"median": 7, "scale": 0}),
        ([""] * 5, {"median": 0, "scale": 0}),
        ([], {"median": 0, "scale": 0}),
        (["0"] * 9 + ["4"], {"median": 0, "scale": 0.5}),
        (["12 kg", "1", "1"], {"median": 1, "scale": 0}),
    ],
)
def test_columns_with_little_in_them(cells, expected):
    table = Tabular("it", numbers=("n",))
    table.learn(cells)
    assert table.learnt["numbers"]["n"] == expected
    value = table.decode(tf.constant("7"))["it"].numpy()
    assert np.isfinite(value).all() and (expected["scale"] or not value.any())


def test_words_are_ranked_and_the_rare_are_unknown():
    table = learnt()
    assert table.learnt["categories"] == {"city": ["Graz", "Wien"]}
    rows, _ = decoded(
        table, *[("", "", city) for city in ("", "Linz", " Graz ", "Wien", "graz")]
    )
    assert rows["person_ids"][:, 0].tolist() == [0, 1, 2, 3, 1]
    assert rows["person_seen"][:, 2].tolist() == [False, True, True, True, True]
    assert table.geometry == {"numbers": 2, "categories": 1, "vocabulary_size": 4}


def test_options_of_categories():
    assert learnt(min_rows=1).learnt["categories"]["city"] == ["Graz", "Wien", "Linz"]
    assert learnt(min_rows=3).learnt["categories"]["city"] == ["Graz"]
    assert learnt(max_categories=1).learnt["categories"]["city"] == ["Graz"]


def test_the_same_word_in_two_columns_is_two_words():
    table = Tabular("it", categories=("from", "to"), min_rows=1)
    table.learn([("Graz", "Wien"), ("Wien", "Graz")])
    rows, _ = decoded(table, ("Graz", "Graz"), ("Linz", "Linz"), ("1=Graz", "0=Wien"))
    assert rows["it_ids"].tolist() == [[2, 5], [1, 4], [1, 4]]


def test_a_fault_leaves_the_other_cells_of_its_row():
    rows, faults = decoded(
        learnt(), ("12 kg", "1.9", "Graz"), ("x", "", ""), ("", "", ""), ("1", "2", "a")
    )
    assert faults[0] == [f"`12 kg`{EXPECTED}".encode(), b"", b""]
    assert rows["person_seen"].tolist() == [
        [False, True, True],
        [False] * 3,
        [False] * 3,
        [True] * 3,
    ]
    assert rows["person_present"].tolist() == [True, False, False, True]
    assert faults[1:] == [[f"`x`{EXPECTED}".encode(), b"", b""], [b""] * 3, [b""] * 3]


def test_faults_are_found_before_anything_is_learnt():
    table = Tabular("it", numbers=("n",), categories=("c",))
    found = table.faults(tf.constant([("1", "x"), ("x", "y")])).numpy()
    assert (found != b"").tolist() == [[False, False], [True, False]]
    with pytest.raises(RuntimeError, match="`it` has learnt nothing yet. Call learn"):
        table.attempt_batch(tf.constant([("1", "x")]))


@pytest.mark.parametrize(
    "columns", [{"numbers": ("a",)}, {"categories": ("a",)}], ids=["number", "word"]
)
def test_one_column_takes_plain_strings(columns):
    table = Tabular("it", **columns)
    table.learn(["1", "1", "2"])
    rows, faults = decoded(table, "1", "", "2")
    assert len(faults) == 3 and faults == [b""] * 3
    assert rows["it_seen"].tolist() == [[True], [False], [True]]
    assert table.decode(tf.constant("1"))["it_present"].numpy()


def test_specs_are_kept():
    table = learnt()
    rows, _ = table.attempt_batch(tf.constant(TRAIN))
    for key, spec in table.specs.items():
        assert rows[key].dtype == spec.dtype
        assert rows[key].shape.as_list() == [6, *spec.shape]


def test_save_and_load_agree(tmp_path):
    first, again = learnt(), learnt([("1", "2", "x")])
    first.save(tmp_path)
    again.load(tmp_path)
    assert again.learnt == first.learnt
    json.loads((tmp_path / "person.json").read_text(encoding="utf-8"))
    for one, other in zip(
        decoded(first, *TRAIN)[0].values(),
        decoded(again, *TRAIN)[0].values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_table_of_no_columns_is_refused():
    with pytest.raises(ValueError, match="`it` has no columns"):
        Tabular("it")


def test_eager_pipeline_and_saved_model_agree_bit_for_bit(tmp_path, rng):
    table = learnt([("12.3", "1.61", "Graz"), ("77.1", "1.9", "Graz"), ("3", "2", "")])
    numbers = np.exp(rng.normal(0, 12, (4001, 2))) * rng.choice([-1, 1], (4001, 2))
    cells = [(repr(a), f"{b:.7g}", "Graz") for a, b in numbers.tolist()]
    cells += [("12 kg", "", "Rom"), ("", "1e999", ""), (" 5", "+.5", "Graz ")]
    eager, faults = decoded(table, *cells)
    piped = tf.data.Dataset.from_tensor_slices(cells).batch(97).map(table.attempt_batch)
    module = tf.Module()
    module.kept = table.resources
    serve = tf.function(
        lambda raws: table.attempt_batch(raws)[0],
        input_signature=[tf.TensorSpec([None, 3], tf.string, name="raws")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    call = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    served = call(raws=tf.constant(cells))
    alone = [table.attempt(tf.constant(each))[0] for each in cells[:50]]
    parts = list(piped)
    for key, value in eager.items():
        both = [rows[key].numpy() for rows, _ in parts]
        np.testing.assert_array_equal(np.concatenate(both), value)
        np.testing.assert_array_equal(served[key].numpy(), value)
        np.testing.assert_array_equal([row[key].numpy() for row in alone], value[:50])
    assert np.concatenate([each.numpy() for _, each in parts]).tolist() == faults
    assert np.abs(eager["person"]).max() <= 3
