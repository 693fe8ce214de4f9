"""A BERT in the format of TF Hub, made of a KerasHub preset.

As those of tfhub.dev: a preprocessor with the functions `tokenize` and
`bert_pack_inputs`, and an encoder with the signature input_word_ids, input_mask,
input_type_ids -> pooled_output, sequence_output.
"""

from pathlib import Path

import tensorflow as tf


def write(preset, vocabulary, folder):
    """Writes `preprocessor` and `encoder` below a folder.

    Args:
        preset: folder of a BERT, in KerasHub's or Hugging Face's format.
        vocabulary: path of its vocabulary, below that folder.
        folder: where to write.

    Returns:
        {"preprocessor": path, "encoder": path}.
    """
    import keras_hub

    made = {name: str(Path(folder) / name) for name in ("preprocessor", "encoder")}
    words = Path(preset, vocabulary).read_text(encoding="utf-8").splitlines()
    tf.saved_model.save(_preprocessor(words), made["preprocessor"])
    backbone = keras_hub.models.Backbone.from_preset(preset)
    module = tf.Module()
    module.backbone = backbone
    spec = {
        name: tf.TensorSpec((None, None), tf.int32, name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }

    @tf.function(input_signature=[spec])
    def encode(inputs):
        outputs = backbone(
            {
                "token_ids": inputs["input_word_ids"],
                "padding_mask": inputs["input_mask"],
                "segment_ids": inputs["input_type_ids"],
            },
            training=False,
        )
        return {key: outputs[key] for key in ("pooled_output", "sequence_output")}

    tf.saved_model.save(module, made["encoder"], signatures={"serving_default": encode})
    return made


def _preprocessor(words):
    import tensorflow_text as text

    start, end = words.index("[CLS]"), words.index("[SEP]")
    module = tf.Module()
    module.tokenizer = text.FastBertTokenizer(words, lower_case_nfd_strip_accents=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize(texts):
        return tf.cast(module.tokenizer.tokenize(texts), tf.int32)

    @tf.function(
        input_signature=[
            [tf.RaggedTensorSpec([None, None], tf.int32)],
            tf.TensorSpec([], tf.int32),
        ]
    )
    def pack(segments, seq_length):
        kept = segments[0][:, : seq_length - 2]
        rows = kept.nrows()
        marked = tf.concat(
            [tf.fill((rows, 1), start), kept, tf.fill((rows, 1), end)], 1
        )
        ids = marked.to_tensor(0)
        ids = tf.pad(ids, [[0, 0], [0, seq_length - tf.shape(ids)[1]]])
        return {
            "input_word_ids": ids,
            "input_mask": tf.cast(ids != 0, tf.int32),
            "input_type_ids": tf.zeros_like(ids),
        }

    module.tokenize, module.bert_pack_inputs = tokenize, pack
    return module
