"""Texts: what becomes a token, what becomes an id, and the same everywhere."""

import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.modalities.hub import HubTexts
from mmkeras.modalities.subwords import Subwords
from mmkeras.modalities.text import Text, joined, normalise

FAMILY = "👩\u200d👩\u200d👧\u200d👦"


def learnt(**options):
    text = Text("question", **options)
    text.learn(["the cat sat on the mat", "the dog", "a cat"])
    return text


def tokens(text):
    return normalise(tf.constant(text)).numpy().decode("utf-8").split(" ")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Don't STOP", ["don't", "stop"]),
        ("rock\u2019n\u2019roll", ["rock'n'roll"]),
        ("he said 'yes'!", ["he", "said", "'", "yes", "'", "!"]),
        ("数字是三", ["数", "字", "是", "三"]),
        ("三つのラーメン", ["三", "つ", "の", "ラ", "ー", "メ", "ン"]),
        ("สาม", ["ส", "า", "ม"]),
        ("삼 삼", ["삼", "삼"]),
        ("ثلاثة, שלוש", ["ثلاثة", ",", "שלוש"]),
        ("ÉTÉ Τρία ТРИ", ["été", "τρία", "три"]),
        (f"ok{FAMILY}👍🏽🇩🇪🇫🇷", ["ok", FAMILY, "👍🏽", "🇩🇪", "🇫🇷"]),
        ("a\u3000b\u00a0c\td\ne\u200bf", list("abcdef")),
        ("\ufeffx\u200f", ["x"]),
        ("=1+1, \u201edrei\u201c \u2014", list("=1+1,") + ["„", "drei", "“", "—"]),
    ],
)
def test_tokens(raw, expected):
    assert tokens(raw) == expected


def test_columns_are_joined_to_one_text():
    cells = [
        ("A cat; no", "31", "Graz"),
        ("", " 31 ", "\u3000"),
        ("", "", "Graz"),
        ("\ufeff", "\t", ""),
    ]
    found = joined(tf.constant(cells), ("title", "age", "city")).numpy()
    assert [each.decode() for each in found] == [
        "title: A cat; no; age: 31; city: Graz",
        "age: 31",
        "city: Graz",
        "",
    ]
    alone = joined(tf.constant(["31", ""]), ("age",)).numpy()
    assert alone.tolist() == [b"age: 31", b""]
    assert joined(tf.constant(["31"]), ()).numpy().tolist() == [b"31"]


@pytest.mark.parametrize("by", ["words", "characters"])
def test_a_text_of_columns_is_learnt_decoded_and_missing(by):
    text = Text("all", by=by, columns=("title", "age"), length=6)
    assert text.signatures == ("title", "age") and Text("all").signatures == ("all",)
    text.learn([("cat", "3"), ("", "3")])
    rows, faults = text.attempt_batch(tf.constant([("cat", ""), ("", "")]))
    assert faults.shape == (2, 2) and set(faults.numpy().flat) == {b""}
    assert rows["all_present"].numpy().tolist() == [True, False]
    whole = ["title", ":", "cat"] if by == "words" else list("title:")
    ids = rows["all"].numpy()[0]
    assert [text.vocabulary[at] for at in ids if at] == whole
    one, _ = text.attempt(tf.constant(("cat", "")))
    np.testing.assert_array_equal(one["all"], ids)


class Letters:
    """In place of a pretrained tokenizer: one id a character, between two marks."""

    pad_token_id, start_token_id, end_token_id = 0, 1, 2

    def __call__(self, texts):
        return tf.strings.unicode_decode(texts, "UTF-8")

    tokenize = __call__

    def bert_pack_inputs(self, tokens, seq_length):
        ids = tokens[0].to_tensor(shape=(None, 12))
        return {"input_word_ids": ids}


def test_pretrained_tokenizers_read_columns_too():
    columns, cells = ("a", "b"), tf.constant([("x", "y"), ("", "z"), ("", "")])
    subwords = Subwords("it", "preset", columns=columns, length=12)
    hub = HubTexts("it", "preprocessor", columns=columns, length=12)
    subwords._tokenizer = hub._loaded = Letters()
    for decoder, expected in ((subwords, b"\x01a: x; b: y\x02"), (hub, b"a: x; b: y")):
        assert decoder.signatures == columns
        rows, faults = decoder.attempt_batch(cells)
        assert bytes(rows["it"].numpy()[0].tolist()).replace(b"\0", b"") == expected
        assert rows["it_present"].numpy().tolist() == [True, True, False]
        assert faults.shape == (3, 2)
        one, _ = decoder.attempt(cells[0])
        np.testing.assert_array_equal(one["it"], rows["it"][0])


def test_invalid_utf8_counts_as_space():
    assert normalise(tf.constant(b"\xff\xfeab\xc3 \x00c")).numpy() == b"ab c"


def test_learning_ranks_by_count_then_alphabet():
    text = learnt(vocabulary_size=5)
    assert text.vocabulary == ["", "[UNK]", "the", "cat", "a"]
    assert text.geometry == {"length": 32, "vocabulary_size": 5}


def test_learning_does_not_depend_on_order():
    texts = [f"w{number % 50:02d}" for number in range(3000)]
    one, other = Text("q"), Text("q")
    one.learn(iter(texts))
    other.learn(reversed(texts))
    assert one.vocabulary == other.vocabulary
    assert len(one.vocabulary) == 52


def test_unknown_is_not_padding():
    ids = learnt(length=4).decode(tf.constant("Zebra cat"))["question"].numpy()
    assert ids.tolist() == [1, 2, 0, 0]


@pytest.mark.parametrize("raw", ["", "   ", "\t\n", "\u3000\u00a0", "\ufeff"])
def test_blank_is_missing(raw):
    row, fault = learnt().attempt(tf.constant(raw))
    assert not row["question_present"].numpy()
    assert not row["question"].numpy().any()
    assert fault.numpy() == b""


def test_literal_na_is_a_text():
    assert learnt().decode(tf.constant("NA"))["question_present"].numpy()


def test_hundred_thousand_characters_cost_little():
    text = learnt()
    run = tf.function(text.decode)
    short, huge = tf.constant("the cat " * 32), tf.constant("the cat " * 12_500)
    run(huge)
    start = time.perf_counter()
    ids = run(huge)["question"]
    assert time.perf_counter() - start < 0.05
    np.testing.assert_array_equal(ids, run(short)["question"])


def test_cut_never_splits_a_character():
    text = Text("q", length=2)
    text.learn(["𝒳"])
    ids = text.decode(tf.constant("a" + "𝒳" * 1000))["q"].numpy()
    assert ids.tolist() == [1, 0]


def test_batch_equals_rows_and_takes_none():
    text = learnt(length=5)
    raws = tf.constant(["the cat", "", "数 the", "x " * 100])
    rows, faults = text.attempt_batch(raws)
    for index, raw in enumerate(raws):
        for key, value in text.decode(raw).items():
            np.testing.assert_array_equal(rows[key][index], value)
    assert faults.numpy().tolist() == [b""] * 4
    none, faults = text.attempt_batch(tf.constant([], tf.string))
    assert none["question"].shape == (0, 5) and faults.shape == (0,)


def test_specs_are_what_comes_out():
    text = learnt()
    made = tf.data.Dataset.from_tensors("a cat").map(text.decode)
    assert made.element_spec == text.specs


def test_decoding_before_learning_says_what_to_do():
    with pytest.raises(RuntimeError, match="`q` has no vocabulary yet. Call learn"):
        Text("q").decode(tf.constant("a"))


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (["a", "b"], "must begin with '' .padding. and"),
        (["", "[UNK]", "a", "a"], r"holds \['a'\] twice"),
        (["", "[UNK]", *"abcd"], "6 entries, more than vocabulary_size = 4"),
    ],
)
def test_a_wrong_vocabulary_is_named(vocabulary, message):
    with pytest.raises(ValueError, match=message):
        Text("q", vocabulary_size=4).vocabulary = vocabulary


def test_a_loaded_vocabulary_gives_the_same_ids():
    text, loaded = learnt(), Text("question")
    loaded.vocabulary = text.vocabulary
    raw = tf.constant("the dog and a cat")
    np.testing.assert_array_equal(
        text.decode(raw)["question"], loaded.decode(raw)["question"]
    )


LOADER = """
import sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
rows = served.run(tf.constant(["the cat zebra", "", "三 a"]))
print(rows["question"].numpy().tolist(), rows["question_present"].numpy().tolist())
"""


def test_saved_model_answers_in_a_fresh_process(tmp_path):
    text = learnt(length=4)
    module = tf.Module()
    module.resources = text.resources
    module.run = tf.function(
        lambda raws: text.attempt_batch(raws)[0],
        input_signature=[tf.TensorSpec([None], tf.string, name="question")],
    )
    tf.saved_model.save(module, str(tmp_path))
    answer = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = module.run(tf.constant(["the cat zebra", "", "三 a"]))
    expected = [
        rows["question"].numpy().tolist(),
        rows["question_present"].numpy().tolist(),
    ]
    assert answer.stdout.split("\n")[0] == f"{expected[0]} {expected[1]}"
