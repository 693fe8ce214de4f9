"""Files of word vectors, and texts whose vocabulary comes of them."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.modalities import vectors
from mmkeras.modalities.text import Text

GLOVE = "the 1 2\ncat 3 4.5\nThe 9 9\nsat -1 2e-1\n猫 0 1\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return str(path)


def test_words_come_in_the_order_of_the_file_and_once(glove):
    assert vectors.words(glove, 9) == ["the", "cat", "sat", "猫"]
    assert vectors.words(glove, 2, but={"the"}) == ["cat", "sat"]


def test_the_first_vector_of_a_word_counts(glove):
    found, size = vectors.table(glove, ["", "[UNK]", "the", "sat", "dog"])
    assert size == 2 and set(found) == {"the", "sat"}
    np.testing.assert_allclose(found["the"], [1, 2])
    np.testing.assert_allclose(found["sat"], [-1, 0.2])


def test_the_header_of_word2vec_is_no_word(tmp_path):
    path = tmp_path / "word2vec.txt"
    path.write_text("2 3\r\ncat 1 2 3 \r\ndog 4 5 6\r\n", encoding="utf-8")
    assert vectors.words(path, 9) == ["cat", "dog"]
    assert vectors.table(path, ["dog"])[0]["dog"].tolist() == [4, 5, 6]


@pytest.mark.parametrize("line", ["dog 1", "dog 1 x", "dog 1 nan", "dog 1 2 3"])
def test_a_line_that_is_no_vector_is_named(tmp_path, line):
    path = tmp_path / "bad.txt"
    path.write_text(f"cat 1 2\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="vector 2, of `dog`: expected 2 numbers"):
        vectors.table(path, ["cat", "dog"])
    assert set(vectors.table(path, ["cat"])[0]) == {"cat"}  # others may hold anything


def test_a_file_that_is_not_there_or_empty_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no word vectors at `None`. Expected"):
        vectors.words(None, 3)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="holds no word vectors"):
        vectors.table(tmp_path / "empty.txt", ["a"])


def test_words_of_the_file_fill_up_the_vocabulary(glove):
    decoder = Text("it", vectors_file=glove, length=4, vocabulary_size=5)
    decoder.learn(["dog the dog"])
    assert decoder.vocabulary == ["", "[UNK]", "dog", "the", "cat"]
    assert decoder.geometry == {"length": 4, "vocabulary": decoder.vocabulary}
    ids = decoder.decode(tf.constant("the cat sat"))["it"].numpy()
    assert ids.tolist() == [3, 4, 1, 0]


def test_characters_count_spaces_and_know_no_words():
    decoder = Text("it", "characters", length=8)
    decoder.learn(["Ab  猫 a"])
    assert decoder.vocabulary == ["", "[UNK]", " ", "a", "b", "猫"]
    ids = decoder.decode(tf.constant(" B 猫x"))["it"].numpy()
    assert ids.tolist() == [4, 2, 5, 1, 0, 0, 0, 0]
