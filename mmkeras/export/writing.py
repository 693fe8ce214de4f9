"""The folder of a version: graph, weights, labels, and requests to warm a server up."""

import errno
import itertools
import os

import keras
import tensorflow as tf

from mmkeras.export import beside, signatures

WARM_UP = "tf_serving_warmup_requests"
# Of one request; a batch of photos is filled up with empty rows beyond.
WARM_UP_BYTES = 8 * 2**20


def version(run, target, endpoints):
    """Writes the SavedModel and what it tells of itself.

    Args:
        run: a `run.Run`.
        target: path of the folder that is made.
        endpoints: see `signatures.endpoints`.
    """
    archive = keras.export.ExportArchive()
    archive.track(run.model)
    for decoder in run.decoders.values():
        for resource in decoder.resources:
            archive.track(resource)
    for name, (function, specs) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(target), verbose=False)
    extra = target / "assets.extra"
    extra.mkdir(exist_ok=True)
    run.write_json(extra / "labels.json", run.labels)
    run.write_json(extra / "inputs.json", signatures.inputs(run))
    run.write_json(extra / "manifest.json", signatures.table_keys(run))
    run.write_json(extra / "packages.json", signatures.packages(run))


def placed(target, folder):
    """Moves a version's folder to where it is served, under the next free number.

    Args:
        target: path of the version's folder, on the same disk.
        folder: of all versions.

    Returns:
        Its path there. The number is the one that `target` is called by, or a later one
        where another export was done meanwhile.
    """
    for number in itertools.count(int(target.name)):
        try:
            os.rename(target, folder / str(number))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return folder / str(number)


def warm_up(target, name, columns, log):
    """Writes `assets.extra/tf_serving_warmup_requests`, which a server runs at loading.

    One request for each batch size of `beside.BATCH_SIZES`, so that the first client
    waits for nothing that is made at the first call.

    Args:
        target: path of the version's folder.
        name: of the model.
        columns: {served name: list of bytes}, one row or more; taken in turn.
        log: told where `tensorflow-serving-api` is not installed; nothing is written.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        log(
            "export: no warm-up requests, the server's first answers will be slow. For "
            "them: pip install 'mmkeras[serving]'"
        )
        return
    with tf.io.TFRecordWriter(str(target / "assets.extra" / WARM_UP)) as file:
        for size in beside.BATCH_SIZES:
            record = prediction_log_pb2.PredictionLog()
            request = record.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = "serving_default"
            for key, values in _batch(columns, size).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values, tf.string))
            file.write(record.SerializeToString())


def _batch(columns, size):
    """`size` rows, {served name: list of bytes}; the first again where they end."""
    count = len(next(iter(columns.values())))
    batch, total = {name: [] for name in columns}, 0
    for at in range(size):
        row = {name: values[at % count] for name, values in columns.items()}
        total += sum(map(len, row.values()))
        for name, value in row.items():
            batch[name].append(value if total <= WARM_UP_BYTES else b"")
    return batch
