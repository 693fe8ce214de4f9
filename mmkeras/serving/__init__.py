"""A development server that speaks TensorFlow Serving's contract.

    from mmkeras.serving import models, server

    with server.Server(models.Versions("served", name="pets")) as running:
        print(running.url)

REST as tensorflow_serving/model_servers/http_rest_api_handler.cc and
tensorflow_serving/util/json_tensor.cc have it, gRPC with the official stubs; errors
have Serving's codes and words. A page at `/` asks the model by hand.

HTTP is left to Starlette and uvicorn, both in the extra `serving`: what malformed
requests, slow senders, keep-alive and a shutdown with requests in flight need has been
worked out there, and the standard library's server says itself that it is not for that.

Files: `models` the versions of a folder, `tensors` JSON and tensors, `examples` rows as
tf.Example, `rest` and `grpc_api` the two APIs, `page` the page, `server` the sockets
and their end.
"""

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the development server needs: pip install 'mmkeras[serving]'"
    ) from error
