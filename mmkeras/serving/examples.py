"""The APIs `classify` and `regress`, which take rows as tf.Example.

As classifier.cc, regressor.cc and util.cc of TensorFlow Serving (servables/tensorflow)
and json_tensor.cc (util) have them: {"examples": [{feature: value or list}]}, with
"context" for features that all rows share, gives {"results": [[[label, score]]]}, of
`regress` {"results": [value]}. A signature is asked by its inputs and outputs, not by
the method it names: the server's --enable_signature_method_name_check is off.
"""

import json

import numpy as np
import tensorflow as tf

from mmkeras.serving import tensors
from mmkeras.serving.models import Refusal
from mmkeras.serving.tensors import refuse

INPUT = "inputs"
# By their word in a path, as Serving's messages name them, and what they may give.
KINDS = {"classify": "classification", "regress": "regression"}
OUTPUTS = {"classify": ("classes", "scores"), "regress": ("outputs",)}
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
        Refusal: the signature is not there, or takes or gives something else; no rows,
            or what the graph says.
    """
    if signature not in loaded.signatures:
        raise refuse(f"No signature was found with the name: {signature}")
    _check(loaded.signatures[signature], method)
    if not rows:
        raise refuse("Input is empty.")
    outputs = loaded.answer({INPUT: rows}, signature)
    some = next(iter(outputs.values()))
    if method == "regress":
        if some.ndim != 1 and some.shape[1:] != (1,):
            raise refuse(
                "Expected output Tensor shape to be either [batch_size] or "
                f"[batch_size, 1] but got {list(some.shape)}"
            )
        return tensors.exact(some.ravel())
    if some.ndim != 2:
        raise refuse(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{list(some.shape)}"
        )
    labels = outputs.get("classes", np.full(some.shape, b"", object))
    scores = outputs.get("scores", np.zeros(some.shape, np.float32))
    return [
        [
            [label.decode("utf-8", "replace"), score]
            for label, score in zip(*row, strict=True)
        ]
        for row in zip(labels.tolist(), tensors.exact(scores), strict=True)
    ]


def _check(signature, method):
    """Whether a SignatureDef can be asked so."""
    kind, wanted = KINDS[method], OUTPUTS[method]
    if len(signature.inputs) != 1:
        raise refuse("Expected one input Tensor.")
    if not 1 <= len(signature.outputs) <= len(wanted):
        found = f"one or two output Tensors, found {len(signature.outputs)}"
        told = found if method == "classify" else "one output Tensor."
        raise refuse(f"Expected {told}")
    if INPUT not in signature.inputs:
        raise Refusal(
            "FAILED_PRECONDITION",
            f"No {kind} inputs found in SignatureDef: {list(signature.inputs)}",
        )
    if not set(wanted) & set(signature.outputs):
        told = f"No {kind} outputs found in SignatureDef: "
        if method == "classify":
            told = (
                "Expected classification signature outputs to contain at least one of "
                '"classes" or "scores". Signature was: '
            )
        raise Refusal("FAILED_PRECONDITION", f"{told}{list(signature.outputs)}")


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
