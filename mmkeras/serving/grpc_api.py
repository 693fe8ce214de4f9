"""The gRPC API with the official stubs.

Predict, Classify, Regress, GetModelMetadata and GetModelStatus.
"""

from concurrent import futures

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from mmkeras.client.grpc_api import TENSORS, stubs
from mmkeras.serving import examples
from mmkeras.serving.models import Refusal, is_text
from mmkeras.serving.rest import MB, THREADS

TYPES = {name: (number, field) for number, (field, name) in TENSORS.items()}


def start(versions, address, *, max_mb=64):
    """A running gRPC server; all else of the services is UNIMPLEMENTED.

    Args:
        versions: `models.Versions`.
        address: `host:port`; port 0 takes a free one.
        max_mb: of a request; larger ones are RESOURCE_EXHAUSTED.

    Returns:
        (grpc.Server, its port).

    Raises:
        ImportError: `tensorflow-serving-api` is not installed.
        OSError: the port is taken.
    """
    apis = stubs()
    server = apis.grpc.server(
        futures.ThreadPoolExecutor(THREADS),
        options=[
            ("grpc.max_receive_message_length", max_mb * MB),
            ("grpc.so_reuseport", 0),  # or a second server would get half the calls
        ],
    )
    prediction = apis.prediction.PredictionServiceServicer()
    prediction.Predict = _method(apis, versions, _predict)
    prediction.Classify = _method(apis, versions, _classify)
    prediction.Regress = _method(apis, versions, _regress)
    prediction.GetModelMetadata = _method(apis, versions, _metadata)
    models = apis.models.ModelServiceServicer()
    models.GetModelStatus = _method(apis, versions, _status)
    apis.prediction.add_PredictionServiceServicer_to_server(prediction, server)
    apis.models.add_ModelServiceServicer_to_server(models, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error
    server.start()
    return server, port


def _method(apis, versions, answer):
    """A service's method of an answer; what is refused becomes a status."""

    def call(request, context):
        try:
            return answer(apis, versions, request)
        except Refusal as refusal:
            context.abort(
                getattr(apis.grpc.StatusCode, refusal.code, None)
                or apis.grpc.StatusCode.UNKNOWN,
                str(refusal),
            )

    return call


def _spec(request):
    """(model, version, label) that a request names."""
    spec = request.model_spec
    if not spec.name:
        raise Refusal("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    version = spec.version.value if spec.HasField("version") else None
    label = spec.version_label if spec.HasField("version_label") else None
    return spec.name, version, label


def _predict(apis, versions, request):
    loaded = versions.pick(*_spec(request))
    signature = _signature(request)
    if signature not in loaded.signatures:
        raise Refusal(
            "FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.'
        )
    inputs = loaded.inputs(signature)
    columns = {
        name: _array(name, tensor, inputs) for name, tensor in request.inputs.items()
    }
    outputs = loaded.answer(columns, signature)
    response = apis.predict.PredictResponse()
    _say_who(response, request, loaded)
    for name in _filtered(request.output_filter, outputs):
        response.outputs[name].CopyFrom(_tensor(outputs[name]))
    return response


def _classify(apis, versions, request):
    response = apis.classification.ClassificationResponse()
    for row in _of_examples(versions, request, response, "classify"):
        told = response.result.classifications.add()
        for label, score in row:
            told.classes.add(label=label, score=score)
    return response


def _regress(apis, versions, request):
    response = apis.regression.RegressionResponse()
    for value in _of_examples(versions, request, response, "regress"):
        response.result.regressions.add(value=value)
    return response


def _of_examples(versions, request, response, method):
    """What is told of rows of tf.Example; the response says who tells it."""
    loaded = versions.pick(*_spec(request))
    rows = examples.of_input(request.input)
    told = examples.answer(loaded, _signature(request), method, rows)
    _say_who(response, request, loaded)
    return told


def _signature(request):
    return request.model_spec.signature_name or "serving_default"


def _say_who(response, request, loaded):
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = loaded.version
    response.model_spec.signature_name = _signature(request)


def _metadata(apis, versions, request):
    if list(request.metadata_field) != ["signature_def"]:
        raise Refusal(
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify the metadata_field signature_def, "
            f"and no other. Got {list(request.metadata_field)}",
        )
    loaded = versions.pick(*_spec(request))
    response = apis.metadata.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = loaded.version
    held = apis.metadata.SignatureDefMap()
    for name, each in loaded.signatures.items():
        held.signature_def[name].CopyFrom(each)
    response.metadata["signature_def"].Pack(held)
    return response


def _status(apis, versions, request):
    model, version, _ = _spec(request)
    response = apis.status.GetModelStatusResponse()
    kind = apis.status.ModelVersionStatus.State
    for number, state, code, message in versions.status(model, version):
        told = response.model_version_status.add()
        told.version = number
        told.state = kind.Value(state)
        told.status.error_code = getattr(apis.grpc.StatusCode, code).value[0]
        told.status.error_message = message
    return response


def _array(name, tensor, inputs):
    """A TensorProto as an array of bytes objects."""
    if name in inputs and not is_text(inputs[name]):
        raise Refusal("UNIMPLEMENTED", f"input {name} is no string")
    try:
        array = tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise Refusal("INVALID_ARGUMENT", f"tensor parsing error: {name}") from error
    if array.dtype != object:
        raise Refusal(
            "INVALID_ARGUMENT",
            f"input {name} must be DT_STRING, was {array.dtype.name}",
        )
    return array


def _tensor(array):
    """An array as a TensorProto with typed values, as TensorFlow Serving sends it."""
    number, field = TYPES[array.dtype.name]
    tensor = tensor_pb2.TensorProto(dtype=number)
    for size in np.shape(array):
        tensor.tensor_shape.dim.add().size = size
    getattr(tensor, field).extend(array.ravel().tolist())
    return tensor


def _filtered(wanted, outputs):
    """Names of the outputs to send: those that the request wants, or all."""
    for name in wanted:
        if name not in outputs:
            raise Refusal(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {name} Outputs expected "
                f"to be in the set {{{','.join(sorted(outputs))}}}.",
            )
    return wanted or sorted(outputs)
