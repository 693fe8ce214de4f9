"""Text branch on an encoder of TF Hub, as BERT.

Here alone a SavedModel is a layer, so this is the one branch that needs TensorFlow.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import ops
from pydantic import PositiveInt

from mmkeras.branches import pretrained
from mmkeras.families import Fraction
from mmkeras.modalities.hub import saved_model_folder


def text_hub(
    name,
    *,
    length,
    encoder: str = "https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4",
    preprocessor: str = "https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3",
    units: PositiveInt = 128,
    dropout: Fraction = 0.1,
):
    """A frozen BERT of TF Hub; one token a piece.

    Args:
        name: of the input.
        length: pieces a text.
        encoder: handle on TF Hub, or local folder of the SavedModel: input_word_ids,
            input_mask, input_type_ids -> sequence_output.
        preprocessor: of the texts, the one that goes with the encoder; see
            `modalities.hub`.
        units: size of a token.
        dropout: on the features, share in [0, 1).

    Raises:
        FileNotFoundError: the encoder is not there and could not be fetched.
        ValueError: a SavedModel of something else.
    """
    ids = keras.Input((length,), dtype="int32", name=name)
    layer = HubEncoder(name=f"{name}_encoder")
    layer.open_folder(saved_model_folder(encoder))
    return pretrained.text_branch(
        name, ids, layer(ids), ops.not_equal(ids, 0), units=units, dropout=dropout
    )


@keras.saving.register_keras_serializable("mmkeras")
class HubEncoder(keras.layers.Layer):
    """Ids (batch, length) -> sequence_output (batch, length, dim) of a SavedModel.

    The SavedModel travels inside the `.keras` file; call `open_folder` on a new layer.

    Args:
        dim: size of a token; read from the SavedModel.
        digest: hash of the SavedModel's files; read from them.
        **kwargs: of a Keras layer. Always computes in float32, as the SavedModel does.
    """

    def __init__(self, dim=None, digest=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.dim, self.digest = dim, digest
        self._encoder = self._folder = self._copy = None

    def open_folder(self, folder):
        """Loads the SavedModel in a folder.

        Raises:
            ValueError: it is not an encoder.
        """
        loaded = tf.saved_model.load(str(folder))
        serve = loaded.signatures.get("serving_default")
        outputs = serve.structured_outputs if serve else {}
        inputs = serve.structured_input_signature[1] if serve else {}
        asked = {"input_word_ids", "input_mask", "input_type_ids"}
        if set(inputs) != asked or "sequence_output" not in outputs:
            raise ValueError(
                f"encoder: {folder} takes {sorted(inputs)} and gives {sorted(outputs)};"
                f" a BERT of TF Hub takes {sorted(asked)} and gives sequence_output"
            )
        self._encoder, self._folder = loaded, Path(folder)
        self.dim = outputs["sequence_output"].shape[-1]
        self.digest = _digest(self._folder)

    def call(self, ids):
        """Runs the encoder, in inference."""
        visible = ops.cast(ops.not_equal(ids, 0), "int32")
        outputs = self._encoder.signatures["serving_default"](
            input_word_ids=ids, input_mask=visible, input_type_ids=ops.zeros_like(ids)
        )
        return outputs["sequence_output"]

    def compute_output_spec(self, ids):
        """(batch, length) -> (batch, length, dim)."""
        return keras.KerasTensor((*ids.shape, self.dim), "float32")

    def save_assets(self, folder):
        """Puts the SavedModel into a `.keras` file."""
        shutil.copytree(self._folder, folder, dirs_exist_ok=True)

    def load_assets(self, folder):
        """Takes the SavedModel out of a `.keras` file."""
        # Keras deletes the folder after loading, but the layer may be saved again.
        self._copy = tempfile.TemporaryDirectory(prefix="mmkeras-hub-")
        shutil.copytree(folder, self._copy.name, dirs_exist_ok=True)
        self.open_folder(self._copy.name)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim, "digest": self.digest}


def _digest(folder):
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        # The fingerprint tells when a model was written, not what it is.
        if path.is_file() and path.name != "fingerprint.pb":
            found.update(str(path.relative_to(folder)).encode())
            found.update(path.read_bytes())
    return found.hexdigest()
