"""Branches + fusion + heads -> one functional keras.Model: the house on one page."""

import math

import keras
from keras import ops

from mmkeras import layers, sharing
from mmkeras.branches import BRANCHES, pretrained
from mmkeras.config import RecipeError
from mmkeras.fusion import FUSIONS

# How the models in a mean are called, numbers behind it.
MEMBER = "member_"


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
    branches = _branches(recipe, decoders)
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
    for name, branch in branches.items():
        inputs |= pretrained.inputs_like(pretrained.renamed(branch.input, branch, name))
    outputs = joined(core, backbones, inputs)
    outputs = {target: outputs[target] for target in tasks}
    return _bind("data", keras.Model, inputs=inputs, outputs=outputs, name="mmkeras")


def head_name(target, name):
    """The output of a core which tells `target` of the input `name` alone."""
    return f"{target}_of_{name}"


def parts(network):
    """What `build` made of backbones and the rest.

    Args:
        network: the model, or one that is fitted on its layers.

    Returns:
        (the model from features to outputs, {input: backbone}); the model itself and
        {} where no branch is pretrained. Inputs that share a branch have one backbone.
    """
    inner = {each.name: each for each in pretrained.inner_models(network)}
    core = inner.get("core") or inner.get("mmkeras") or network
    backbones = {}
    if any(name.endswith("_backbone") for name in inner):
        for name, branch in branches_of(core).items():
            if backbone := inner.get(f"{pretrained.owner(branch)}_backbone"):
                backbones[name] = backbone
    return core, backbones


def branches_of(core):
    """{input: its branch, or what is left of it without its backbone}.

    Args:
        core: see `parts`. Inputs that share a branch have the same one.
    """
    ends = {layer.name: layer for layer in core.layers}
    found = {}
    for key in core.input:
        name = key.removesuffix("_present")
        if name != key and f"{name}_missing" in ends:
            upstream = keras.Model(core.input, ends[f"{name}_missing"].input)
            (found[name],) = pretrained.inner_models(upstream)
    return found


def mean(networks):
    """The mean of several models' outputs, as one model.

    Args:
        networks: what `build` made, with the same inputs and outputs.

    Returns:
        A functional `keras.Model`; see `members`.
    """
    inputs = pretrained.inputs_like(networks[0].input)
    # Under names of their own: Keras refuses two layers of one name.
    inner = [
        keras.Model(each.input, each.output, name=f"{MEMBER}{at}")
        for at, each in enumerate(networks, start=1)
    ]
    told = [each({key: inputs[key] for key in each.input}) for each in inner]
    outputs = {
        target: keras.layers.Average(dtype="float32", name=target)(
            [one[target] for one in told]
        )
        for target in networks[0].output
    }
    return _bind("data", keras.Model, inputs=inputs, outputs=outputs, name="mean")


def members(network):
    """The models whose mean a model is; [] of one that `build` made."""
    inner = pretrained.inner_models(network)
    return [each for each in inner if each.name.startswith(MEMBER)]


def joined(core, backbones, given):
    """The outputs of a core on backbones.

    Args:
        core: see `parts`.
        backbones: {input: backbone}; those left out are expected among `given`.
        given: {key: tensor}: of the decoders, or features of a backbone left out.
    """
    for name, backbone in backbones.items():
        made = pretrained.fed(backbone, given, name)
        given = {**given, **pretrained.renamed(made, backbone, name)}
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
        parameters of a branch include the token that stands for a missing input. What
        is another input's too has "same_as", its name, and "parameters" of that token
        alone. A late fusion with several inputs has the shape (inputs, units). Heads
        for training only, those of `train.balance`, have the shape None: no output of
        the network comes from them. A SavedModel of TF Hub counts no parameter.

    Raises:
        RecipeError: the network is the mean of others.
    """
    if inner := members(network):
        raise RecipeError(
            f"the model is the mean of {len(inner)} models: look at one of them, "
            "members.json names their runs"
        )
    core, backbones = parts(network)
    branches, kinds = branches_of(core), _kinds(recipe)
    found = []
    for name in [key for key in network.input if key in branches]:
        inputs, kind = network.input, kinds.get(f"input {name}", "")
        tensors = {
            key: _shape(inputs[key])
            for end in ("", "_present", "_samples", "_ids", "_seen")
            if (key := f"{name}{end}") in inputs
        }
        part = _part("input", name, kind, tensors[name], [])
        found.append({**part, "tensors": tensors})
        found += _outline_branch(name, core, branches, backbones.get(name), kinds)
    return [*found, *_outline_behind(network, core, kinds)]


def _outline_branch(name, core, branches, backbone, kinds):
    """The parts of `outline` between an input and the fusion."""
    branch = branches[name]
    owner = pretrained.owner(branch)
    users = [each for each, other in branches.items() if other is branch]
    # A network of fewer inputs than the recipe may be without the owner.
    first = owner if owner in users else users[0]
    shared = name != first
    kind = f"same as {first}" if shared else kinds.get(f"branch {owner}", "")
    found = []
    if backbone:
        shape = _shape(backbone.output[f"{owner}_features"])
        found.append(_part("backbone", name, kind, shape, [backbone][shared:]))
        kind = kind if shared else ""
    owners = [branch, core.get_layer(f"{name}_missing")][shared:]
    shape = _shape(branch.output["tokens"])
    found.append(_part("branch", name, kind, shape, owners))
    return [{**each, "same_as": first} for each in found] if shared else found


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
        if "kind" in choice
    }


def _shape(tensor):
    return list(tensor.shape[1:])


def _core(rests, fuse, tasks, alone, name):
    """From what the rest of every branch takes to the outputs, a `keras.Model`."""
    inputs, corridors = {}, {}
    for own, rest in rests.items():
        given = pretrained.inputs_like(pretrained.renamed(rest.input, rest, own))
        corridor = pretrained.fed(rest, given, own)
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


def _branches(recipe, decoders):
    """{input: branch}; the same one for inputs that share it."""
    made, found = {}, {}
    for name, decoder in decoders.items():
        owner = sharing.owner(name, recipe.branches)
        if owner not in made:
            modality = recipe.data.inputs[owner]["kind"]
            made[owner] = _branch(owner, modality, recipe, decoder)
        found[name] = made[owner]
    return found


def _branch(name, modality, recipe, decoder):
    kind, options = _split(recipe.branches[name])
    masks = recipe.augment.audio_time_mask, recipe.augment.audio_frequency_mask
    if modality == "audio" and any(masks):
        options["masks"] = masks
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
