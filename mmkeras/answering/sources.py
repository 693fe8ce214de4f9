"""Who answers: a trained run or an exported folder in this process, or a server.

Both have `labels`, {target: its labels}, `inputs`, {input: the strings it takes},
`data`, the section of the recipe where that is known, `keys`, {key: value} of it where
no more is known than how a manifest is written, `columns`, {name: what tables call it}
where that is another name, `identity`, text that changes
with the model, `ready()`, which loads what is loaded, and `answer(columns)`, which
threads may call: {served name: list of bytes} -> {output name: (rows, ...) array},
strings as bytes.
"""

import hashlib
import os
import threading
from pathlib import Path

import numpy as np

from mmkeras import client


def source(place, *, model=None, exported=None, timeout_seconds=30.0):
    """Opens what answers.

    Args:
        place: a run's folder, an exported one, or a server's URL (`client.Client`).
        model: its name at a server, where the URL does not have it.
        exported: the exported folder that a server serves, for the names of classes
            and the order of inputs, which a server does not tell.
        timeout_seconds: of one question to a server.

    Returns:
        A `Local` or a `Server`.

    Raises:
        FileNotFoundError: the folder holds neither.
        ValueError: no URL of a server, or it does not serve what is exported.
    """
    if is_url(place):
        asked = client.Client(place, model=model, timeout_seconds=timeout_seconds)
        return Server(asked, exported)
    return Local(place)


def is_url(place):
    """Whether a place is a server's, and no folder."""
    return str(place).split("://")[0] in client.TRANSPORTS and "://" in str(place)


class Local:
    """A run or an exported folder, loaded when it is first asked.

    Args:
        place: path of a run, a version's folder, or the folder of versions.
    """

    def __init__(self, place):
        from mmkeras import export, run

        self.data, self.keys = None, {}
        self._lock, self._ask = threading.Lock(), None
        self._model = export.newest(place)
        if self._model:
            self.labels, self.inputs = export.assets(self._model)
            self.keys = export.table_keys(self._model)
            self.columns = self.keys.get("columns", {})
            self.identity = _files(self._model, "saved_model.pb", "variables/*")
            return
        self._model = run.open_folder(place)
        self.labels, self.inputs = self._model.labels, export.inputs(self._model)
        self.data = self._model.recipe.data
        self.columns = self.data.columns
        self.identity = _files(self._model.folder, "model.keras", "decisions.json")

    def ready(self):
        """Loads the model and asks it once: the first call is the slow one."""
        from mmkeras import export

        with self._lock:
            if self._ask is None:
                ask = export.answering(self._model)
                ask(nothing(self.inputs))
                self._ask = ask

    def answer(self, columns):
        """Asks; see above."""
        self.ready()
        return self._ask(columns)


class Server:
    """A model behind TensorFlow Serving's API.

    Args:
        asked: a `client.Client`.
        exported: see `source`. Without it classes are told by number, and nothing is
            said of `present`, whose order is not known.

    Raises:
        ServerError: no answer, or the model has no `serving_default`.
        ValueError: the folder's model takes or tells something else.
    """

    def __init__(self, asked, exported=None):
        self.client, self.data = asked, None
        told = asked.metadata()
        signature = _default(told, f"{asked.model} at {asked.server}")
        self.identity = f"{asked.server} {asked.model} {told['version']}"
        self.labels, self.inputs, self.keys = _assets(exported)
        self.columns = self.keys.get("columns", {})
        self.is_told = bool(exported)
        if exported:
            _check_same(exported, self.labels, self.inputs, signature)
        else:
            self.inputs = {
                name.removesuffix("_bytes"): [name]
                for name in sorted(signature["inputs"])
            }
            self.labels = _numbered(signature["outputs"])

    def ready(self):
        """Nothing is to be loaded here."""

    def answer(self, columns):
        """Asks; see above."""
        answers = self.client.predict(columns)
        if not self.is_told:
            answers.pop("present", None)
        return {key: _array(values) for key, values in answers.items()}


def nothing(inputs):
    """A row that lacks every input, {served name: [bytes]}.

    Args:
        inputs: {input: the strings it takes}.
    """
    return {each: [b""] for names in inputs.values() for each in names}


def sent(path):
    """The bytes of a file as a server takes them, which knows no compressed sounds.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from mmkeras.modalities import compressed

    raw = Path(path).read_bytes()
    try:
        return compressed.wave_bytes(raw)
    except ValueError:  # a broken one: the row's `error` will say so
        return raw


def _assets(folder):
    """(labels, inputs, keys) of an exported folder; empty of None."""
    from mmkeras import export

    if folder is None:
        return {}, {}, {}
    newest = export.newest(folder)
    if not newest:
        raise FileNotFoundError(f"no version in {folder}: no <number>/saved_model.pb")
    return *export.assets(newest), export.table_keys(newest)


def _default(told, where):
    """The signature `serving_default` of what a server tells."""
    found = told["signatures"]
    if "serving_default" not in found:
        raise client.ServerError(
            client.error.NOT_FOUND,
            f"the model {where} has no signature `serving_default`, only "
            f"{', '.join(sorted(found)) or 'none'}: `mmkeras export` writes one",
        )
    return found["serving_default"]


def _check_same(folder, labels, inputs, signature):
    """Refuses a folder of another model: its names would be told for the wrong classes.

    Raises:
        ValueError: names of inputs, or numbers of classes, other than the server's.
    """
    served = _numbered(signature["outputs"])
    first = next(iter(labels.values()), ())
    ours = _described(
        (each for served in inputs.values() for each in served),
        [len(labels.get(target, first)) for target in served],
    )
    theirs = _described(signature["inputs"], map(len, served.values()))
    if ours != theirs:
        raise ValueError(
            f"{folder} is not what the server serves: its model {ours}, the server's "
            f"{theirs}. Give the folder that is served"
        )


def _described(inputs, classes):
    """What a model takes and tells, to be compared and read."""
    counts = " and ".join(map(str, classes)) or "no"
    return f"takes {', '.join(sorted({*inputs}))} and tells {counts} classes"


def _numbered(outputs):
    """Classes by their numbers, {target: names}, from the shapes of the outputs."""
    return {
        key.removesuffix("probabilities").rstrip("_"): [
            f"#{at}" for at in range(each["shape"][-1])
        ]
        for key, each in outputs.items()
        if key.endswith("probabilities")
    }


def _array(values):
    if isinstance(values[0], str):
        return np.array([value.encode("utf-8") for value in values], object)
    return np.array(values, np.float32 if _is_float(values[0]) else None)


def _is_float(value):
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, float)


def _files(folder, *patterns):
    """A digest of which files they are, by name, size and time."""
    found = hashlib.sha256(str(Path(folder).resolve()).encode())
    for pattern in patterns:
        for path in sorted(Path(folder).glob(pattern)):
            state = os.stat(path)
            found.update(f"{path.name} {state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()
