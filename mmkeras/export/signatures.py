"""What an exported model can be asked: its signatures, as functions of tensors.

serving_default   strings -> answers, present, error
serve_tensors     what the decoders give -> answers
serve_features    strings -> the vector that the heads read

`examples` adds two that take tf.Example.
"""

import keras
import tensorflow as tf

from mmkeras import model


def serving_function(run, decode=None):
    """Raw strings -> answers: what `serving_default` runs, as a tf.function.

    Args:
        run: a `run.Run`.
        decode: see `decoding`, which is asked where it is None.

    Returns:
        A function of the (batch,) string tensors of `signature`, in its order, giving
        {output name: (batch, ...)}; see `export.saved_model`.
    """
    made = _answering(run, decode or decoding(run))
    return tf.function(made, input_signature=signature(run), autograph=False)


def endpoints(run, decode, answering):
    """The signatures of a run.

    Args:
        run: a `run.Run`.
        decode: see `decoding`; in the SavedModel all signatures share it.
        answering: `serving_function` of it, as a tf.function.

    Returns:
        {signature: (function, list of tf.TensorSpec that it takes in this order)}.
    """
    tensors = [
        tf.TensorSpec([None, *spec.shape], spec.dtype, name=key)
        for decoder in run.decoders.values()
        for key, spec in decoder.specs.items()
    ]
    return {
        "serving_default": (answering, signature(run)),
        "serve_tensors": (_answering_tensors(run, tensors), tensors),
        "serve_features": (_telling_features(run, decode), signature(run)),
    }


def decoding(run):
    """Strings -> tensors of the model, as a tf.function.

    Returns:
        A function of the (batch,) strings of `signature` that gives ({key: (batch,
        ...)} as the decoders' `specs`, (batch,) string of what is wrong).
    """
    decoders = run.decoders

    def decode(*raws):
        given = dict(zip(served(run), raws, strict=True))
        tensors, faults = {}, []
        for decoder in decoders.values():
            own = [given[name] for name in decoder.signatures]
            raw = tf.stack(own, axis=1) if len(own) > 1 else own[0]
            decoded, found = decoder.attempt_batch(raw)
            tensors |= decoded
            faults += _named_faults(decoder, found)
        return tensors, tf.strings.strip(tf.strings.join(faults, separator=" "))

    return tf.function(decode, input_signature=signature(run), autograph=False)


def features_model(run):
    """The trained model as far as its fusion.

    Args:
        run: a `run.Run`.

    Returns:
        A `keras.Model` from the tensors of the decoders to (batch, units): the output
        of the layer `fusion`; of a late fusion, (batch, inputs * units), its vectors
        side by side in the order of the recipe; of a mean of models, those of all of
        them.
    """
    network, names = run.model, list(run.decoders)
    inner = model.members(network)
    if not inner:
        return _until_fusion(network, names)
    each = [_until_fusion(one, names)(network.input) for one in inner]
    return keras.Model(network.input, keras.ops.concatenate(each, axis=-1))


def _until_fusion(network, names):
    core, backbones = model.parts(network)
    fused = core.get_layer("fusion").output
    if isinstance(fused, list):
        # Keras lists what a layer gives in a dict, in the order of its keys.
        vectors = dict(zip(sorted(names), fused, strict=True))
        fused = keras.ops.concatenate([vectors[name] for name in names], -1)
    until = keras.Model(core.input, keras.ops.cast(fused, "float32"))
    if core is network:
        return until
    return keras.Model(network.input, model.joined(until, backbones, network.input))


def served(run):
    """Names of the strings that `serving_default` takes, in the order of the recipe."""
    every = (name for each in run.decoders.values() for name in each.signatures)
    return list(dict.fromkeys(every))  # two inputs may read one column


def signature(run):
    """The strings that `serving_default` takes, a list of tf.TensorSpec."""
    return [tf.TensorSpec([None], tf.string, name=name) for name in served(run)]


def inputs(run):
    """{input: names of the strings it takes}, in the order of the recipe."""
    return {name: list(each.signatures) for name, each in run.decoders.items()}


def table_keys(run):
    """{key of `data`: value}: how a manifest is written, and what it calls columns."""
    keys = ("id", "columns", "separator", "encoding")
    return {key: getattr(run.recipe.data, key) for key in keys}


def packages(run):
    """Names of the packages whose operations the served graph has, sorted."""
    return sorted({name for each in run.decoders.values() for name in each.packages})


def answers(tasks, outputs):
    """What tasks serve of a model's outputs, {served name: (batch, ...) tensor}.

    Args:
        tasks: {target: task}.
        outputs: {target: (batch, ...)}.
    """
    return {
        served_as(tasks, name, key): value
        for name, task in tasks.items()
        for key, value in task.serve(tf.convert_to_tensor(outputs[name])).items()
    }


def served_as(tasks, target, key):
    """Under which name an answer of one task is served."""
    return f"{target}_{key}" if len(tasks) > 1 else key


def _answering(run, decode):
    # Loaded here: in a graph, the constants of a model would be that graph's alone.
    names, network, tasks = list(run.decoders), run.model, run.tasks

    def serve(*raws):
        tensors, error = decode(*raws)
        told = answers(tasks, network(tensors, training=False))
        present = [tensors[f"{name}_present"] for name in names]
        return told | {"present": tf.stack(present, axis=1), "error": error}

    return serve


def _answering_tensors(run, specs):
    network, tasks = run.model, run.tasks

    def serve(*given):
        tensors = {spec.name: one for spec, one in zip(specs, given, strict=True)}
        return answers(tasks, network(tensors, training=False))

    return serve


def _telling_features(run, decode):
    network = features_model(run)

    def serve(*raws):
        return {"features": network(decode(*raws)[0], training=False)}

    return serve


def _named_faults(decoder, faults):
    """What is wrong with an input as sentences, a list of (batch,) strings."""
    names = [decoder.name] if decoder.is_file else decoder.signatures
    columns = tf.unstack(tf.reshape(faults, (-1, len(names))), axis=1)
    return [
        tf.where(fault == "", "", tf.strings.join([f"{name}: ", fault, "."]))
        for name, fault in zip(names, columns, strict=True)
    ]
