"""LiteRT (TensorFlow Lite): float, and with weights and products in eight bits.

One row a call: with any number of rows the converter cannot write out loops. The
eight-bit file computes convolutions and products of matrices in int8, its scales
measured on a calibration set. All else stays float: a decibel's power spans a hundred
thousand millions, a mask's "nothing here" is -60,000, and one scale of 256 steps over
either leaves nothing of the rest.
"""

import tensorflow as tf

from mmkeras.formats import graph

PACKAGES, EXTRA = (), ""
FILES = {"litert": "model.tflite", "litert int8": "model_int8.tflite"}
# What is computed in eight bits.
PRODUCTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"}


def make(run, folder, calibration):
    """Writes `model.tflite`, and with calibration rows `model_int8.tflite`."""
    whole = _converter(run, graph.numbers(run, batch=1)).convert()
    (folder / FILES["litert"]).write_bytes(whole)
    if not calibration:
        return {"litert": FILES["litert"]}
    (folder / FILES["litert int8"]).write_bytes(_in_int8(run, calibration))
    return FILES


def _converter(run, concrete):
    # With the model the file has a signature: names of what it takes and gives.
    made = tf.lite.TFLiteConverter.from_concrete_functions([concrete], run.model)
    # Off, constants stay constants, in loops too.
    made.experimental_enable_resource_variables = False
    return made


def _in_int8(run, calibration):
    names = [spec.name for spec in graph.specs(run)]
    count = len(next(iter(calibration.values())))

    def rows():
        for at in range(count):
            yield {name: calibration[name][at : at + 1] for name in names}

    with graph.without_loops(run.model):
        concrete = graph.numbers(run, batch=1)
    every = _operations(_converter(run, concrete).convert())
    pattern = graph.spectral(run.model)
    spectral = [name for op, name in every if op in PRODUCTS and pattern.search(name)]
    converter = _converter(run, concrete)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = rows
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=sorted({op for op, _ in every} - PRODUCTS),
        denylisted_nodes=spectral,
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=rows, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def _operations(content):
    """(its kind, the name of its first output) of each operation of a file."""
    interpreter = tf.lite.Interpreter(model_content=content)
    names = {each["index"]: each["name"] for each in interpreter.get_tensor_details()}
    return [
        (each["op_name"], names.get(each["outputs"][0], ""))
        for each in interpreter._get_ops_details()
        if len(each["outputs"])
    ]


def loaded(run, path):
    """A function {key: array} -> {served name: array}; see `making`."""
    import numpy as np

    interpreter = tf.lite.Interpreter(model_path=str(path))
    call = interpreter.get_signature_runner()

    def ask(tensors):
        count = len(next(iter(tensors.values())))
        told = [
            call(**{key: each[at : at + 1] for key, each in tensors.items()})
            for at in range(count)
        ]
        return {key: np.concatenate([row[key] for row in told]) for key in told[0]}

    return ask
