"""JSON and tensors, as tensorflow_serving/util/json_tensor.cc has them.

Rows: {"instances": [{name: value}]} gives {"predictions": [{name: value}]}; columns:
{"inputs": {name: [values]}} gives {"outputs": {name: [values]}}. Where there is one
input or one output, its name may be, and is, left away. Bytes are {"b64": "..."}, and
so are outputs whose names end in `_bytes`.
"""

import base64
import binascii
import json
import re

import numpy as np

from mmkeras.serving.models import Refusal, is_text

# A value in a message; a picture would fill pages.
SHOWN_CHARACTERS = 200
JSON_TYPES = {
    type(None): "Null",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}
DEEP = "JSON Parse error: nested too deeply"


def refuse(message):
    """A Refusal for what the client sent."""
    return Refusal("INVALID_ARGUMENT", message)


def document(body):
    """Bytes of a request -> (its JSON object, name of the signature).

    Raises:
        Refusal: it is none.
    """
    if not body:
        raise refuse("JSON Parse error: The document is empty")
    try:
        found = json.loads(body)
    except UnicodeDecodeError as error:
        at = error.start
        raise refuse(f"JSON Parse error: no UTF-8 at offset: {at}") from error
    except json.JSONDecodeError as error:
        said = f"JSON Parse error: {error.msg}. at offset: {error.pos}"
        raise refuse(said) from error
    except RecursionError as error:
        raise refuse(DEEP) from error
    except ValueError as error:  # a number of too many digits
        raise refuse(f"JSON Parse error: {error}") from error
    if not isinstance(found, dict):
        raise refuse(f"JSON Value: {shown(found)} Is not object")
    signature = found.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise refuse(
            f"JSON Value: {shown(found)} not formatted correctly. 'signature_name' "
            "key must be a string value."
        )
    return found, signature or "serving_default"


def columns(found, inputs):
    """What a request holds.

    Args:
        found: its JSON object.
        inputs: {name: TensorInfo} of the signature.

    Returns:
        ({name: array of bytes objects}, whether it has rows, not columns).

    Raises:
        Refusal: it does not fit the inputs.
    """
    if "instances" in found and "inputs" in found:
        raise refuse(
            f"JSON Value: {shown(found)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist "
        )
    for name, info in inputs.items():
        if not is_text(info):
            raise Refusal(
                "UNIMPLEMENTED",
                f"input {name} is no string, and the development server takes nothing "
                "else: use tensorflow/serving",
            )
    if "instances" in found:
        return _of_rows(found["instances"], sorted(inputs)), True
    if "inputs" in found:
        return _of_columns(found["inputs"], sorted(inputs)), False
    raise refuse("Missing 'inputs' or 'instances' key")


def answers(outputs, rowwise):
    """Arrays -> the JSON of an answer, bytes.

    Args:
        outputs: {name: (rows, ...) array}.
        rowwise: whether rows were asked.
    """
    values = {name: _plain(name, value) for name, value in outputs.items()}
    if len(values) == 1:
        (only,) = values.values()
    elif rowwise:
        split = zip(*values.values(), strict=True)
        only = [dict(zip(values, row, strict=True)) for row in split]
    else:
        only = values
    told = {"predictions" if rowwise else "outputs": only}
    return json.dumps(told, ensure_ascii=False).encode("utf-8")


def exact(value):
    """An array of numbers as nested lists.

    Of float32 the shortest decimals that are this number, not those of its double.
    """
    if value.dtype.kind == "f":
        return value.astype(str).astype("float64").tolist()
    return value.tolist()


def _of_rows(rows, names):
    if not isinstance(rows, list):
        raise refuse(
            f"JSON Value: {shown(rows)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise refuse("JSON Value: [] No values in 'instances' array")
    named = _is_named(rows[0])
    if not named and len(names) > 1:
        raise refuse(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    values = {name: [] for name in names}
    for at, row in enumerate(rows):
        if _is_named(row) != named:
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise refuse(f"Expecting {wanted} but got {got} at item {at} of input list")
        for name, value in (row if named else {names[0]: row}).items():
            values.setdefault(name, []).append(_instance(at, name, value, names))
        if named and set(row) != set(names):
            raise refuse(
                f"Failed to process element: {at} of 'instances' list. JSON object: "
                f"{shown(row)} keys must be equal to: {','.join(names)}"
            )
    return {name: _array(each) for name, each in values.items()}


def _instance(at, name, value, names):
    try:
        if name not in names:
            raise refuse(f"JSON object: does not have named input: {name}")
        return filled(value)
    except Refusal as error:
        raise refuse(
            f"Failed to process element: {at} key: {name} of 'instances' list. "
            f"Error: INVALID_ARGUMENT: {error}"
        ) from error


def _of_columns(found, names):
    if not _is_named(found):
        if len(names) > 1:
            raise refuse(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        found = {names[0]: found}
    for name in names:
        if name not in found:
            raise refuse(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(filled(found[name])) for name in names}


def _is_named(value):
    """An object that is not {"b64": "..."}."""
    return isinstance(value, dict) and not is_base64(value)


def is_base64(value):
    """Whether JSON is bytes, {"b64": "..."}."""
    return (
        isinstance(value, dict)
        and [*map(type, value.values())] == [str]
        and ("b64" in value)
    )


def filled(value):
    """JSON -> nested lists of bytes.

    Raises:
        Refusal: it holds anything else than texts and {"b64": ...}.
    """
    if isinstance(value, list):
        try:
            return [filled(each) for each in value]
        except RecursionError as error:
            raise refuse(DEEP) from error
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise refuse(f"JSON Value: {shown(value)} is no UTF-8") from error
    if not isinstance(value, dict):
        raise refuse(
            f"JSON Value: {shown(value)} Type: {kind(value)} is not of expected type: "
            "string"
        )
    if not is_base64(value):
        raise refuse(
            f"JSON Value: {shown(value)} not formatted correctly for base64 data"
        )
    return _unescaped(value["b64"])


def _unescaped(text):
    """As absl::Base64Unescape: white space and the padding are free."""
    text = re.sub(r"\s", "", text).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse("Unable to base64 decode") from error


def _array(values):
    """Nested lists of bytes as an array of objects, which keeps trailing zeros."""
    shape, inner = [], values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = list(_leaves(values, shape))
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _leaves(value, shape):
    if not shape:
        if isinstance(value, list):
            raise refuse("Encountered list at unexpected level")
        yield value
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        size = len(value) if isinstance(value, list) else 1
        raise refuse(
            f"Encountered list at unexpected size: {size} expected size: {shape[0]}"
        )
    for each in value:
        yield from _leaves(each, shape[1:])


def _plain(name, value):
    """An array as nested lists of what JSON has."""
    if value.dtype == object:
        told = _base64 if name.endswith("_bytes") else _text
        return np.vectorize(told, otypes=[object])(value).tolist()
    return exact(value)


def _base64(value):
    return {"b64": base64.b64encode(value).decode("ascii")}


def _text(value):
    return value.decode("utf-8", "replace")


def kind(value):
    """The type of JSON, as a message names it."""
    return str(value) if isinstance(value, bool) else JSON_TYPES[type(value)]


def shown(value):
    """JSON as a message shows it, cut where it is long."""
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError):
        text = repr(type(value))
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}..."
    return text
