"""Branches of one's own, as a user's file has them."""

import keras
from keras import ops


def words(ids, vocabulary_size, mask, units=8):
    """A token a word, whatever its neighbours."""
    embedded = keras.layers.Embedding(vocabulary_size, units)(ids)
    return keras.layers.LSTM(units, return_sequences=True)(embedded, mask=mask)


def sentence(ids, vocabulary_size):
    """One token a text."""
    embedded = keras.layers.Embedding(vocabulary_size, 8, mask_zero=True)(ids)
    return keras.layers.GlobalAveragePooling1D()(embedded)


def feature_map(pixels):
    """(batch, height, width, channels)."""
    plain = keras.layers.LayerNormalization(axis=(1, 2, 3))(pixels)
    return keras.layers.Conv2D(8, 8, strides=8, activation="relu")(plain)


def pooled(pixels):
    """One token a picture."""
    return keras.layers.GlobalMaxPooling2D()(feature_map(pixels))


def frames(wave, rate_hz):
    """A token every 20 ms."""
    step = rate_hz // 50
    return keras.layers.Conv1D(8, step, strides=step)(wave[..., None])


def clip(wave, mask):
    """One token a sound, of what is there."""
    seen = ops.cast(mask, wave.dtype)[..., None]
    heard = keras.layers.Conv1D(8, 160, padding="same", activation="relu")(
        wave[..., None]
    )
    return ops.sum(heard * seen, axis=1) / (ops.sum(seen, axis=1) + 1)


@keras.saving.register_keras_serializable()
class Doubled(keras.layers.Layer):
    """A layer that Keras does not know but from here."""

    def call(self, tokens):
        return 2 * tokens


class Unknown(Doubled):
    """A layer that a saved model cannot name."""


@keras.saving.register_keras_serializable()
class Forgetful(Doubled):
    """A layer that tells other arguments than it takes."""

    def get_config(self):
        return {**super().get_config(), "factor": 2}


def doubled(pixels):
    """With that layer."""
    return Doubled()(feature_map(pixels))


def unknown(pixels):
    """With a layer that is not registered."""
    return Unknown()(feature_map(pixels))


def forgetful(pixels):
    """With a layer that cannot be made again."""
    return Forgetful()(feature_map(pixels))


def asks_too_much(pixels, depth):
    """Asks for what it is not told."""
    return keras.layers.Dense(depth)(pixels)


def breaks(pixels):
    """Raises."""
    return keras.layers.Conv2D(8, 99)(pixels)


def gives_ids(ids):
    """No floats."""
    return ids


def gives_numbers(pixels):
    """No tensor."""
    return [1, 2]


SIZE = 8
