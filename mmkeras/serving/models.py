"""The versions of one model's folder: loaded, polled, kept while they are asked."""

import gc
import re
import threading
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mmkeras import export

VERSION = re.compile(r"\d+")
LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"
# As TensorFlow Serving: how often a version's loading is tried.
MAX_LOADS = 6
POLL_SECONDS = 1.0
# Of gRPC, by number.
STATUS_NAMES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE "
    "UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        code: name of a gRPC status, as INVALID_ARGUMENT.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Loaded:
    """One version, ready to answer; any number of threads may ask.

    Args:
        folder: of the version.

    Attributes:
        version: int.
        signatures: {name: SignatureDef}, as the file has them.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.version = int(self.folder.name)
        self._model = export.loaded(self.folder)
        content = (self.folder / "saved_model.pb").read_bytes()
        held = saved_model_pb2.SavedModel.FromString(content)
        self.signatures = dict(held.meta_graphs[0].signature_def)
        default = self.signatures.get("serving_default")
        if default and all(is_text(info) for info in default.inputs.values()):
            self._warm_up(default)

    def _warm_up(self, default):
        """The first call is the slow one, and shows whether the graph runs at all."""
        try:
            self.answer({name: [b""] for name in default.inputs}, "serving_default")
        except Refusal as refusal:
            if refusal.code != "INVALID_ARGUMENT":  # it runs, but takes no empty text
                raise

    def inputs(self, signature):
        """{name: TensorInfo} of a signature; Refusal where there is none such."""
        if signature not in self.signatures:
            raise Refusal(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{signature}" not found in signature def',
            )
        return self.signatures[signature].inputs

    def answer(self, columns, signature):
        """Answers rows.

        Args:
            columns: {input name: (rows,) list or array of bytes}.
            signature: its name.

        Returns:
            {output name: (rows, ...) array}; strings as arrays of bytes objects.

        Raises:
            Refusal: names other than the signature's, or what the graph says.
        """
        _check_names(set(columns), set(self.inputs(signature)))
        try:
            tensors = {
                name: tf.constant(each, tf.string) for name, each in columns.items()
            }
            outputs = self._model.signatures[signature](**tensors)
        except tf.errors.OpError as error:
            code = STATUS_NAMES[error.error_code]
            # Above the reason stands where in Python the graph was written.
            reason = error.message.split("\n\t")[0].rsplit("\n", 1)[-1]
            raise Refusal(code, reason) from error
        except (TypeError, ValueError) as error:
            raise Refusal("INVALID_ARGUMENT", str(error).split("\n")[0]) from error
        return {name: value.numpy() for name, value in outputs.items()}


class Versions:
    """A folder of versions, `<folder>/<number>/saved_model.pb`, as it changes.

    Served are the newest version and those that have a label. A new version is loaded
    beside the one that it replaces; that one is let go when nobody asks it any more.

    Args:
        folder: where versions appear.
        name: of the model; the folder's where None.
        labels: {label: version} that stay, each askable as /labels/LABEL.
        poll_seconds: between two looks at the folder.
        log: called with one line of text now and then.

    Raises:
        FileNotFoundError: no version is there, or not that of a label.
        NotLoadedError: none of them loads.
    """

    def __init__(
        self, folder, *, name=None, labels=None, poll_seconds=POLL_SECONDS, log=print
    ):
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name
        self.labels = dict(labels or {})
        self.log = log
        self._states = {}  # version: (state, gRPC status, what went wrong)
        self._loads = {}  # version: how often its loading was tried
        self._served = {}  # replaced whole, never changed: readers take no lock
        found = self._found()
        if not found or not set(self.labels.values()) <= found:
            raise FileNotFoundError(self._nothing(found))
        self.poll()
        if not self._served:
            newest = self._states[max(self._states)]
            raise export.NotLoadedError(
                f"no version of {self.folder} loads: {newest[2]}"
            )
        self._closed = threading.Event()
        self._poller = threading.Thread(
            target=self._keep_polling, args=(poll_seconds,), daemon=True
        )
        self._poller.start()

    def close(self):
        """Stops polling."""
        self._closed.set()
        self._poller.join()

    def pick(self, name, version=None, label=None):
        """The version that is asked for, the newest where none is.

        Args:
            name: of the model.
            version: int or None.
            label: str or None.

        Raises:
            Refusal: there is no such.
        """
        if label is not None:
            if label not in self.labels:
                raise Refusal(
                    "INVALID_ARGUMENT", f"Unrecognized servable version label: {label}"
                )
            version = self.labels[label]
        served = self._served if name == self.name else {}
        wanted = max(served, default=None) if version is None else version
        if wanted not in served:
            asked = f"Latest({name})"
            if version is not None:
                asked = f"Specific({name}, {version})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {asked}")
        return served[wanted]

    def status(self, name, version=None):
        """(version, state, gRPC status, message) of each, newest first.

        Raises:
            Refusal: there is no such model or version.
        """
        states = dict(self._states) if name == self.name else {}
        if version is not None and version not in states:
            raise Refusal(
                "NOT_FOUND", f"Could not find version {version} of model {name}"
            )
        if not states:
            raise Refusal("NOT_FOUND", f"Could not find any versions of model {name}")
        return [
            (each, *states[each])
            for each in sorted(states, reverse=True)
            if version in (None, each)
        ]

    def poll(self):
        """Looks at the folder once: loads what is new, lets go what is old."""
        found = self._found()
        if not found:  # somebody is moving things: what is loaded still answers
            return
        wanted = set(self.labels.values()) & found
        for version in sorted(found, reverse=True):
            # An older one has to do only where the newest does not load.
            if self._load(version):
                wanted.add(version)
                break
        for version in wanted:
            self._load(version)
        gone = set(self._served) - wanted
        if gone:
            self._served = {v: self._served[v] for v in self._served if v in wanted}
            for version in gone:
                self._states[version] = (END, "OK", "")
                self.log(f"serve: version {version} is let go")
            gc.collect()

    def _load(self, version):
        """Loads it where it is not; whether it is loaded now."""
        if version in self._served:
            return True
        if self._loads.get(version, 0) >= MAX_LOADS:
            return False
        self._loads[version] = self._loads.get(version, 0) + 1
        self._states[version] = (LOADING, "OK", "")
        try:
            loaded = Loaded(self.folder / str(version))
        except Exception as error:  # whatever it is, the other versions go on
            is_told = isinstance(error, export.NotLoadedError)
            kind = "" if is_told else f"{type(error).__name__}: "
            reason = f"{kind}{error}".split("\n")[0]
            self._states[version] = (END, "UNKNOWN", reason)
            self.log(f"serve: version {version} is not served: {reason}")
            return False
        self._served = {**self._served, version: loaded}
        self._states[version] = (AVAILABLE, "OK", "")
        self._loads.pop(version)
        self.log(f"serve: version {version} of {self.name} answers")
        return True

    def _keep_polling(self, seconds):
        while not self._closed.wait(seconds):
            try:
                self.poll()
            except OSError as error:  # the folder is being moved, or its disk is
                self.log(f"serve: {error}")

    def _found(self):
        """Numbers of the versions in the folder."""
        if not self.folder.is_dir():
            return set()
        return {
            int(path.name)
            for path in self.folder.iterdir()
            if VERSION.fullmatch(path.name) and (path / "saved_model.pb").is_file()
        }

    def _nothing(self, found):
        if (self.folder / "saved_model.pb").is_file():
            above = self.folder.resolve().parent
            return f"{self.folder} is one version: serve the folder above it, {above}"
        missing = sorted(set(self.labels.values()) - found)
        if found:
            return f"{self.folder} has no version {missing[0]}. Found {sorted(found)}"
        return (
            f"no version in {self.folder}: no <number>/saved_model.pb. "
            f"`mmkeras export RUN {self.folder}` writes one"
        )


def is_text(info):
    """Whether a TensorInfo is of strings, one a row."""
    return info.dtype == tf.string.as_datatype_enum


def _check_names(sent, wanted):
    """The words of tensorflow_serving/servables/tensorflow/predict_util.cc."""

    def listed(names):
        return "{" + ",".join(sorted(names)) + "}"

    if len(sent) == len(wanted):
        for name in sorted(sent - wanted):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"input tensor alias not found in signature: {name}. Inputs expected "
                f"to be in the set {listed(wanted)}.",
            )
        return
    raise Refusal(
        "INVALID_ARGUMENT",
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({listed(sent)}) != len({listed(wanted)}). Sent extra: "
        f"{listed(sent - wanted)}. Missing but required: {listed(wanted - sent)}.",
    )
