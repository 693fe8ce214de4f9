"""Loads an exported model where there is only TensorFlow, and holds it to its word.

Run as a script in a fresh process: `python -I proof.py request.json`. It imports
nothing of mmkeras, and beside TensorFlow no more than the packages of the request,
whose operations a server links: what it can load TensorFlow Serving can load.
"""

import base64
import importlib
import json
import sys

import numpy as np
import tensorflow as tf

# Ops that exist only beside a Python interpreter, or touch the server's disk.
FORBIDDEN = (
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "NumpyFunction",
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
)


def prove(request):
    """Checks an exported model.

    Args:
        request: {"model": path, "packages": names of Python packages that bring
            operations, "signature": served input names in order,
            "columns": {served name: base64 strings} and "expected": {output: nested
            lists}, both or neither}.

    Returns:
        {"rows", "max_difference" (None without rows; of values above one the relative
        one), "faults": sentences, "answers": what the first three rows were answered}.
    """
    for package in request.get("packages", ()):
        importlib.import_module(package)
    loaded = tf.saved_model.load(request["model"])
    serve = loaded.signatures["serving_default"]
    faults = _signature_faults(serve, request["signature"]) + _op_faults(serve)
    found = {"rows": 0, "max_difference": None, "faults": faults, "answers": []}
    if "mmkeras" in sys.modules:
        faults.append("mmkeras was imported")
    columns = {
        name: [base64.b64decode(value) for value in values]
        for name, values in request.get("columns", {}).items()
    }
    if columns and not faults:
        _compare(serve, columns, request["expected"], found)
    return found


def _compare(serve, columns, expected, found):
    """All rows in batches, a few alone, and a row with nothing in it."""
    count = len(next(iter(columns.values())))
    batches = [_ask(serve, columns, at, at + 64) for at in range(0, count, 64)]
    served = {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }
    found["faults"] += _value_faults(served, expected)
    if found["faults"]:
        return
    differences = [
        _difference(served[key], np.asarray(values)) for key, values in expected.items()
    ]
    for row in range(min(3, count)):
        alone = _ask(serve, columns, row, row + 1)
        differences += [
            _difference(alone[key][0], served[key][row]) for key in expected
        ]
        found["answers"].append({key: _plain(alone[key][0]) for key in alone})
    nothing = serve(**{name: tf.constant([""]) for name in columns})
    broken = serve(**{name: tf.constant([b"\x00\x01broken"]) for name in columns})
    for name, answer in (("an empty", nothing), ("a broken", broken)):
        for key in expected:
            if not np.isfinite(answer[key].numpy()).all():
                found["faults"].append(f"{name} row gives {key} that is not finite")
    found["rows"] = count
    found["max_difference"] = float(max(differences))


def _difference(served, expected):
    return (np.abs(served - expected) / np.maximum(1, np.abs(expected))).max()


def _value_faults(served, expected):
    """Of values that cannot be compared: nothing is larger than what is no number."""
    faults = []
    for key, values in expected.items():
        shape, wanted = served[key].shape, np.shape(values)
        if shape != wanted:
            faults.append(f"{key} has the shape {shape}, in training {wanted}")
        elif not np.isfinite([served[key], values]).all():
            faults.append(f"{key} is not finite in all rows")
    return faults


def _ask(serve, columns, start, stop):
    part = {
        name: tf.constant(values[start:stop], tf.string)
        for name, values in columns.items()
    }
    return {key: value.numpy() for key, value in serve(**part).items()}


def _signature_faults(serve, names):
    given = set(serve.structured_input_signature[1])
    if given == set(names):
        return []
    return [f"the signature takes {sorted(given)}, promised were {sorted(names)}"]


def _op_faults(serve):
    graph = serve.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    found = sorted({node.op for node in nodes} & set(FORBIDDEN))
    return [f"the graph holds {op}, which a server cannot run" for op in found]


def _plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.tolist() if hasattr(value, "tolist") else value


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(prove(json.load(file))))
