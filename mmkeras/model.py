"""Branches + fusion + heads -> one functional keras.Model: the house on one page."""

import math

import keras
from keras import ops

from mmkeras import layers
from mmkeras.branches import BRANCHES, pretrained
from mmkeras.config import RecipeError
from mmkeras.fusion import FUSIONS


def build(recipe, decoders, tasks):
    """The model of a recipe.

    Where branches have a pretrained backbone, the model is those backbones and, as the
    layer `core`, all the rest: so `features` can run a frozen backbone once a file. A
    balanced model has a `core` too, which has the heads of single modalities.

    Args:
        recipe: a `recipe.Recipe`.
        decoders: {input: decoder}; only these inputs become branches.
        tasks: {target: task}.

    Returns:
        A functional `keras.Model` from {tensor name: (batch, ...)} to {target: output}.

    Raises:
        RecipeError: options that do not fit each other; names the section.
        FileNotFoundError: weights that are not there.
        ImportError: a package that a branch needs is not installed.
    """
    branches = {
        name: _branch(
            name, recipe.data.inputs[name]["kind"], recipe.branches[name], decoder
        )
        for name, decoder in decoders.items()
    }
    backbones, rests = {}, {}
    for name, branch in branches.items():
        backbone, rests[name] = pretrained.parts(branch)
        if backbone:
            backbones[name] = backbone
    kind, options = _split(recipe.fusion)
    fuse = _bind("fusion", FUSIONS[kind], name="fusion", **options)
    alone = recipe.train.balance != "none" and len(branches) > 1
    split = bool(backbones) or alone
    core = _core(rests, fuse, tasks, alone, name="core" if split else "mmkeras")
    if not split:
        return core
    inputs = {}
    for branch in branches.values():
        inputs |= pretrained.inputs_like(branch.input)
    outputs = joined(core, backbones, inputs)
    outputs = {target: outputs[target] for target in tasks}
    return _bind("data", keras.Model, inputs=inputs, outputs=outputs, name="mmkeras")


def head_name(target, name):
    """The output of a core which tells `target` of the input `name` alone."""
    return f"{target}_of_{name}"


def parts(network):
    """What `build` made of backbones and the rest.

    Returns:
        (the model from features to outputs, {input: backbone}); the model itself and
        {} where no branch is pretrained.
    """
    inner = {each.name: each for each in pretrained.inner_models(network)}
    backbones = {
        name.removesuffix("_backbone"): each
        for name, each in inner.items()
        if name.endswith("_backbone")
    }
    return inner.get("core", network), backbones


def joined(core, backbones, given):
    """The outputs of a core on backbones.

    Args:
        core: see `parts`.
        backbones: {input: backbone}; those left out are expected among `given`.
        given: {key: tensor}: of the decoders, or features of a backbone left out.
    """
    for backbone in backbones.values():
        given = {**given, **backbone({key: given[key] for key in backbone.input})}
    return core({key: given[key] for key in core.input})


def outline(network, recipe=None):
    """The parts of what `build` made, in the way of the data.

    Args:
        network: the model; one loaded from a file will do.
        recipe: tells the kinds of inputs, branches and heads; "" without it.

    Returns:
        A list of dicts that JSON takes: "part" (`input`, `backbone`, `branch`,
        `fusion`, `head` or `heads for training only`), "name" of the input or target,
        "kind" (of a branch with a backbone: the backbone's, and "" its own),
        "shape" of what it gives, without the batch, "parameters" and "trainable", whose
        sums are those of the network. An input has "tensors" too, {key: shape}. The
        parameters of a branch include the token that stands for a missing input. A
        late fusion with several inputs has the shape (inputs, units). Heads for
        training only, those of `train.balance`, have the shape None: no output of the
        network comes from them. A SavedModel of TF Hub counts no parameter.
    """
    core, backbones = parts(network)
    own = {layer.name: layer for layer in core.layers}
    names = [key for key in network.input if f"{key}_present" in network.input]
    kinds = _kinds(recipe)
    found = []
    for name in names:
        inputs, kind = network.input, kinds.get(f"branch {name}", "")
        tensors = {
            key: _shape(inputs[key])
            for end in ("", "_present", "_samples", "_ids", "_seen")
            if (key := f"{name}{end}") in inputs
        }
        part = _part("input", name, kinds.get(f"input {name}", ""), tensors[name], [])
        found.append({**part, "tensors": tensors})
        if name in backbones:
            features = backbones[name].output[f"{name}_features"]
            owners = [backbones[name]]
            found.append(_part("backbone", name, kind, _shape(features), owners))
            kind = ""
        branch = own.get(f"{name}_branch") or own[f"{name}_rest"]
        shape = _shape(branch.output["tokens"])
        owners = [branch, own[f"{name}_missing"]]
        found.append(_part("branch", name, kind, shape, owners))
    return [*found, *_outline_behind(network, core, kinds)]


def _outline_behind(network, core, kinds):
    """The parts of `outline` from the fusion on."""
    fuse = core.get_layer("fusion")
    kind = next(kind for kind, made in FUSIONS.items() if type(fuse) is made)
    each = keras.tree.flatten(fuse.output)
    shape = _shape(each[0]) if len(each) == 1 else [len(each), *_shape(each[0])]
    found = [_part("fusion", "", kind, shape, [fuse])]
    seen = _upstream(core, fuse.output)  # the branches, told already
    for target, output in network.output.items():
        behind = _upstream(core, core.output[target])
        head = [layer for key, layer in behind.items() if key not in seen]
        seen |= behind
        task = kinds.get(f"head {target}", "")
        found.append(_part("head", target, task, _shape(output), head))
    if rest := [layer for layer in core.layers if layer.name not in seen]:
        found.append(_part("heads for training only", "", "", None, rest))
    return found


def _upstream(core, output):
    """{name: layer} of all that an output of the core is made of."""
    return {
        layer.name: layer
        for layer in keras.Model(core.input, output).layers
        if layer.name in {each.name for each in core.layers}
    }


def _part(part, name, kind, shape, owners):
    """A part of `outline`; `owners` are the layers that hold its parameters."""
    return {
        "part": part,
        "name": name,
        "kind": kind,
        "shape": shape,
        "parameters": sum(layer.count_params() for layer in owners),
        "trainable": sum(
            math.prod(weight.shape)
            for layer in owners
            for weight in layer.trainable_weights
        ),
    }


def _kinds(recipe):
    """{"input NAME", "branch NAME" or "head TARGET": kind}."""
    if recipe is None:
        return {}
    sections = {
        "input": recipe.data.inputs,
        "branch": recipe.branches,
        "head": recipe.data.targets,
    }
    return {
        f"{section} {name}": choice["kind"]
        for section, choices in sections.items()
        for name, choice in choices.items()
    }


def _shape(tensor):
    return list(tensor.shape[1:])


def _core(rests, fuse, tasks, alone, name):
    """From what the rest of every branch takes to the outputs, a `keras.Model`."""
    inputs, corridors = {}, {}
    for own, rest in rests.items():
        given = pretrained.inputs_like(rest.input)
        corridor = rest(given)
        tokens, mask = layers.MissingToken(name=f"{own}_missing")(
            corridor["tokens"], corridor["mask"]
        )
        corridors[own] = {"tokens": tokens, "mask": mask}
        inputs |= given
    fused = fuse(corridors)
    present = {own: inputs[f"{own}_present"] for own in rests}
    outputs = {
        target: _head(task, fused, present, target) for target, task in tasks.items()
    }
    if alone:
        outputs |= _heads_alone(corridors, tasks)
    # Keras refuses two layers of one name, as a target called `fusion` would make.
    return _bind("data", keras.Model, inputs=inputs, outputs=outputs, name=name)


def _heads_alone(corridors, tasks):
    """One head an input and target, see `train.blending`."""
    vectors = FUSIONS["late"](name="alone")(corridors)
    heads = {}
    for own, vector in vectors.items():
        for target, task in tasks.items():
            key = head_name(target, own)
            heads[key] = task.head(vector, key)
    return heads


def _head(task, fused, present, target):
    """A head on the fused vector, or the mean of one head a modality (`late`)."""
    if not isinstance(fused, dict):
        return task.head(fused, target)
    names = list(fused)
    each = [task.head(fused[name], f"{target}_{name}") for name in names]
    seen = [present[name][:, None] for name in names]
    return layers.MeanOfPresent(name=target, dtype="float32")(
        ops.stack(each, axis=1), ops.concatenate(seen, axis=1)
    )


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
