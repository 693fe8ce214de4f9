"""Raw rows for an exported model, and what it answers."""

import importlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmkeras.export import signatures


class NotLoadedError(RuntimeError):
    """An exported folder that TensorFlow does not load."""


def raw_columns(run, rows):
    """What a client would send for these rows, {served name: list of bytes}."""
    columns = {}
    for name, decoder in run.decoders.items():
        if decoder.is_file:
            cells = rows.cells(name)
            columns[decoder.signatures[0]] = [_sent(decoder, cell) for cell in cells]
            continue
        for column in decoder.signatures:
            columns[column] = [cell.encode("utf-8") for cell in rows.frame[column]]
    return columns


def _sent(decoder, path):
    """The bytes of a file as a server takes them, which knows no compressed sounds."""
    raw = Path(path).read_bytes() if path else b""
    return decoder.wave_bytes(raw) if hasattr(decoder, "wave_bytes") else raw


def answer(source, columns, batch_size=64):
    """Answers raw rows from a run or from an exported folder.

    Args:
        source: a `run.Run`, or the path of a version's folder.
        columns: {served name: list of bytes}, all of one length.
        batch_size: rows a call.

    Returns:
        {output name: (rows, ...) array}.
    """
    ask = answering(source)
    count = len(next(iter(columns.values())))
    parts = [
        ask({key: values[at : at + batch_size] for key, values in columns.items()})
        for at in range(0, max(1, count), batch_size)
    ]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def answering(source):
    """What answers raw rows, loaded once; threads may call it at the same time.

    Args:
        source: a `run.Run`, or the path of a version's folder.

    Returns:
        A function {served name: list of bytes} -> {output name: (rows, ...) array}.

    Raises:
        NotLoadedError: see `loaded`.
    """
    if isinstance(source, str | Path):
        # Kept by the function: a signature holds no reference to its own weights.
        held = loaded(source)
        call = lambda given: held.signatures["serving_default"](**given)  # noqa: E731
    else:
        compiled = signatures.serving_function(source)
        order = signatures.served(source)
        call = lambda given: compiled(*(given[name] for name in order))  # noqa: E731

    def ask(columns):
        given = {name: tf.constant(each, tf.string) for name, each in columns.items()}
        return {key: value.numpy() for key, value in call(given).items()}

    return ask


def loaded(folder):
    """A version's folder as TensorFlow loads it, with the packages that it needs.

    Raises:
        NotLoadedError: a file is cut, or is not what it is called.
        ImportError: a package is not installed.
    """
    extra = Path(folder) / "assets.extra" / "packages.json"
    packages = json.loads(extra.read_text("utf-8")) if extra.is_file() else []
    for package in packages:
        importlib.import_module(package)  # brings operations of the graph
    try:
        return tf.saved_model.load(str(folder))
    # A cut file of weights is an IndexError.
    except (IndexError, OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        raise NotLoadedError(
            f"{folder} does not load: {reason}. Is it whole? `mmkeras export` writes a "
            "version anew"
        ) from error


def newest(folder):
    """The version's folder itself, or its newest version's; None where neither is."""
    folder = Path(folder)
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.isdecimal() and (path / "saved_model.pb").is_file()
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


def table_keys(folder):
    """{key of `data`: value}: how a manifest is written, and what it calls columns.

    {} of a version that was exported before these were kept.
    """
    file = _extra(folder, "manifest.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _extra(folder, name):
    return Path(folder) / "assets.extra" / name


def _read_extra(folder, name):
    file = _extra(folder, name)
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not an export of mmkeras: no {file}")
    return json.loads(file.read_text(encoding="utf-8"))
