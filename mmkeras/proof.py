"""Loads an exported model where there is only TensorFlow, and holds it to its word.

Run as a script in a fresh process: `python -I proof.py request.json`. It imports
nothing of mmkeras, and beside TensorFlow no more than the packages of the request,
whose operations a server links: what it can load TensorFlow Serving can load.
"""

import base64
import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

# Two answers nearer than this may change places by rounding.
TIE = 1e-5
# What the strange rows may add to the memory of the process.
MAX_GROWTH_MB = 500
BATCH, ALONE = 64, 3

_PYTHON = "which only a Python process can run"
_DISK = "which reads or writes the server's disk"
_LOG = "which writes to the server's log, or to any file"
_END = "which ends the server"
# Operations that TensorFlow has and a served signature must not.
FORBIDDEN = {
    op: reason
    for reason, ops in {
        _PYTHON: "PyFunc PyFuncStateless EagerPyFunc GeneratorDataset",
        _DISK: "ReadFile WriteFile MatchingFiles MatchingFilesDataset "
        "Save SaveSlices SaveV2 Restore RestoreSlice RestoreV2 MergeV2Checkpoints "
        "LoadAndRemapMatrix GenerateVocabRemapping InitializeTableFromTextFile "
        "InitializeTableFromTextFileV2 WholeFileReader WholeFileReaderV2 "
        "TextLineReader TextLineReaderV2 TFRecordReader TFRecordReaderV2 "
        "FixedLengthRecordReader FixedLengthRecordReaderV2 LMDBReader "
        "TextLineDataset TFRecordDataset TFRecordDatasetV2 DatasetToTFRecord "
        "FixedLengthRecordDataset FixedLengthRecordDatasetV2 CSVDataset CSVDatasetV2 "
        "LMDBDataset SqlDataset CacheDataset CacheDatasetV2 SaveDataset SaveDatasetV2 "
        "LoadDataset SnapshotDataset SnapshotDatasetV2 SnapshotDatasetReader "
        "CreateSummaryFileWriter CreateSummaryDbWriter DebugIdentityV2",
        _LOG: "Print PrintV2",
        _END: "Abort",
    }.items()
    for op in ops.split()
}


def prove(request):
    """Checks an exported model.

    Args:
        request: {"model": path, "packages": names of Python packages that bring
            operations, "signatures": {name: {"takes": {input: see `described`},
            "gives": output names}}, "strange": [{"what", "row": {served name: base64},
            "error": what must be told of it}], "examples": {name of a signature that
            takes tf.Example: {"method": its name at a server, "numbers": {output: the
            one of `expected` that it equals}, "classes": labels or None}}}, and with
            rows, of `serving_default` and the others, "columns": {served name: base64
            strings}, "expected":
            {output: nested lists}, "texts": {output: {"texts" or bools, "sure"}}, and
            of the first rows "features": nested lists, "tensors": {"file": npz,
            "names": those of its arrays in order}.

    Returns:
        {"rows", "max_difference" (None without rows; of values above one the relative
        one), "differences": {between what: the same}, "growth_mb": what the strange
        rows added to the memory, "faults": sentences, "answers": what the first three
        rows were answered}.
    """
    found = {
        "rows": 0,
        "max_difference": None,
        "differences": {},
        "growth_mb": 0.0,
        "faults": graph_faults(request),
        "answers": [],
    }
    if "mmkeras" in sys.modules:
        found["faults"].append("mmkeras was imported")
    if found["faults"]:
        return found
    signatures = tf.saved_model.load(request["model"]).signatures
    found["faults"] += _signature_faults(signatures, request["signatures"])
    if found["faults"]:
        return found
    columns = {
        name: [base64.b64decode(value) for value in values]
        for name, values in request.get("columns", {}).items()
    }
    if columns:
        _compare(signatures, columns, request, found)
    if not found["faults"]:
        _be_strange(signatures["serving_default"], columns, request, found)
    if found["differences"]:
        found["max_difference"] = float(np.max([*found["differences"].values()]))
    return found


def described(spec):
    """A tf.TensorSpec as text.

    >>> described(tf.TensorSpec([None, 8], tf.int32))
    'int32 (None, 8)'
    """
    return f"{spec.dtype.name} {tuple(spec.shape)}"


def graph_faults(request):
    """Operations that a server does not have, or must not run; imports the packages.

    Allowed is what TensorFlow registers by itself, and after it the named packages; of
    what the signatures reach nothing that is `FORBIDDEN`.
    """
    content = (Path(request["model"]) / "saved_model.pb").read_bytes()
    meta = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    library = {each.signature.name: each for each in meta.graph_def.library.function}
    every = {node.op for node in meta.graph_def.node}
    every |= {node.op for each in library.values() for node in each.node_def}
    strangers = [op for op in every - set(library) if not op_def_registry.get(op)]
    for package in request.get("packages", ()):
        importlib.import_module(package)
    faults = [
        f"the graph holds {op}, which neither TensorFlow nor a named package has"
        for op in sorted(strangers)
        if not op_def_registry.get(op)
    ]
    for name, each in request.get("examples", {}).items():
        method = meta.signature_def[name].method_name
        if method != each["method"]:
            faults.append(f"{name} is {method}, promised was {each['method']}")
    reached = _reached(meta, library, request["signatures"])
    return faults + [
        f"the graph holds {op}, {FORBIDDEN[op]}"
        for op in sorted(reached & {*FORBIDDEN})
    ]


def _reached(meta, library, names):
    """Operations behind the outputs of signatures, inside functions too."""
    nodes = {node.name: node for node in meta.graph_def.node}
    waiting = [
        info.name
        for name in names
        for info in meta.signature_def[name].outputs.values()
    ]
    found = {}
    while waiting:
        name = waiting.pop().lstrip("^").split(":")[0]
        if name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    bodies, called, ops = list(found.values()), set(), set()
    while bodies:
        node = bodies.pop()
        ops.add(node.op)
        fresh = (_functions(node) & set(library)) - called
        called |= fresh
        bodies += [inner for name in fresh for inner in library[name].node_def]
    return ops


def _functions(node):
    """Names of the functions that a node may call."""
    found = {node.op}
    for value in node.attr.values():
        found |= {value.func.name, *(each.name for each in value.list.func)}
    return found


def _signature_faults(signatures, promised):
    """Names, types and shapes other than promised."""
    faults = []
    for name, wanted in promised.items():
        if name not in signatures:
            faults.append(f"there is no signature {name}, only {sorted(signatures)}")
            continue
        given = signatures[name].structured_input_signature[1]
        takes = {key: described(spec) for key, spec in given.items()}
        gives = sorted(signatures[name].structured_outputs)
        for verb, got, expected in (
            ("takes", takes, wanted["takes"]),
            ("gives", gives, sorted(wanted["gives"])),
        ):
            if got != expected:
                faults.append(f"{name} {verb} {got}, promised were {expected}")
    return faults


def _compare(signatures, columns, request, found):
    """All rows in batches, a few alone, and the first ones in every other way."""
    serve, expected = signatures["serving_default"], request["expected"]
    count = len(next(iter(columns.values())))
    batches = [_ask(serve, columns, at, at + BATCH) for at in range(0, count, BATCH)]
    served = {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }
    found["faults"] += _value_faults(served, expected)
    found["faults"] += _text_faults(served, request.get("texts", {}))
    if found["faults"]:
        return
    told = found["differences"]
    told["trained"] = _most(served, expected, expected)
    alone = [_ask(serve, columns, at, at + 1) for at in range(min(ALONE, count))]
    together = {key: np.concatenate([each[key] for each in alone]) for key in alone[0]}
    told["a row alone"] = _most(together, served, expected)
    found["answers"] = [
        {key: _plain(value[0]) for key, value in each.items()} for each in alone
    ]
    first = {name: values[:BATCH] for name, values in columns.items()}
    try:
        told["a session"] = _most(_in_session(request, first), served, expected)
    except tf.errors.OpError as error:
        found["faults"].append(f"a session, as a server has, fails: {error.message}")
    _compare_others(signatures, columns, request, told)
    found["faults"] += _compare_examples(signatures, first, request, told)
    found["rows"] = count


def _compare_others(signatures, columns, request, told):
    """The first rows by `serve_tensors` and `serve_features`."""
    if tensors := request.get("tensors"):
        with np.load(tensors["file"]) as arrays:
            given = dict(zip(tensors["names"], arrays.values(), strict=True))
        answer = signatures["serve_tensors"](
            **{name: tf.constant(array) for name, array in given.items()}
        )
        answer = {key: value.numpy() for key, value in answer.items()}
        told["serve_tensors"] = _most(answer, request["expected"], request["expected"])
    if wanted := request.get("features"):
        answer = _ask(signatures["serve_features"], columns, 0, len(wanted))
        told["serve_features"] = _most(answer, {"features": wanted}, ["features"])


def _compare_examples(signatures, columns, request, told):
    """The rows of `columns` as tf.Example; the faults of what is told of their classes.

    A server's `classify` and `regress` send such; what is missing is no feature there.
    """
    rows = zip(*columns.values(), strict=True)
    asked = {"inputs": [_example(dict(zip(columns, row, strict=True))) for row in rows]}
    count, faults = len(asked["inputs"]), []
    for name, each in request.get("examples", {}).items():
        answer = _ask(signatures[name], asked, 0, count)
        wanted = {
            output: request["expected"][key] for output, key in each["numbers"].items()
        }
        told[name] = _most(answer, wanted, wanted)
        classes = [[label.encode("utf-8") for label in each["classes"] or ()]]
        if each["classes"] and answer["classes"].tolist() != classes * count:
            faults.append(f"{name} tells other classes than {each['classes']}")
    return faults


def _example(row):
    """One row as a serialized tf.Example."""
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[raw]))
        for name, raw in row.items()
        if raw
    }
    made = tf.train.Example(features=tf.train.Features(feature=features))
    return made.SerializeToString()


def _in_session(request, columns):
    """What TensorFlow Serving does: a graph in a session, asked by tensors' names."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], request["model"])
        signature = meta.signature_def["serving_default"]
        return session.run(
            {key: info.name for key, info in signature.outputs.items()},
            {signature.inputs[key].name: value for key, value in columns.items()},
        )


def _be_strange(serve, columns, request, found):
    """Strange rows among healthy ones: they are told apart, and nobody else notices."""
    strange = request.get("strange", [])
    if not strange:
        return
    healthy = len(next(iter(columns.values()), [])[:ALONE])
    mixed = {
        name: columns.get(name, [])[:ALONE]
        + [base64.b64decode(each["row"][name]) for each in strange]
        for name in strange[0]["row"]
    }
    before = _peak_mb()
    # Strange rows stand before healthy ones and between them.
    order = sorted(range(healthy + len(strange)), key=lambda at: (at % 2, -at))
    turned = {name: [values[at] for at in order] for name, values in mixed.items()}
    answer = _ask(serve, turned, 0, len(order))
    found["growth_mb"] = round(_peak_mb() - before, 1)
    if found["growth_mb"] > MAX_GROWTH_MB:
        found["faults"].append(
            f"strange rows took {found['growth_mb']} MB of memory, more than "
            f"{MAX_GROWTH_MB}"
        )
    back = np.argsort(order)
    answer = {key: value[back] for key, value in answer.items()}
    for at, each in enumerate(strange, start=healthy):
        found["faults"] += _strange_faults(each, {k: v[at] for k, v in answer.items()})
    if healthy:
        wanted = _ask(serve, columns, 0, healthy)
        found["differences"]["beside strange rows"] = _most(
            {key: value[:healthy] for key, value in answer.items()},
            wanted,
            request["expected"],
        )
        if (answer["error"][:healthy] != wanted["error"]).any():
            found["faults"].append("strange rows change the `error` of others")


def _strange_faults(each, answer):
    faults = [
        f"{each['what']} gives {key} that is not finite"
        for key, value in answer.items()
        if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all()
    ]
    error = answer["error"].decode("utf-8")
    if error != each["error"]:
        faults.append(
            f"{each['what']} gives the error `{error}`, not `{each['error']}`"
        )
    return faults


def _peak_mb():
    """The most memory that this process has had, MB; 0 where that is not told."""
    try:
        # Not `ru_maxrss`, which begins with what the parent process had.
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def _most(served, wanted, keys):
    """The largest difference of outputs; `served` may be of the first rows only."""
    differences = []
    for key in keys:
        first = np.asarray(wanted[key])[: len(served[key])]
        if np.shape(served[key]) != first.shape:
            return float("inf")
        differences.append(_difference(served[key], first))
    return float(np.max(differences)) if differences else 0.0


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


def _text_faults(served, texts):
    """Of texts other than in training, where rounding does not decide; the first."""
    for key, wanted in texts.items():
        told = [_plain(value) for value in served[key]]
        rows = zip(told, wanted["texts"], wanted["sure"], strict=True)
        for at, (got, text, sure) in enumerate(rows):
            if sure and got != text:
                return [f"{key} of row {at} is `{got}`, in training `{text}`"]
    return []


def _ask(serve, columns, start, stop):
    part = {
        name: tf.constant(values[start:stop], tf.string)
        for name, values in columns.items()
    }
    return {key: value.numpy() for key, value in serve(**part).items()}


def _plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.tolist() if hasattr(value, "tolist") else value


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(prove(json.load(file))))
