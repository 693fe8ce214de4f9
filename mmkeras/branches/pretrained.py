"""What pretrained branches share: a backbone that may be frozen, and the rest.

A pretrained branch holds two models. `<name>_backbone` turns what the decoder gives
into features; `<name>_rest` turns features into the corridor. Where the backbone is
frozen, its features need to be computed once a file: see `mmkeras.features`.
"""

import keras

from mmkeras.families import nearest


def branch(name, inputs, features, tokens, mask):
    """The two models of a pretrained branch, and the branch that joins them.

    Args:
        name: of the input.
        inputs: {key: keras.Input} of the branch.
        features: {key: tensor} that the backbone makes of them; the keys begin with
            `<name>_`.
        tokens: function ({key: feature or input but `<name>`}) -> (batch, steps, dim).
        mask: function of the same -> (batch, steps) bool.

    Returns:
        A `keras.Model` from `inputs` to the corridor, with the layers
        `<name>_backbone` and `<name>_rest`.
    """
    backbone = keras.Model(inputs, features, name=f"{name}_backbone")
    given = {
        key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        for key, tensor in {**features, **inputs}.items()
        if key != name
    }
    corridor = {"tokens": tokens(given), "mask": mask(given)}
    rest = keras.Model(given, corridor, name=f"{name}_rest")
    own = {
        key: keras.Input(one.shape[1:], dtype=one.dtype, name=key)
        for key, one in inputs.items()
    }
    passed = {key: one for key, one in own.items() if key != name}
    return keras.Model(own, rest({**backbone(own), **passed}), name=f"{name}_branch")


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
