"""A run as a SavedModel that answers raw texts, image bytes and WAV bytes.

Files: `signatures` what can be asked, `examples` the same of tf.Example, `writing` the
folder of a version, `beside` what stands beside the versions, `proving` and `strange`
what is asked before a server sees it, `asking` raw rows and their answers.
"""

import shutil
import tempfile
from pathlib import Path

from mmkeras.client import place
from mmkeras.export import beside, examples, proving, writing
from mmkeras.export import signatures as _signatures
from mmkeras.export.asking import (
    NotLoadedError,
    answer,
    answering,
    assets,
    loaded,
    newest,
    raw_columns,
    table_keys,
)
from mmkeras.export.proving import ProofError
from mmkeras.export.signatures import (
    answers,
    features_model,
    inputs,
    packages,
    served,
    served_as,
    serving_function,
    signature,
)

__all__ = [
    "HALF",
    "TOLERANCE",
    "NotLoadedError",
    "ProofError",
    "answer",
    "answering",
    "answers",
    "assets",
    "features_model",
    "inputs",
    "loaded",
    "newest",
    "packages",
    "raw_columns",
    "saved_model",
    "served",
    "served_as",
    "serving_function",
    "signature",
    "table_keys",
]

# Served and trained answers may differ by rounding, not by more; where layers compute
# in half precision, by a few units of the last place of numbers around 1.
TOLERANCE = 1e-5
HALF = {"mixed_float16": 4e-3, "mixed_bfloat16": 3e-2}


def saved_model(run, folder, rows=None, *, name=None, log=print):
    """Writes `folder/<version>/`, proved in a fresh process that has only TensorFlow.

    The signature `serving_default` takes strings, each (rows,): a text under the
    input's name, the columns of a table each under its own, the bytes of an image or
    sound file as `<input>_bytes`; an empty string is missing. For each target it gives
    what its task serves, as `label`, `probability`, `probabilities` and `abstained` of
    a classification (`<target>_label`, ... where there are several), and for each row
    `present`, (rows, inputs) bool in the order of the recipe, and `error`: what was
    wrong with a file or a number, "" where nothing; that counts as missing.

    `serve_tensors` takes what the decoders give (their `specs`) and gives the same
    answers of the tasks; `serve_features` takes the strings and gives `features`,
    (rows, units) float32 (`features_model`). `examples` says what of a class or a
    number takes tf.Example. See `writing` and `beside` for the rest.

    Args:
        run: a `run.Run`.
        folder: where TensorFlow Serving will look; the version is the next number.
        rows: a `manifest.Manifest`; all of its rows must be answered as by the trained
            model, but those whose files cannot be read. None checks signatures,
            operations and what strange rows do.
        name: of the model at the server; the recipe's where None.
        log: called with one line of text now and then.

    Returns:
        (path of the version's folder, what the proof found: see `proof.prove`).

    Raises:
        ProofError: the answers differ, or are not finite, or the graph needs what a
            server does not have; no version is left in `folder`.
        ValueError: a name that cannot be part of a URL.
    """
    name = run.recipe.name if name is None else name
    place.check_name(name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [each.name for each in folder.iterdir()]
    version = 1 + max([int(each) for each in names if each.isdecimal()], default=0)
    # A server polls the folder: it must see a version whole, or not at all.
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        target = work / str(version)
        columns, found = _proved(run, target, rows, name=name, log=log)
        path = writing.placed(target, folder)
        beside.write(folder, work, beside.contents(name, columns))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path, found


def _proved(run, target, rows, *, name, log):
    """Writes one version and proves it: (raw columns of its rows, what was found)."""
    trained = proving.Trained(run, rows, log)
    columns = trained.columns or {each: [b""] for each in served(run)}
    decode = _signatures.decoding(run)
    answering = serving_function(run, decode)
    endpoints = _signatures.endpoints(run, decode, answering)
    endpoints |= examples.endpoints(run, answering)
    writing.version(run, target, endpoints)
    examples.write_methods(run, target)
    writing.warm_up(target, name, columns, log)
    log(f"export: proving version {target.name} in a fresh TensorFlow process")
    found = proving.prove(
        run,
        target,
        trained,
        endpoints=endpoints,
        decode=decode,
        work=target.parent,
        tolerance=HALF.get(run.recipe.train.precision, TOLERANCE),
    )
    return columns, found
