"""TensorFlow Serving's gRPC API: PredictionService and ModelService."""

import math
import types
import urllib.parse

from mmkeras.client.error import BROKEN, HTTP_CODES, TIMED_OUT, ServerError
from mmkeras.client.rows import as_bytes

# Of a TensorProto: number of its type, (field of the values, name in numpy).
TENSORS = {
    1: ("float_val", "float32"),
    2: ("double_val", "float64"),
    3: ("int_val", "int32"),
    7: ("string_val", "object"),
    9: ("int64_val", "int64"),
    10: ("bool_val", "bool"),
}
STRING = 7
# What gRPC's library says of a port where something else answers.
NO_GRPC = "Failed parsing HTTP/2"


class Grpc:
    """One model over one channel, which threads share.

    Args:
        server: `grpc://host:port`, not encrypted.
        model: its name.
        version: int, a label, or None.
        timeout_seconds: of one question.
    """

    def __init__(self, server, model, version, timeout_seconds):
        self.apis = stubs()
        self.model, self.version = model, version
        self.timeout_seconds = timeout_seconds
        channel = self.apis.grpc.insecure_channel(
            urllib.parse.urlsplit(server).netloc,
            # 4 MB by default; and as over REST no proxy of the environment is asked.
            [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)],
        )
        self.prediction = self.apis.prediction.PredictionServiceStub(channel)
        self.models = self.apis.models.ModelServiceStub(channel)

    def predict(self, rows, signature):
        """See `Client.predict`."""
        request = self.apis.predict.PredictRequest()
        request.model_spec.signature_name = signature
        if not isinstance(rows, dict):
            rows = {name: [row[name] for row in rows] for name in rows[0]}
        for name, values in rows.items():
            tensor = request.inputs[name]
            tensor.dtype = STRING
            tensor.tensor_shape.dim.add().size = len(values)
            tensor.string_val.extend(map(as_bytes, values))
        outputs = self._call(self.prediction.Predict, request).outputs
        return {name: _values(name, tensor) for name, tensor in outputs.items()}

    def status(self):
        """See `Client.status`."""
        request = self.apis.status.GetModelStatusRequest()
        found = self._call(self.models.GetModelStatus, request)
        return [
            {
                "version": each.version,
                "state": type(each).State.Name(each.state),
                "error": each.status.error_message,
            }
            for each in found.model_version_status
        ]

    def metadata(self):
        """See `Client.metadata`."""
        request = self.apis.metadata.GetModelMetadataRequest()
        request.metadata_field.append("signature_def")
        found = self._call(self.prediction.GetModelMetadata, request)
        held = self.apis.metadata.SignatureDefMap()
        found.metadata["signature_def"].Unpack(held)
        return {
            "version": found.model_spec.version.value,
            "signatures": {
                name: {
                    "inputs": _shapes(each.inputs),
                    "outputs": _shapes(each.outputs),
                }
                for name, each in held.signature_def.items()
            },
        }

    def _call(self, method, request):
        request.model_spec.name = self.model
        if isinstance(self.version, str):
            request.model_spec.version_label = self.version
        elif self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=self.timeout_seconds)
        except self.apis.grpc.RpcError as error:
            code = HTTP_CODES.get(error.code().name, 500)
            said = f"the server answers: {error.details()}"
            if code == TIMED_OUT:
                said = f"no answer in {self.timeout_seconds:g} s"
            if NO_GRPC in said:  # somebody is there, so it is no use to wait for him
                code, said = BROKEN, "what answers there speaks no gRPC"
            raise ServerError(code, said) from error


def stubs():
    """The official stubs and grpc itself, as attributes."""
    try:
        import grpc
        from tensorflow_serving.apis import (
            classification_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
            regression_pb2,
        )
    except ImportError as error:
        raise ImportError(
            "grpc:// needs: pip install 'mmkeras[serving]'. http:// needs nothing"
        ) from error
    return types.SimpleNamespace(
        grpc=grpc,
        classification=classification_pb2,
        regression=regression_pb2,
        metadata=get_model_metadata_pb2,
        status=get_model_status_pb2,
        models=model_service_pb2_grpc,
        predict=predict_pb2,
        prediction=prediction_service_pb2_grpc,
    )


def _shapes(tensors):
    found = {}
    for name, each in tensors.items():
        kinds = each.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
        shape = [dim.size for dim in each.tensor_shape.dim]
        found[name] = {"dtype": kinds[each.dtype].name, "shape": shape}
    return found


def _values(name, tensor):
    """A TensorProto as nested lists."""
    import numpy as np

    field, kind = TENSORS[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, kind)
    else:
        values = np.array(list(getattr(tensor, field)), kind)
    if values.size == 1:  # one value may stand for all
        values = np.repeat(values, math.prod(shape))
    if tensor.dtype == STRING and not name.endswith("_bytes"):
        values = np.array([each.decode("utf-8", "replace") for each in values], object)
    return values.reshape(shape).tolist()
