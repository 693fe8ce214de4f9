"""What an exported model must answer, and whether a fresh process is answered so."""

import base64
import json
import subprocess
import sys

import numpy as np
import tensorflow as tf

from mmkeras import dataset, proof
from mmkeras.export import asking, examples, signatures, strange

# Rows whose features and decoded tensors are compared too.
FIRST_ROWS = 3


class ProofError(RuntimeError):
    """An exported model that does not answer as the trained one does."""


class Trained:
    """Rows, and what the trained model makes of them through the training pipeline.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, or None.
        log: told how many rows cannot be read; they are left out.

    Attributes:
        columns: {served name: list of bytes}, as a client would send them; {} where
            there is no row that can be read, and so is all below.
        outputs: {target: (rows, ...) array}.
        first: {key: (up to 3, ...) array}, the decoded tensors of the first rows.
        features: (up to 3, units) array, of the first rows.
    """

    def __init__(self, run, rows, log):
        self.columns, self.outputs, self.first, self.features = {}, {}, {}, None
        if rows is None or not len(rows):
            return
        cache_mb = run.recipe.data.cache_mb
        loaded, faults = dataset.load(rows, run.decoders, cache_mb=cache_mb)
        if faults:
            log(f"export: left out {len(faults)} rows that cannot be read")
            if len(faults) == len(rows):
                return
            rows = rows.reject(faults)
            loaded, _ = dataset.load(rows, run.decoders, cache_mb=cache_mb)
        self.columns = asking.raw_columns(run, rows)
        given = dataset.ordered(loaded, len(rows), 128)
        self.outputs = run.model.predict(given, verbose=0)
        some = dataset.ordered(loaded, min(FIRST_ROWS, len(rows)), FIRST_ROWS)
        tensors = next(iter(some))
        self.first = {key: tensor.numpy() for key, tensor in tensors.items()}
        features = signatures.features_model(run)(tensors, training=False)
        self.features = features.numpy()


def prove(run, target, trained, *, endpoints, decode, work, tolerance):
    """Runs `proof` on a version's folder.

    Args:
        run: a `run.Run`.
        target: the folder.
        trained: a `Trained`.
        endpoints: see `signatures.endpoints`.
        decode: see `signatures.decoding`.
        work: a folder for the request.
        tolerance: by which answers may differ.

    Returns:
        What `proof.prove` found.

    Raises:
        ProofError: see `export.saved_model`.
    """
    request = {
        "model": str(target),
        "packages": signatures.packages(run),
        "signatures": _promised(run, endpoints),
        "strange": _strange(run, decode),
        "examples": examples.promised(run),
    }
    if trained.columns:
        request |= _expected(run, trained, work)
    asked = work / "asked.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    # -I: neither this folder nor the environment can bring mmkeras in by the path.
    done = subprocess.run(
        [sys.executable, "-I", proof.__file__, str(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProofError(
            f"the exported model fails in a fresh process:\n{done.stderr[-2000:]}"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    _judge(found, tolerance)
    return found


def _judge(found, tolerance):
    if found["faults"]:
        listed = "\n".join(f"  {fault}" for fault in found["faults"])
        raise ProofError(f"the exported model breaks its promises:\n{listed}")
    if found["rows"] and not found["max_difference"] <= tolerance:
        differences = found["differences"]
        where = max(differences, key=differences.get)
        raise ProofError(
            f"served and trained answers differ by {found['max_difference']:.2g} "
            f"({where}), more than {tolerance:g}"
        )


def sure(tell, outputs, tolerance=proof.TIE):
    """Which rows' texts rounding cannot change, (rows,) bool.

    Args:
        tell: function of outputs -> a text or a bool of each row.
        outputs: (rows, ...) array of the trained model.
        tolerance: by which outputs may be off.
    """
    texts = tell(outputs)
    best = np.zeros(outputs.shape, bool)
    np.put_along_axis(best, outputs.argmax(axis=-1)[:, None], True, axis=-1)
    random = np.random.default_rng(0).choice([-1.0, 1.0], size=outputs.shape)
    kept = np.ones(len(outputs), bool)
    # The best against all others, all against a threshold, and what is neither.
    for nudge in (np.where(best, -1.0, 1.0), 1.0, -1.0, random, -random):
        nudged = tell(outputs + np.float32(tolerance) * np.float32(nudge))
        kept &= [one == other for one, other in zip(texts, nudged, strict=True)]
    return kept


def _promised(run, endpoints):
    """{signature: {"takes": {name: dtype and shape}, "gives": [names]}}."""
    sample = {
        name: tf.zeros([1, *output.shape[1:]], output.dtype)
        for name, output in run.model.output.items()
    }
    told = list(signatures.answers(run.tasks, sample))
    gives = {
        "serving_default": [*told, "present", "error"],
        "serve_tensors": told,
        "serve_features": ["features"],
    }
    for name, (_, method) in examples.targets(run.tasks).items():
        gives[name] = examples.gives(method)
    return {
        name: {
            "takes": {spec.name: proof.described(spec) for spec in specs},
            "gives": gives[name],
        }
        for name, (_, specs) in endpoints.items()
    }


def _strange(run, decode):
    """The rows of `strange`, with the fault that decoding for training finds."""
    rows, order = strange.rows(run), signatures.served(run)
    _, faults = decode(
        *(tf.constant([row[name] for row in rows.values()]) for name in order)
    )
    return [
        {"what": what, "row": _base64(row), "error": fault.decode("utf-8")}
        for (what, row), fault in zip(rows.items(), faults.numpy(), strict=True)
    ]


def _expected(run, trained, work):
    """What is asked of all rows and of the first, and must be answered."""
    columns = trained.columns
    numbers, texts = {}, {}
    for key, value in signatures.answers(run.tasks, trained.outputs).items():
        if value.dtype.is_floating:
            numbers[key] = value.numpy().tolist()
    for target, task in run.tasks.items():
        outputs = trained.outputs[target]
        for key, value in task.serve(tf.constant(outputs[:1])).items():
            if value.dtype in (tf.string, tf.bool):
                tell = task.decode if value.dtype == tf.string else task.abstains
                texts[signatures.served_as(run.tasks, target, key)] = {
                    "texts": np.asarray(tell(outputs)).tolist(),
                    "sure": sure(tell, outputs).tolist(),
                }
    tensors = work / "tensors.npz"
    np.savez(tensors, *trained.first.values())
    return {
        "columns": {
            name: [_text(value) for value in values] for name, values in columns.items()
        },
        "expected": numbers,
        "texts": texts,
        "features": trained.features.tolist(),
        "tensors": {"file": str(tensors), "names": list(trained.first)},
    }


def _base64(row):
    return {name: _text(value) for name, value in row.items()}


def _text(raw):
    return base64.b64encode(raw).decode("ascii")
