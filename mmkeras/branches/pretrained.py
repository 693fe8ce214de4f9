"""What pretrained branches share: a backbone that may be frozen, and the rest.

A pretrained branch holds two models. `<name>_backbone` turns what the decoder gives
into features; `<name>_rest` turns features into the corridor. Where the backbone is
frozen, its features need to be computed once a file: see `mmkeras.features`.
"""

import keras
from keras import ops

from mmkeras.families import nearest


def branch(name, inputs, features, tokens, mask):
    """The two models of a pretrained branch, and the branch that joins them.

    Args:
        name: of the input.
        inputs: {key: keras.Input} of the branch.
        features: {key: tensor} that the backbone makes of them, `<name>_features` and
            perhaps more; not of `<name>_present`.
        tokens: function ({key: feature or input but `<name>`}) -> (batch, steps, dim).
        mask: function of the same -> (batch, steps) bool.

    Returns:
        A `keras.Model` from `inputs` to the corridor, with the layers
        `<name>_backbone` and `<name>_rest`.
    """
    seen = {key: one for key, one in inputs.items() if key != f"{name}_present"}
    backbone = keras.Model(seen, features, name=f"{name}_backbone")
    given = inputs_like({**features, **inputs})
    del given[name]
    corridor = {"tokens": tokens(given), "mask": mask(given)}
    rest = keras.Model(given, corridor, name=f"{name}_rest")
    own = inputs_like(inputs)
    made = backbone({key: own[key] for key in seen})
    passed = {key: one for key, one in own.items() if key != name}
    return keras.Model(own, rest({**made, **passed}), name=f"{name}_branch")


def text_branch(name, ids, encoded, visible, *, units, dropout):
    """`branch` of a text's pieces.

    Args:
        name: of the input.
        ids: keras.Input (batch, length).
        encoded: features of the backbone, (batch, length, dim).
        visible: (batch, length) bool, False on padding.
        units: size of a token.
        dropout: on the features, share in [0, 1).
    """
    present = keras.Input((), dtype="bool", name=f"{name}_present")
    features, seen = f"{name}_features", f"{name}_visible"
    return branch(
        name,
        {name: ids, f"{name}_present": present},
        {features: encoded, seen: visible},
        tokens=lambda given: narrowed(name, given[features], units, dropout),
        mask=lambda given: ops.logical_and(
            given[seen], given[f"{name}_present"][:, None]
        ),
    )


def parts(branch):
    """(backbone, rest) of a branch; (None, the branch) where it has no backbone."""
    found = {each.name.rpartition("_")[2]: each for each in inner_models(branch)}
    return found.get("backbone"), found.get("rest", branch)


def inner_models(network):
    """The models that a model is made of, not its inputs and layers.

    Those may bear any name that a column has, `core` or `the_rest`.
    """
    return [layer for layer in network.layers if isinstance(layer, keras.Model)]


def within(network):
    """Models within a model, at any depth."""
    for inner in inner_models(network):
        yield inner
        yield from within(inner)


def owner(part):
    """The input after which a model of a branch is named: `text` of `text_rest`."""
    return part.name.rpartition("_")[0]


def renamed(tensors, part, name):
    """Tensors of a branch's model under the keys of an input that may share it.

    Args:
        tensors: {key: tensor}, the keys beginning with the owner's name.
        part: `<owner>_backbone`, `<owner>_rest` or `<owner>_branch`.
        name: of the input, the owner itself or one that is the same as it.

    Returns:
        {key: tensor}, the keys beginning with `name`.
    """
    begin = len(owner(part))
    return {f"{name}{key[begin:]}": tensor for key, tensor in tensors.items()}


def fed(part, given, name):
    """What a model of a branch makes of an input that may share it.

    Args:
        part: see `renamed`.
        given: {key: tensor}, those of the input among them.
        name: of the input.

    Returns:
        {key: tensor}, under the keys of `part.output`.
    """
    # No model around it that renames keys: Keras does not read such a one back.
    begin = len(owner(part))
    return part({key: given[f"{name}{key[begin:]}"] for key in part.input})


def inputs_like(tensors):
    """New inputs of the same shapes and types.

    Args:
        tensors: {key: tensor (batch, ...)}.

    Returns:
        {key: keras.Input}.
    """
    return {
        key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        for key, tensor in tensors.items()
    }


def freeze(backbone, trainable):
    """Freezes a backbone, whole or up to a layer.

    Args:
        backbone: a `keras.Model`.
        trainable: False freezes all of it, True none. A share in [0, 1) leaves that
            share of its layers, from the output's end, to be trained; a name leaves
            the layer of this name and all after it.

    Raises:
        ValueError: no layer of that name.
    """
    backbone.trainable = trainable is not False
    if not trainable:
        # Its features are the same each time, in training too. (`training=False` in a
        # functional model's call is overruled by the model around it.)
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
    if isinstance(trainable, bool):
        return
    weighted = [layer for layer in backbone.layers if layer.weights]
    names = [layer.name for layer in weighted]
    if isinstance(trainable, str):
        if trainable not in names:
            raise ValueError(
                f"trainable: {backbone.name} has no layer `{trainable}`. Layers: "
                f"{', '.join(names)}{nearest(trainable, names)}"
            )
        first = names.index(trainable)
    else:
        first = len(weighted) - round(trainable * len(weighted))
    for layer in weighted[:first]:
        layer.trainable = False


def tuned(backbone, trainable, lora_rank, adapter_units):
    """A backbone, frozen or changed as the options of a branch say.

    Args:
        backbone: a KerasHub backbone.
        trainable: see `freeze`.
        lora_rank: rank of low-rank changes to its attentions; 0 for none.
        adapter_units: size of the bottlenecks after its blocks; 0 for none.

    Returns:
        A `keras.Model`, the backbone itself unless adapters were put in.

    Raises:
        ValueError: options that exclude each other, or blocks that are not found.
    """
    chosen = [
        f"{key}: {value}"
        for key, value in {
            "trainable": trainable,
            "lora_rank": lora_rank,
            "adapter_units": adapter_units,
        }.items()
        if value is not False and value != 0
    ]
    if len(chosen) > 1:
        raise ValueError(f"choose one of {' and '.join(chosen)}")
    freeze(backbone, trainable)
    for layer in backbone.layers:
        if layer.name == "pooled_dense":  # nobody reads the pooled output
            layer.trainable = False
    if lora_rank:
        _enable_lora(backbone, lora_rank)
    return Adapted(backbone, adapter_units) if adapter_units else backbone


# What KerasHub and Keras call an attention's projections of queries and values.
_LORA_LAYERS = ("query", "value", "query_dense", "value_dense")


def _enable_lora(backbone, rank):
    inner = list(backbone._flatten_layers(include_self=False))
    chosen = [
        layer
        for layer in inner
        if layer.name in _LORA_LAYERS and hasattr(layer, "enable_lora")
    ]
    if not chosen:
        raise ValueError(f"lora_rank: {backbone.name} has no attention for LoRA")
    backbone.trainable = True
    for layer in inner:
        layer.trainable = False
    for layer in chosen:
        layer.trainable = True
        layer.enable_lora(rank)


@keras.saving.register_keras_serializable("mmkeras")
class Adapted(keras.Model):
    """A frozen backbone with a trained bottleneck after each of its blocks.

    Dense down, GELU, dense up from zero weights, added to what the block gave: at
    first nothing changes (Houlsby et al. 2019, arXiv 1902.00751, which puts two in a
    block; one, after the block, is the variant of Pfeiffer et al. 2021, arXiv
    2005.00247).

    Args:
        backbone: a functional `keras.Model`; its layers are shared.
        units: size of a bottleneck.
        **kwargs: of a Keras model.

    Raises:
        ValueError: no block, a layer with an attention inside, is found.
    """

    def __init__(self, backbone, units, **kwargs):
        found = []

        def call(layer, *arguments, **options):
            outputs = layer(*arguments, **options)
            if not _has_attention(layer):
                return outputs
            found.append(layer.name)
            return _adapted(outputs, units, f"{layer.name}_adapter")

        clone = keras.models.clone_model(
            backbone, clone_function=lambda layer: layer, call_function=call
        )
        if not found:
            raise ValueError(f"adapter_units: {backbone.name} has no block to adapt")
        super().__init__(clone.input, clone.output, **kwargs)
        # Not as a list of layers, some of which cannot be read back by themselves.
        self._made_of = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "units": units,
        }

    def get_config(self):
        """The constructor's arguments."""
        return {"name": self.name, "trainable": self.trainable, **self._made_of}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the backbone first."""
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        trainable = config.pop("trainable")
        made = cls(backbone, **config)
        made.trainable = trainable
        return made


def _adapted(tokens, units, name):
    hidden = keras.layers.Dense(units, "gelu", name=f"{name}_down")(tokens)
    up = keras.layers.Dense(
        tokens.shape[-1], kernel_initializer="zeros", name=f"{name}_up"
    )(hidden)
    return keras.layers.Add(name=f"{name}_add")([tokens, up])


def _has_attention(layer):
    if not isinstance(layer, keras.Layer):  # a bare operation
        return False
    inner = layer._flatten_layers(include_self=False)
    return any("Attention" in type(each).__name__ for each in inner)


def features(backbone, given):
    """What a KerasHub backbone makes of its inputs, (batch, ..., dim).

    Args:
        backbone: a `keras.Model`.
        given: {input of the backbone: tensor}; what it does not ask for is left out. A
            backbone with one input gets the first.

    Raises:
        ValueError: it asks for more.
    """
    if not isinstance(backbone.input, dict):
        return backbone(next(iter(given.values())))
    asked = list(backbone.input)
    if missing := [key for key in asked if key not in given]:
        raise ValueError(f"{backbone.name} asks for {', '.join(missing)}")
    outputs = backbone({key: given[key] for key in asked})
    if not isinstance(outputs, dict):
        return outputs
    for key in ("sequence_output", "encoder_sequence_output"):
        if key in outputs:
            return outputs[key]
    raise ValueError(f"{backbone.name} gives {', '.join(outputs)}, no sequence_output")


def narrowed(name, features, units, dropout):
    """Features (batch, steps, dim) -> tokens (batch, steps, units)."""
    kept = keras.layers.Dropout(dropout, name=f"{name}_dropout")(features)
    return keras.layers.Dense(units, name=f"{name}_units")(kept)
