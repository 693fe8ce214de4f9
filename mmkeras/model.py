"""Branches + fusion + heads -> one functional keras.Model: the house on one page."""

import keras

from mmkeras import layers
from mmkeras.branches import BRANCHES
from mmkeras.config import RecipeError
from mmkeras.fusion import FUSIONS


def build(recipe, decoders, tasks):
    """The model of a recipe.

    Args:
        recipe: a `config.Recipe`.
        decoders: {input: decoder}; only these inputs become branches.
        tasks: {target: task}.

    Returns:
        A functional `keras.Model` from {tensor name: (batch, ...)} to {target: output}.

    Raises:
        RecipeError: options that do not fit each other; names the section.
        FileNotFoundError: weights that are not there.
    """
    branches = {
        name: _branch(
            name, recipe.data.inputs[name]["kind"], recipe.branches[name], decoder
        )
        for name, decoder in decoders.items()
    }
    inputs, corridors = {}, {}
    for name, branch in branches.items():
        own = {
            key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
            for key, tensor in branch.input.items()
        }
        corridor = branch(own)
        tokens, mask = layers.MissingToken(name=f"{name}_missing")(
            corridor["tokens"], corridor["mask"]
        )
        corridors[name] = {"tokens": tokens, "mask": mask}
        inputs |= own
    kind, options = _split(recipe.fusion)
    fuse = _bind("fusion", FUSIONS[kind], name="fusion", **options)
    fused = fuse(corridors)
    outputs = {name: task.head(fused, name) for name, task in tasks.items()}
    # Keras refuses two layers of one name, as a target called `fusion` would make.
    return _bind("data", keras.Model, inputs=inputs, outputs=outputs, name="mmkeras")


def _branch(name, modality, choice, decoder):
    kind, options = _split(choice)
    make = BRANCHES[modality][kind]
    return _bind(f"branches.{name}", make, name=name, **decoder.geometry, **options)


def _split(choice):
    options = dict(choice)
    return options.pop("kind"), options


def _bind(section, make, **arguments):
    try:
        return make(**arguments)
    except ValueError as error:
        raise RecipeError(f"{section}: {error}") from error
