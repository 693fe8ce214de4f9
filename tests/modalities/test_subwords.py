"""Texts as a pretrained tokenizer reads them: in the graph, kept with the run."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.modalities.subwords import Subwords

TEXTS = [
    "A cat is sitting on the mat.",
    "There's a kitten on the rug",
    "Stock märkets fell sharply today",
    "Wall Street's shares dropped",
    "猫坐在垫子上。",
]
# What Hugging Face's tokenizer of the same folder gives (transformers 5.23).
IDS = [
    [101, 1037, 4937, 2003, 3564, 2006, 1996, 13523, 1012, 102],
    [101, 2045, 1005, 1055, 1037, 18401, 2006, 1996, 20452, 102],
    [101, 4518, 6089, 3062, 9249, 2651, 102],
    [101, 2813, 2395, 1005, 1055, 6661, 3333, 102],
    [101, 100, 100, 100, 100, 1816, 1742, 1636, 102],
]


def learnt(preset, length=16):
    decoder = Subwords("text", preset, length=length)
    decoder.learn()
    return decoder


def test_pieces_are_those_of_the_models_own_tokenizer(minilm):
    rows, faults = learnt(minilm).attempt_batch(tf.constant(TEXTS))
    ids = rows["text"].numpy()
    assert [row[row != 0].tolist() for row in ids] == IDS
    assert rows["text_present"].numpy().all() and set(faults.numpy()) == {b""}


def test_marks_stay_where_a_text_is_cut(tiny_bert):
    decoder = learnt(tiny_bert, length=6)
    ids = decoder.decode(tf.constant("one seven one seven one seven"))["text"].numpy()
    assert ids.tolist() == [2, 6, 5, 6, 5, 3]  # [CLS] one seven one seven [SEP]
    assert decoder.geometry == {"length": 6, "padding_id": 0}
    assert decoder.unknown_id in (1, 4) and set(decoder.special_ids) == {0, 2, 3}


@pytest.mark.parametrize("raw", ["", "  \n", b"\xff\xfe"])
def test_nothing_is_missing(tiny_bert, raw):
    row = learnt(tiny_bert, length=5).decode(tf.constant(raw))
    assert not row["text_present"] and row["text"].numpy().tolist() == [2, 3, 0, 0, 0]


def test_bytes_that_are_no_text_and_huge_texts_do_no_harm(tiny_bert):
    raws = tf.constant([b"one \xff\xfe seven", b"one " * 1_000_000])
    rows, _ = learnt(tiny_bert).attempt_batch(raws)
    assert rows["text"].numpy()[0].tolist()[:4] == [2, 6, 5, 3]
    assert (rows["text"].numpy()[1][1:-1] == 6).all()


def test_eager_pipeline_and_graph_agree_bit_for_bit(tiny_bert):
    decoder, texts = learnt(tiny_bert), tf.constant(["one sevens", "七 one", "x", ""])
    eager, _ = decoder.attempt_batch(texts)
    graph, _ = tf.function(decoder.attempt_batch)(texts)
    pipeline = tf.data.Dataset.from_tensors(texts).map(decoder.attempt_batch)
    for other in (graph, next(iter(pipeline))[0]):
        for key in eager:
            np.testing.assert_array_equal(eager[key], other[key])


def test_what_is_kept_reads_the_same_without_the_preset(minilm, tmp_path):
    decoder = learnt(minilm)
    decoder.save(tmp_path)
    again = Subwords("text", "/is/gone", length=16)
    again.load(tmp_path)
    for text in TEXTS:
        np.testing.assert_array_equal(
            again.decode(tf.constant(text))["text"],
            decoder.decode(tf.constant(text))["text"],
        )


def test_errors_say_what_to_do(tmp_path):
    decoder = Subwords("query", str(tmp_path))
    with pytest.raises(RuntimeError, match="`query` has no tokenizer yet. Call learn"):
        decoder.decode(tf.constant("one"))
    with pytest.raises(FileNotFoundError, match="no tokenizer at .* local folder in"):
        decoder.learn()
