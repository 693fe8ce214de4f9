"""Branches of one's own: a function in a file of the user's, on the input's tensor.

    branches:
      photo: {kind: own, function: my_branches.py:small_cnn}

The function takes the input's tensor, and by name what it asks for of the rest. It
gives one token, (batch, dim), several, (batch, steps, dim), or of a picture a feature
map, (batch, height, width, dim). What is missing or padding is hidden here.
"""

import importlib.util
import inspect
import sys
from pathlib import Path

import keras
from keras import ops

from mmkeras.branches import patches, waves, words

AS = "as `my_branches.py:build`, the file from where the command runs"


def text_own(name, *, length, vocabulary_size, function: str = ""):
    """A function of one's own on ids, (batch, length) int32; 0 is padding.

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included; told where it is asked for.
        function: `FILE.py:NAME`. By name it may ask for `vocabulary_size` and `mask`,
            (batch, length) bool, True where a token is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such function, or it gives something else.
    """
    inputs, mask = words.inputs(name, length)
    told = {"vocabulary_size": vocabulary_size, "mask": mask}
    tokens = _called(function, inputs[name], told)
    if tokens.shape[1] != length:
        mask = patches.shown(name, inputs, tokens.shape[1])
    return _branch(name, inputs, tokens, mask)


def image_own(name, *, size, function: str = ""):
    """A function of one's own on pixels, (batch, size, size, 3) float32 in [0, 1].

    Args:
        name: of the input.
        size: pixels a side.
        function: `FILE.py:NAME`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such function, or it gives something else.
    """
    inputs = patches.inputs(name, size)
    tokens = _called(function, inputs[name], {})
    mask = patches.shown(name, inputs, tokens.shape[1])
    return _branch(name, inputs, tokens, mask)


def audio_own(name, masks=None, *, rate_hz, clip_samples, function: str = ""):
    """A function of one's own on waves, (batch, clip_samples) float32 in [-1, 1].

    Samples behind a sound's end are 0. Tokens stand for equal parts of the clip, and
    those that begin behind its end are hidden.

    Args:
        name: of the input.
        masks: of `augment`; None, since there is no spectrogram here to be masked.
        rate_hz: sampling rate; told where it is asked for.
        clip_samples: samples a clip.
        function: `FILE.py:NAME`. By name it may ask for `rate_hz` and `mask`, (batch,
            clip_samples) bool, True where the sound is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such function, it gives something else, or `masks`.
    """
    if masks:
        raise ValueError(
            "augment.audio_time_mask and audio_frequency_mask hide parts of a "
            "spectrogram, which this branch makes by itself: leave them out"
        )
    inputs = waves.inputs(name, clip_samples)
    real, mask, wave = waves.heard(name, inputs)
    tokens = _called(function, wave, {"rate_hz": rate_hz, "mask": mask})
    steps = tokens.shape[1]
    starts = [step * clip_samples // steps for step in range(steps)]
    mask = ops.less(ops.convert_to_tensor(starts, "int32")[None, :], real)
    return _branch(name, inputs, tokens, mask)


def imported(branches, *, required=True):
    """Imports the files of all such branches, so that their layers are known.

    Args:
        branches: {input: its dict} of a recipe.
        required: False passes over a file that is not there: a trained model needs it
            only for layers of its own.

    Raises:
        FileNotFoundError, ValueError: as above.
    """
    for name, choice in branches.items():
        if choice.get("kind") == "own":
            try:
                _function(choice["function"])
            except ValueError as error:
                raise ValueError(f"branches.{name}: {error}") from error
            except FileNotFoundError:
                if required:
                    raise


def _function(where):
    """The function that `FILE.py:NAME` names."""
    path, _, name = where.rpartition(":")
    if not path.endswith(".py") or not name:
        raise ValueError(f"function: `{where}` names no function; name it {AS}")
    module = _module(Path(path).resolve(), where)
    found = getattr(module, name, None)
    if not callable(found):
        there = [
            each
            for each, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise ValueError(
            f"function: {path} has no function `{name}`; it has "
            f"{', '.join(there) or 'none'}"
        )
    return found


def _module(path, where):
    """The file as a module; imported again where it has changed, as in a notebook."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}: the function {where} is named from where the command runs"
        )
    known = sys.modules.get(path.stem)
    if known:
        if getattr(known, "__file__", None) != str(path):
            raise ValueError(
                f"function: {where}: another module is called `{path.stem}`; rename "
                "the file"
            )
        if getattr(known, "__source__", None) in (None, path.read_bytes()):
            return known
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    module.__source__ = path.read_bytes()
    sys.modules[path.stem] = module
    try:
        exec(compile(module.__source__, str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(f"function: {where}: {_told(error)}") from error
    return module


def _called(where, tensor, told):
    """What the function gives, as tokens (batch, steps, dim)."""
    make = _function(where)
    asked = list(inspect.signature(make).parameters.values())[1:]
    given = {each.name: told[each.name] for each in asked if each.name in told}
    lacking = [
        each.name
        for each in asked
        if each.name not in told
        and each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if lacking:
        raise ValueError(
            f"function: {where} asks for `{lacking[0]}`. Behind the tensor it may ask "
            f"for {', '.join(told) or 'nothing'}; give the rest defaults"
        )
    try:
        made = make(tensor, **given)
    except Exception as error:
        raise ValueError(f"function: {where}: {_told(error)}") from error
    return _tokens(made, tensor, where)


def _told(error):
    return f"{type(error).__name__}: {error}"


def _tokens(made, tensor, where):
    """(batch, steps, dim) of what the function gave."""
    shape = made.shape if isinstance(made, keras.KerasTensor) else None
    most = 4 if len(tensor.shape) == 4 else 3
    is_float = shape is not None and "float" in made.dtype
    if not is_float or not 2 <= len(shape) <= most or None in shape[1:]:
        got = f"{shape} {made.dtype}" if shape is not None else type(made).__name__
        maps = ", (batch, height, width, dim)" if most == 4 else ""
        raise ValueError(
            f"function: {where} gives {got}. Expected a Keras tensor of floats and of "
            f"known size: (batch, dim), (batch, steps, dim){maps}"
        )
    # What bare operations make of a float32 input stays that in mixed precision.
    made = ops.cast(made, keras.config.dtype_policy().compute_dtype)
    if len(shape) == 3:
        return made
    steps = shape[1] * shape[2] if len(shape) == 4 else 1
    return ops.reshape(made, (-1, steps, shape[-1]))


def _branch(name, inputs, tokens, mask):
    """The branch, of which all layers can be read again."""
    made = keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")
    for layer in made._flatten_layers():
        kind = type(layer)
        if kind.__module__.partition(".")[0] in ("keras", "keras_hub"):
            continue
        if keras.saving.get_registered_name(kind) == kind.__name__:
            raise ValueError(
                f"function: the layer `{kind.__name__}` could not be read again from "
                "the saved model: put @keras.saving.register_keras_serializable() "
                "before its class"
            )
        try:
            kind.from_config(layer.get_config())
        except Exception as error:
            raise ValueError(
                f"function: the layer `{kind.__name__}` could not be read again from "
                f"the saved model, its get_config lacks something: {_told(error)}"
            ) from error
    return made
