"""Text branch on word vectors from a file."""

import keras
import numpy as np
from keras import ops
from pydantic import PositiveInt

from mmkeras.branches import words
from mmkeras.families import Fraction
from mmkeras.modalities.vectors import table


def text_vectors(
    name,
    *,
    length,
    vocabulary,
    file: str | None = None,
    trainable: bool = False,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """Word vectors from a file and an LSTM both ways; one token a word.

    The vocabulary holds the words of the train split and, as far as there is room, the
    most frequent others of the file: a word that no train row has is understood too.
    Words that the file lacks get vectors that are learnt.

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary: token of each id, padding and unknown first.
        file: path of the vectors, in GloVe's or word2vec's text format.
        trainable: whether the vectors of the file are trained further.
        units: size of a token, half of it from each direction.
        dropout: on the word vectors, share in [0, 1).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it does not hold word vectors, or none of the vocabulary's words.
    """
    layer = words.both_ways(name, units)
    embed = _filled(file, vocabulary, trainable, f"{name}_embedding")
    inputs, mask = words.inputs(name, length)
    tokens = keras.layers.Dropout(dropout, name=f"{name}_dropout")(embed(inputs[name]))
    tokens = layer(tokens, mask=mask)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _filled(file, vocabulary, trainable, name):
    """A layer with the vectors of the file."""
    found, size = table(file, vocabulary)
    if not found:
        raise ValueError(f"file: {file} has none of the {len(vocabulary)} words")
    vectors = np.zeros((len(vocabulary), size), "float32")
    for row, word in enumerate(vocabulary):
        if word in found:
            vectors[row] = found[word]
    embed = WordVectors(*vectors.shape, trainable_vectors=trainable, name=name)
    embed.build((None, None))
    embed.fill(vectors, [word in found for word in vocabulary])
    return embed


@keras.saving.register_keras_serializable("mmkeras")
class WordVectors(keras.layers.Layer):
    """Ids (batch, length) -> vectors (batch, length, size): given ones and learnt ones.

    Args:
        count: ids.
        size: of a vector.
        trainable_vectors: whether the given ones are trained further.
        **kwargs: of a Keras layer.
    """

    def __init__(self, count, size, *, trainable_vectors=False, **kwargs):
        super().__init__(**kwargs)
        self.count, self.size = count, size
        self.trainable_vectors = trainable_vectors

    def build(self, input_shape):
        """Makes both tables and what tells which one holds an id."""
        shape = (self.count, self.size)
        self.given = self.add_weight(
            shape=shape, trainable=self.trainable_vectors, name="given"
        )
        self.learnt = self.add_weight(shape=shape, initializer="uniform", name="learnt")
        self.is_given = self.add_weight(
            shape=(self.count, 1), trainable=False, initializer="zeros", name="is_given"
        )

    def fill(self, vectors, known):
        """Sets the given vectors, (ids, size), and which ids have one, (ids,) bool."""
        self.given.assign(vectors)
        self.is_given.assign(np.asarray(known, "float32")[:, None])

    def call(self, ids):
        """Looks up."""
        given, learnt, which = (
            ops.take(ops.cast(each, self.compute_dtype), ids, axis=0)
            for each in (self.given, self.learnt, self.is_given)
        )
        return which * given + (1 - which) * learnt

    def compute_output_shape(self, input_shape):
        """A vector an id."""
        return (*input_shape, self.size)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "count": self.count,
            "size": self.size,
            "trainable_vectors": self.trainable_vectors,
        }
