"""OpenVINO's intermediate representation, asked on the CPU."""

from mmkeras.formats import graph

PACKAGES, EXTRA = ("openvino",), "openvino"
FILES = {"openvino": "model.xml"}


def make(run, folder, calibration):
    """Writes `model.xml` and `model.bin`; see `making`."""
    import openvino

    concrete = graph.numbers(run)
    made = openvino.convert_model(concrete)
    names = [spec.name for spec in graph.specs(run)]
    for port, name in zip(made.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    # TensorFlow gives a dict in the order of its keys.
    for port, name in zip(
        made.outputs, sorted(concrete.structured_outputs), strict=True
    ):
        port.get_tensor().set_names({name})
    openvino.save_model(made, folder / FILES["openvino"], compress_to_fp16=False)
    return FILES


def loaded(run, path):
    """A function {key: array} -> {served name: array}; see `making`."""
    import openvino

    # Where the processor has bfloat16 OpenVINO computes in it unless told not to.
    compiled = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda tensors: {
        port.get_any_name(): value for port, value in compiled(tensors).items()
    }
