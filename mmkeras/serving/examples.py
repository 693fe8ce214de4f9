"""The APIs `classify` and `regress`, which take rows as tf.Example.

As classifier.cc, regressor.cc and util.cc of TensorFlow Serving (servables/tensorflow)
and json_tensor.cc (util) have them: {"examples": [{feature: value or list}]}, with
"context" for features that all rows share, gives {"results": [[[label, score]]]}, of
`regress` {"results": [value]}.
"""

import json

import numpy as np
import tensorflow as tf

from mmkeras.serving import tensors
from mmkeras.serving.tensors import refuse

PREFIX = "tensorflow/serving/"
# By their word in a path, as Serving's messages name them.
KINDS = {"classify": "classification", "regress": "regression"}
LARGEST = float(np.finfo("float32").max)


def of_json(found):
    """The rows of a request.

    Args:
        found: its JSON object.

    Returns:
        A list of serialized tf.Example.

    Raises:
        Refusal: it holds no rows, or values that a feature cannot have.
    """
    context = _serialized(found["context"]) if "context" in found else b""
    told = f"JSON Value: {tensors.shown(found)}"
    if "examples" not in found:
        raise refuse(
            f"{told} When method is classify, key 'examples' is expected and was not "
            "found"
        )
    if not isinstance(found["examples"], list):
        raise refuse(f"{told} Expecting 'examples' value to be an list/array")
    if not found["examples"]:
        raise refuse(f"{told} 'examples' value is an empty array")
    return [context + _serialized(row) for row in found["examples"]]


def of_input(given):
    """The rows of an `Input` of gRPC, a list of serialized tf.Example."""
    kind = given.WhichOneof("kind")
    if not kind:
        return []
    held = getattr(given, kind)
    # Two messages one behind the other are their sum: the features of both.
    with_context = kind == "example_list_with_context"
    context = held.context.SerializeToString() if with_context else b""
    return [context + each.SerializeToString() for each in held.examples]


def answer(loaded, signature, method, rows):
    """What is told of rows.

    Args:
        loaded: `models.Loaded`.
        signature: its name.
        method: "classify" or "regress".
        rows: a list of serialized tf.Example.

    Returns:
        Of `classify` for each row [label, score] of each class, of `regress` a number;
        what the signature does not give is "" or 0.

    Raises:
        Refusal: the signature is not there, or of another method; no rows, or what the
            graph says.
    """
    if signature not in loaded.signatures:
        raise refuse(f"No signature was found with the name: {signature}")
    is_called = loaded.signatures[signature].method_name
    if is_called != PREFIX + method:
        raise refuse(
            f"Expected {KINDS[method]} signature method_name to be {PREFIX}{method}. "
            f"Was: {is_called}"
        )
    if not rows:
        raise refuse("Input is empty.")
    outputs = loaded.answer({"inputs": rows}, signature)
    if method == "regress":
        return tensors.exact(outputs["outputs"].ravel())
    some = next(iter(outputs.values()))
    labels = outputs.get("classes", np.full(some.shape, b"", object))
    scores = outputs.get("scores", np.zeros(some.shape, np.float32))
    return [
        [
            [label.decode("utf-8", "replace"), score]
            for label, score in zip(*row, strict=True)
        ]
        for row in zip(labels.tolist(), tensors.exact(scores), strict=True)
    ]


def to_json(results):
    """What `answer` gives as JSON, bytes."""
    return json.dumps({"results": results}, ensure_ascii=False).encode("utf-8")


def _serialized(row):
    if not isinstance(row, dict):
        raise refuse(f"Example must be JSON object but got JSON {tensors.kind(row)}")
    example = tf.train.Example()
    for name, content in row.items():
        _fill(example.features.feature[name], name, content)
    return example.SerializeToString()


def _fill(feature, name, content):
    """Puts JSON into a Feature, whose values are all of one kind."""
    for value in content if isinstance(content, list) else [content]:
        try:
            kind, plain = _read(value)
        except TypeError as error:
            raise refuse(
                f"Feature: {name} has element with unexpected JSON type: "
                f"{tensors.kind(value)}"
            ) from error
        before = feature.WhichOneof("kind")
        if before not in (None, kind):
            raise refuse(
                f"Unexpected element type in feature: {name} expecting type: "
                f"{before.removesuffix('_list')}"
            )
        try:
            getattr(feature, kind).value.append(plain)
        except ValueError as error:
            raise refuse(
                f"Feature: {name} has uint64 element. Only int64 is supported."
            ) from error


def _read(value):
    """JSON -> (field of a Feature, its value); TypeError where there is none."""
    if isinstance(value, str) or tensors.is_base64(value):
        return "bytes_list", tensors.filled(value)
    if isinstance(value, int) and abs(value) < 2**64:  # also true and false
        return "int64_list", int(value)
    if not isinstance(value, int | float):
        raise TypeError
    if LARGEST < abs(value) < float("inf"):
        raise refuse(
            f"Cannot convert JSON value: {tensors.shown(value)} to float without loss "
            "of precision."
        )
    return "float_list", float(value)
