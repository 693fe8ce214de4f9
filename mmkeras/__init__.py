"""From a CSV of texts, image files and sounds to a model that answers raw bytes.

The modules of the main path are loaded when they are first used, so that
`import mmkeras` and `mmkeras --help` do not wait for TensorFlow:

    from mmkeras import config, evaluate, export, manifest, train
"""

import importlib
from pathlib import Path

__version__ = "0.1.0"

__all__ = [
    "answering",
    "client",
    "config",
    "digits",
    "evaluate",
    "explain",
    "export",
    "manifest",
    "run",
    "train",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"mmkeras.{name}")
    raise AttributeError(f"mmkeras has no module `{name}`; it has {', '.join(__all__)}")


def __dir__():
    return sorted([*__all__, "__version__", "load_model"])


def load_model(path):
    """The `keras.Model` of a `.keras` file that mmkeras wrote, read in safe mode.

    Keras 3 finds layers by the names they are registered under, so their rooms must be
    imported first; this does both.

    Args:
        path: of the file, `model.keras` of a run or of `export --format keras`; or of
            the run's folder.

    Returns:
        A functional `keras.Model` from {tensor name: (batch, ...)} to {target: output}.
    """
    for room in ("model", "tasks"):
        importlib.import_module(f"mmkeras.{room}")
    path = Path(path)
    path = path / "model.keras" if path.is_dir() else path
    return importlib.import_module("keras").saving.load_model(path, safe_mode=True)
