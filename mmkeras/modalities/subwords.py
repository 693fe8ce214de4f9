"""Texts as the pieces of a pretrained tokenizer, in the graph, for its backbone.

KerasHub's tokenizers are made of TensorFlow Text's operations, which TensorFlow
Serving links: the same code trains and serves.
"""

import json
from pathlib import Path

import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities import presets
from mmkeras.modalities.text import bounded, first, joined, specs


class Subwords:
    """Texts as ids of a pretrained tokenizer's pieces, between its start and end marks.

    Nothing is learnt of the train split: `learn` fetches the tokenizer, which a run
    keeps a copy of. Call it, or `load`, before anything is decoded.

    Args:
        name: the manifest's column and the model's input.
        length: pieces kept of a text, both marks included.
        vocabulary_size: that of other texts; the tokenizer has its own.
        columns: read as one text, see `text.joined`.
        preset: a name that KerasHub knows, or a local folder in KerasHub's or Hugging
            Face's format.
    """

    is_file = False
    resources, packages = [], ("tensorflow_text",)

    def __init__(
        self,
        name,
        preset,
        *,
        length: PositiveInt = 32,
        vocabulary_size=None,
        columns=(),
    ):
        self.name = name
        self.length = length
        self.preset = preset
        self.columns = tuple(columns)
        self.signatures = self.columns or (name,)
        self._tokenizer = None

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return specs(self.name, self.length)

    @property
    def geometry(self):
        """What a branch must know: pieces in a row, and the id of padding."""
        return {"length": self.length, "padding_id": self.tokenizer.pad_token_id}

    @property
    def tokenizer(self):
        """The KerasHub tokenizer.

        Raises:
            RuntimeError: neither `learn` nor `load` was called yet.
        """
        if self._tokenizer is None:
            raise RuntimeError(
                f"The text input `{self.name}` has no tokenizer yet. Call learn(), "
                "which fetches that of the preset, or load(folder) with that of a run."
            )
        return self._tokenizer

    @property
    def unknown_id(self):
        """What takes the place of a word that is dropped."""
        tokenizer = self.tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        if unknown is None:
            unknown = getattr(tokenizer, "mask_token_id", None)
        return tokenizer.pad_token_id if unknown is None else unknown

    @property
    def special_ids(self):
        """Padding and marks, which are no words."""
        tokenizer = self.tokenizer
        return (
            tokenizer.pad_token_id,
            tokenizer.start_token_id,
            tokenizer.end_token_id,
        )

    def learn(self, texts=()):
        """Fetches the tokenizer of the preset.

        Raises:
            FileNotFoundError: there is none, or it could not be fetched.
        """
        self._tokenizer = pretrained_tokenizer(self.preset)

    def save(self, folder):
        """Writes the tokenizer to `<folder>/<name>/`."""
        import keras

        own = Path(folder) / self.name
        own.mkdir()
        config = keras.saving.serialize_keras_object(self.tokenizer)
        (own / "tokenizer.json").write_text(json.dumps(config), encoding="utf-8")
        self.tokenizer.save_assets(str(own))

    def load(self, folder):
        """Reads what `save` wrote."""
        import keras

        presets.keras_hub()
        own = Path(folder) / self.name
        config = json.loads((own / "tokenizer.json").read_text(encoding="utf-8"))
        self._tokenizer = keras.saving.deserialize_keras_object(config)
        self._tokenizer.load_assets(str(own))

    def decode(self, raw):
        """One text -> {name: ids (length,) int32, name_present: bool}."""
        return self.attempt(raw)[0]

    def attempt(self, raw):
        """One text -> (dict as `decode`, fault); a text has no fault: always ""."""
        return first(self, raw)

    def attempt_batch(self, raws):
        """(batch,) texts -> (dict as `decode` with a batch dimension, (batch,) faults).

        Raises:
            RuntimeError: no tokenizer yet.
        """
        # In a graph at all times: outside one KerasHub may tokenize in Python, by
        # rules that are not quite those of the served graph.
        ids, present = _in_graph(self._ids, raws)
        rows = {
            self.name: tf.ensure_shape(ids, (None, self.length)),
            f"{self.name}_present": present,
        }
        return rows, tf.zeros_like(raws)

    def _ids(self, raws):
        tokenizer = self.tokenizer
        pieces = tokenizer(bounded(joined(raws, self.columns), self.length))
        kept = tf.cast(pieces, tf.int32)[:, : self.length - 2]
        count = kept.nrows()
        start = tf.fill((count, 1), tokenizer.start_token_id)
        end = tf.fill((count, 1), tokenizer.end_token_id)
        ids = tf.concat([start, kept, end], axis=1).to_tensor(
            default_value=tokenizer.pad_token_id, shape=(None, self.length)
        )
        return ids, kept.row_lengths() > 0


def pretrained_tokenizer(preset):
    """The tokenizer of a KerasHub preset; see `Subwords`.

    Raises:
        FileNotFoundError: there is none, or it could not be fetched.
    """
    tokenizer = presets.load("tokenizer", preset)
    # KerasHub reads no more than `do_lower_case`; an uncased BERT takes accents away
    # as well, unless its folder says otherwise.
    file = Path(preset) / "tokenizer_config.json"
    if file.is_file() and hasattr(tokenizer, "strip_accents"):
        config = json.loads(file.read_text(encoding="utf-8"))
        strip = config.get("strip_accents")
        tokenizer.strip_accents = tokenizer.lowercase if strip is None else strip
    return tokenizer


def _in_graph(function, raws):
    return tf.function(function)(raws) if tf.executing_eagerly() else function(raws)
