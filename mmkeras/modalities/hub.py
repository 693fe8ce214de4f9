"""Texts as a TF Hub preprocessor reads them, in the graph, for its encoder."""

import shutil
from pathlib import Path

import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities.text import bounded, first, joined, specs


class HubTexts:
    """Texts as the ids that a BERT preprocessor of TF Hub makes.

    Nothing is learnt of the train split: `learn` fetches the preprocessor, which a run
    keeps a copy of. Call it, or `load`, before anything is decoded.

    Args:
        name: the manifest's column and the model's input.
        length: pieces kept of a text, both marks included.
        vocabulary_size: that of other texts; the tokenizer has its own.
        columns: read as one text, see `text.joined`.
        preprocessor: handle on TF Hub, or local folder of the SavedModel. It has the
            functions `tokenize` and `bert_pack_inputs`.
    """

    is_file = False
    packages = ("tensorflow_text",)
    # BERT's own: [UNK]; padding, [CLS] and [SEP].
    unknown_id, special_ids = 100, (0, 101, 102)

    def __init__(
        self,
        name,
        preprocessor,
        *,
        length: PositiveInt = 32,
        vocabulary_size=None,
        columns=(),
    ):
        self.name = name
        self.length = length
        self.preprocessor = preprocessor
        self.columns = tuple(columns)
        self.signatures = self.columns or (name,)
        self._folder = self._loaded = None

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return specs(self.name, self.length)

    @property
    def geometry(self):
        """What a branch must know: pieces in a row."""
        return {"length": self.length}

    @property
    def resources(self):
        """TensorFlow objects which a SavedModel must track."""
        return [self._preprocessor()]

    def learn(self, texts=()):
        """Fetches the preprocessor.

        Raises:
            FileNotFoundError: there is none, or it could not be fetched.
        """
        self._open(saved_model_folder(self.preprocessor))

    def save(self, folder):
        """Writes the preprocessor to `<folder>/<name>/`."""
        self._preprocessor()
        shutil.copytree(self._folder, Path(folder) / self.name)

    def load(self, folder):
        """Reads what `save` wrote."""
        self._open(Path(folder) / self.name)

    def decode(self, raw):
        """One text -> {name: ids (length,) int32, name_present: bool}."""
        return self.attempt(raw)[0]

    def attempt(self, raw):
        """One text -> (dict as `decode`, fault); a text has no fault: always ""."""
        return first(self, raw)

    def attempt_batch(self, raws):
        """(batch,) texts -> (dict as `decode` with a batch dimension, (batch,) faults).

        Raises:
            RuntimeError: no preprocessor yet.
        """
        loaded = self._preprocessor()
        texts = bounded(joined(raws, self.columns), self.length)
        packed = loaded.bert_pack_inputs(
            [loaded.tokenize(texts)], seq_length=tf.constant(self.length)
        )
        ids = tf.cast(packed["input_word_ids"], tf.int32)
        rows = {
            self.name: tf.ensure_shape(ids, (None, self.length)),
            f"{self.name}_present": texts != "",
        }
        return rows, tf.zeros_like(raws)

    def _open(self, folder):
        import tensorflow_text  # noqa: F401  brings operations of the graph

        loaded = tf.saved_model.load(str(folder))
        for name in ("tokenize", "bert_pack_inputs"):
            if not hasattr(loaded, name):
                raise ValueError(
                    f"{folder} is no BERT preprocessor of TF Hub: it has no function "
                    f"`{name}`. Name the preprocessor that goes with the encoder, as "
                    "https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3"
                )
        self._folder, self._loaded = Path(folder), loaded

    def _preprocessor(self):
        if self._loaded is None:
            raise RuntimeError(
                f"The text input `{self.name}` has no preprocessor yet. Call learn(), "
                "which fetches it, or load(folder) with that of a run."
            )
        return self._loaded


def saved_model_folder(handle):
    """The local folder of a SavedModel, fetched from TF Hub where it is none.

    Raises:
        FileNotFoundError: there is none, or it could not be fetched.
        ImportError: a handle, and tensorflow_hub is not installed.
    """
    if (Path(handle) / "saved_model.pb").is_file():
        return Path(handle)
    if "://" not in handle:
        raise FileNotFoundError(
            f"no SavedModel in `{handle}`. Expected a handle on TF Hub, as "
            "https://tfhub.dev/..., or a local folder that holds saved_model.pb"
        )
    try:
        import tensorflow_hub
    except ImportError as error:
        raise ImportError(
            f"to fetch `{handle}`: pip install 'mmkeras[hub]', or name a local folder"
        ) from error
    try:
        return Path(tensorflow_hub.resolve(handle))
    except Exception as error:
        raise FileNotFoundError(
            f"`{handle}` could not be fetched ({error}). Set TFHUB_CACHE_DIR to a "
            "folder that holds it, or name the local folder of the SavedModel"
        ) from error
