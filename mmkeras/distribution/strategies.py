"""Which tf.distribute strategy a recipe gets, and what is refused under it."""

import functools
import os

import keras
import tensorflow as tf

from mmkeras.config import RecipeError
from mmkeras.distribution.team import workers

# What `fit` of Keras under several workers was seen to work with (keras#20585).
TESTED_KERAS = (3, 15)


def kind_of(options):
    """The strategy that a recipe asks for or, where it says `auto`, this machine.

    Args:
        options: the `train` section of a recipe.

    Returns:
        `one`, `mirrored`, `multiworker` or `tpu`.

    Raises:
        RecipeError: what it asks for is not here.
    """
    many, kind = workers().count > 1, options.strategy
    if kind == "auto" and many:
        return "multiworker"
    if kind == "auto" and _has_tpu():
        return "tpu"
    if kind == "auto":
        return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if many != (kind == "multiworker"):
        told = (
            f"TF_CONFIG names {workers().count} workers"
            if many
            else ("TF_CONFIG names no other worker")
        )
        raise RecipeError(
            f"train.strategy: {kind}, but {told}. Start several with `mmkeras launch "
            "--workers 2 -- train RECIPE --run DIR`, see docs/scaling.md, or leave the "
            "key away"
        )
    return kind


def _has_tpu():
    return bool(os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"))


def strategy_of(options, branches=None):
    """The tf.distribute strategy of a recipe; None for one device.

    To be called before TensorFlow does anything else: workers find each other here.

    Args:
        options: the `train` section of a recipe.
        branches: its `branches` section.

    Raises:
        RecipeError: what it asks for is not here, or cannot run under it.
    """
    kind = kind_of(options)
    if kind == "one" or _is_better_alone(options, branches or {}, kind):
        return None
    require_runnable(options, kind)
    _require_tried(branches or {}, kind)
    if kind == "multiworker":
        return _multiworker()
    if kind == "tpu":
        _require_compilable(branches or {})
        return _tpu()
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise RecipeError(
            "train.strategy: mirrored needs two devices, and this machine has "
            f"{devices[0].name}. Leave the key away: it is chosen where there are more"
        )
    return _mirrored(*[device.name for device in devices])


def require_runnable(options, kind):
    """Refuses what is known to fail, or to do nothing, under a strategy.

    Args:
        options: the `train` section of a recipe.
        kind: what `kind_of` gave.

    Raises:
        RecipeError: names the keys.
    """
    version = tuple(map(int, keras.__version__.split(".")[:2]))
    if kind == "multiworker" and version != TESTED_KERAS:
        raise RecipeError(
            "several workers were tested with Keras "
            f"{'.'.join(map(str, TESTED_KERAS))}, whose `fit` needs two methods "
            f"replaced for them (keras#20585); this is {keras.__version__}. Install "
            "the other, or train with one worker"
        )
    if keras.distribution.distribution() is not None:
        raise RecipeError(
            "keras.distribution is set, which does nothing on the TensorFlow backend: "
            "take it away, train.strategy does it"
        )
    for key in ("steps_per_execution", "accumulation_steps"):
        if getattr(options, key) > 1:
            raise RecipeError(
                f"train.{key}: {getattr(options, key)} fails in Keras under the "
                f"strategy {kind}: drop it, or train with train.strategy: one"
            )
    if options.precision == "mixed_float16":
        raise RecipeError(
            f"train.precision: mixed_float16 was not tested under the strategy {kind}: "
            "take mixed_bfloat16, which needs no scaled loss"
        )
    if options.jit_compile and kind != "tpu":
        raise RecipeError(
            f"train.jit_compile fails in Keras under the strategy {kind}: drop one. "
            "(On a TPU every step is compiled, with or without it.)"
        )
    if options.time_limit_minutes and kind == "multiworker":
        raise RecipeError(
            "train.time_limit_minutes: the clocks of several workers do not agree when "
            "to end. Say it in steps: train.max_steps"
        )


def _is_better_alone(options, branches, kind):
    """Whether `auto` leaves other devices idle, as what it trains is refused there."""
    hub = any(branch.get("kind") == "hub" for branch in branches.values())
    return options.strategy == "auto" and kind == "mirrored" and hub


def _require_tried(branches, kind):
    """A SavedModel of TF Hub was not tried on several devices; all else was."""
    for name, branch in branches.items():
        if kind != "tpu" and branch.get("kind") == "hub":
            raise RecipeError(
                f"branches.{name}: a SavedModel of TF Hub was not tried under the "
                f"strategy {kind}: take a `kerashub` branch, or train.strategy: one"
            )


def _require_compilable(branches):
    """A TPU runs what XLA compiles; a SavedModel of TF Hub may do anything."""
    for name, branch in branches.items():
        if branch.get("kind") == "hub":
            raise RecipeError(
                f"branches.{name}: a SavedModel of TF Hub may hold operations that no "
                "TPU runs, such as those on strings: take a `kerashub` branch, or "
                "train.strategy: one"
            )


# One strategy a process: a second one would use the keys of the first one's collective
# operations, and fail where their shapes differ.
@functools.cache
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multiworker():
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(
            os.environ.get("TPU_NAME", "local")
        )
    except Exception as error:  # whatever the network or the driver says
        raise RecipeError(
            f"train.strategy: no TPU answers ({str(error).splitlines()[0]}). Set "
            "TPU_NAME to its name, or to `local` on a TPU machine itself"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
