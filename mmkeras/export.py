"""A run as a SavedModel that answers raw texts, image bytes and WAV bytes."""

import base64
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmkeras import dataset, proof

# Served and trained answers may differ by rounding, not by more.
TOLERANCE = 1e-5


class ProofError(RuntimeError):
    """An exported model that does not answer as the trained one does."""


def saved_model(run, folder, rows=None, *, log=print):
    """Writes `folder/<version>/`, proved in a fresh process that has only TensorFlow.

    The signature `serving_default` takes strings, each (rows,): a text under the
    input's name, the columns of a table each under its own, the bytes of an image or
    sound file as `<input>_bytes`; an empty string is missing. For each target it gives
    what its task serves, as `label`, `probability` and `probabilities` of a
    classification (`<target>_label`, ... where there are several), and for each row
    `present`, (rows, inputs) bool in the order of the
    recipe, and `error`: what was wrong with a file or a number, "" where nothing; that
    counts as missing.

    Args:
        run: a `run.Run`.
        folder: where TensorFlow Serving will look; the version is the next number.
        rows: a `manifest.Manifest`; all of its rows must be answered as by the trained
            model, but those whose files cannot be read. None checks the signature
            alone.
        log: called with one line of text now and then.

    Returns:
        (path of the version's folder, what the proof found: see `proof.prove`).

    Raises:
        ProofError: the answers differ, or are not finite, or the graph needs what a
            server does not have; no version is left in `folder`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    version = 1 + max(
        (int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0
    )
    # A server polls the folder: it must see a version whole, or not at all.
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        target = work / str(version)
        _write(run, target)
        log(f"export: proving {folder / str(version)} in a fresh TensorFlow process")
        found = _prove(run, target, _readable(run, rows, log), work)
        os.rename(target, folder / str(version))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / str(version), found


def serving_function(run):
    """Raw strings -> answers: what `serving_default` runs, as a plain function.

    Args:
        run: a `run.Run`.

    Returns:
        A function of the (batch,) string tensors of `signature`, in its order, giving
        {output name: (batch, ...)}; see `saved_model`.
    """
    decoders, network, tasks = run.decoders, run.model, run.tasks

    def serve(*raws):
        given = dict(zip(served(run), raws, strict=True))
        tensors, faults = {}, []
        for decoder in decoders.values():
            own = [given[name] for name in decoder.signatures]
            raw = tf.stack(own, axis=1) if len(own) > 1 else own[0]
            decoded, found = decoder.attempt_batch(raw)
            tensors |= decoded
            faults += _named_faults(decoder, found)
        told = answers(tasks, network(tensors, training=False))
        present = [tensors[f"{name}_present"] for name in decoders]
        told["present"] = tf.stack(present, axis=1)
        told["error"] = tf.strings.strip(tf.strings.join(faults, separator=" "))
        return told

    return serve


def served(run):
    """Names of the strings that `serving_default` takes, in the order of the recipe."""
    every = (name for each in run.decoders.values() for name in each.signatures)
    return list(dict.fromkeys(every))  # two inputs may read one column


def signature(run):
    """The strings that `serving_default` takes, a list of tf.TensorSpec."""
    return [tf.TensorSpec([None], tf.string, name=name) for name in served(run)]


def raw_columns(run, rows):
    """What a client would send for these rows, {served name: list of bytes}."""
    columns = {}
    for name, decoder in run.decoders.items():
        if decoder.is_file:
            columns[decoder.signatures[0]] = [
                Path(cell).read_bytes() if cell else b"" for cell in rows.cells(name)
            ]
            continue
        for column in decoder.signatures:
            columns[column] = [cell.encode("utf-8") for cell in rows.frame[column]]
    return columns


def answer(source, columns, batch_size=64):
    """Answers raw rows from a run or from an exported folder.

    Args:
        source: a `run.Run`, or the path of a version's folder.
        columns: {served name: list of bytes}, all of one length.
        batch_size: rows a call.

    Returns:
        {output name: (rows, ...) array}.
    """
    if isinstance(source, str | Path):
        for package in _read_extra(source, "packages.json"):
            importlib.import_module(package)  # brings operations of the graph
        loaded = tf.saved_model.load(str(source))
        serve = loaded.signatures["serving_default"]
        call = lambda part: serve(**part)  # noqa: E731
    else:
        compiled = tf.function(serving_function(source), signature(source))
        order = served(source)
        call = lambda part: compiled(*(part[name] for name in order))  # noqa: E731
    count = len(next(iter(columns.values())))
    parts = []
    for start in range(0, max(1, count), batch_size):
        part = {
            name: tf.constant(values[start : start + batch_size], tf.string)
            for name, values in columns.items()
        }
        parts.append({key: value.numpy() for key, value in call(part).items()})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def newest(folder):
    """The version's folder itself, or its newest version's; None where neither is."""
    folder = Path(folder)
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.isdigit() and (path / "saved_model.pb").is_file()
    ]
    return max(versions, key=lambda path: int(path.name), default=None)


def assets(folder):
    """What an exported model tells of itself, from its `assets.extra`.

    Returns:
        ({target: labels}, {input: names of the strings it takes}), in the order of the
        recipe.

    Raises:
        FileNotFoundError: a SavedModel that mmkeras did not write.
    """
    return _read_extra(folder, "labels.json"), _read_extra(folder, "inputs.json")


def packages(run):
    """Names of the packages whose operations the served graph has, sorted."""
    return sorted({name for each in run.decoders.values() for name in each.packages})


def _read_extra(folder, name):
    file = Path(folder) / "assets.extra" / name
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not an export of mmkeras: no {file}")
    return json.loads(file.read_text(encoding="utf-8"))


def _readable(run, rows, log):
    """The rows without those whose files cannot be read; None where there are none."""
    if rows is None or not len(rows):
        return None
    _, faults = dataset.load(rows, run.decoders, cache_mb=0)
    if faults:
        log(f"left out {len(faults)} rows that cannot be read")
    return rows.reject(faults) if len(faults) < len(rows) else None


def inputs(run):
    """{input: names of the strings it takes}, in the order of the recipe."""
    return {name: list(each.signatures) for name, each in run.decoders.items()}


def _named_faults(decoder, faults):
    """What is wrong with an input as sentences, a list of (batch,) strings."""
    names = [decoder.name] if decoder.is_file else decoder.signatures
    columns = tf.unstack(tf.reshape(faults, (-1, len(names))), axis=1)
    return [
        tf.where(fault == "", "", tf.strings.join([f"{name}: ", fault, "."]))
        for name, fault in zip(names, columns, strict=True)
    ]


def _write(run, target):
    archive = keras.export.ExportArchive()
    archive.track(run.model)
    for decoder in run.decoders.values():
        for resource in decoder.resources:
            archive.track(resource)
    archive.add_endpoint(
        "serving_default", serving_function(run), input_signature=signature(run)
    )
    archive.write_out(str(target), verbose=False)
    extra = target / "assets.extra"
    extra.mkdir(exist_ok=True)
    run.write_json(extra / "labels.json", run.labels)
    run.write_json(extra / "inputs.json", inputs(run))
    run.write_json(extra / "packages.json", packages(run))


def _prove(run, target, rows, work):
    """Runs `proof` on the exported folder; see `saved_model` for errors."""
    request = {
        "model": str(target),
        "packages": packages(run),
        "signature": served(run),
    }
    if rows is not None:
        columns = raw_columns(run, rows)
        request["columns"] = {
            name: [base64.b64encode(value).decode("ascii") for value in values]
            for name, values in columns.items()
        }
        request["expected"] = {
            key: value.tolist() for key, value in _trained_outputs(run, rows).items()
        }
    asked = work / "request.json"
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
    if found["faults"]:
        listed = "\n".join(f"  {fault}" for fault in found["faults"])
        raise ProofError(f"the exported model breaks its promises:\n{listed}")
    if found["rows"] and not found["max_difference"] <= TOLERANCE:
        raise ProofError(
            f"served and trained answers differ by {found['max_difference']:.2g}, more "
            f"than {TOLERANCE:g}"
        )
    return found


def _trained_outputs(run, rows):
    """What the trained model makes of rows through the training pipeline, the numbers.

    Returns:
        {served name: (rows, ...) float array}.
    """
    loaded, _ = dataset.load(rows, run.decoders, cache_mb=run.recipe.data.cache_mb)
    outputs = run.model.predict(dataset.ordered(loaded, len(rows), 128), verbose=0)
    return {
        key: values.numpy()
        for key, values in answers(run.tasks, outputs).items()
        if values.dtype.is_floating
    }


def answers(tasks, outputs):
    """What tasks serve of a model's outputs, {served name: (batch, ...) tensor}.

    Args:
        tasks: {target: task}.
        outputs: {target: (batch, ...)}.
    """
    prefix = len(tasks) > 1
    return {
        f"{name}_{key}" if prefix else key: value
        for name, task in tasks.items()
        for key, value in task.serve(tf.convert_to_tensor(outputs[name])).items()
    }
