"""From a CSV of texts, image files and sounds to a model that answers raw bytes.

The modules of the main path are loaded when they are first used, so that
`import mmkeras` and `mmkeras --help` do not wait for TensorFlow:

    from mmkeras import config, evaluate, export, manifest, train

Whoever imports Keras too can load a `.keras` file of a run in safe mode: our layers are
registered as soon as both are there.
"""

import importlib
import importlib.util
import sys

__version__ = "0.1.0"

__all__ = [
    "config",
    "digits",
    "evaluate",
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
    return sorted([*__all__, "__version__"])


def _register():
    """Imports what registers our layers, losses and metrics with Keras.

    Not while a room of ours imports Keras: it would find its siblings half imported,
    and brings what it needs by itself.
    """
    ours = (each for name, each in sys.modules.items() if name.startswith("mmkeras."))
    if not any(getattr(each.__spec__, "_initializing", False) for each in ours):
        importlib.import_module("mmkeras.model")
        importlib.import_module("mmkeras.tasks")


class _WhenKerasComes:
    """Stands in `sys.meta_path` until Keras is imported, which takes seconds."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Finds Keras as the others do, and adds `_register` to its end."""
        if name != "keras":
            return None
        sys.meta_path.remove(cls)
        try:
            found = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, cls)  # it may be looked for and not imported
        if found:
            execute = found.loader.exec_module

            def exec_module(module):
                sys.meta_path.remove(cls)
                execute(module)
                _register()

            found.loader.exec_module = exec_module
        return found


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _WhenKerasComes)
