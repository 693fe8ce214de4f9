"""ONNX by tf2onnx, asked with ONNX Runtime."""

import numpy as np
import tensorflow as tf

from mmkeras.formats import graph

PACKAGES, EXTRA = ("onnx", "onnxruntime", "tf2onnx"), "onnx"
FILES = {"onnx": "model.onnx"}
OPSET = 18


def make(run, folder, calibration):
    """Writes `model.onnx`; see `making`."""
    import onnx
    import tf2onnx

    with graph.without_transforms(run.model):
        concrete = graph.numbers(run)
        function = tf.function(
            lambda *given: concrete(*given), input_signature=graph.specs(run)
        )
        made, _ = tf2onnx.convert.from_function(
            function,
            input_signature=graph.specs(run),
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
        captured = function.get_concrete_function().graph.captures
    # Constants of a functional model come in from outside; tf2onnx asks for them.
    held = {inner.name: outer.numpy() for outer, inner in captured}
    asked = [each for each in made.graph.input if each.name not in held]
    for name, value in held.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    del made.graph.input[:]
    made.graph.input.extend(asked)
    onnx.save(made, str(folder / FILES["onnx"]))
    return FILES


def loaded(run, path):
    """A function {key: array} -> {served name: array}; see `making`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    keys = [each.name for each in session.get_inputs()]

    def ask(tensors):
        given = {key: tensors[key] for key in keys}
        return dict(zip(names, session.run(names, given), strict=True))

    return ask


def _erfc(context, node, name, _):
    """TensorFlow's Erfc, of which tf2onnx knows nothing, as 1 - Erf."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.float32(1)).output[0]
    made = node.output[0]
    rest = context.insert_new_node_on_output("Sub", made, name=f"{name}_rest")
    context.replace_inputs(rest, [one, made])
