"""The files beside the versions: what a server and its first client are started with.

`tensorflow/serving` looks for numbers in a model's folder and for nothing else, so they
may stand there.
"""

import base64
import json
import os

import tensorflow as tf

# Sizes of a batch that a server forms; it pads up to the next one.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# How long a request waits for others to share its batch, microseconds.
BATCH_TIMEOUT_US = 2000
# TensorFlow whose operations a server must have.
LEAST_SERVER = "2.20"

MODELS = """\
# One model, for --model_config_file. Its newest version is served; for more of them see
# model_version_policy in TensorFlow Serving's configuration guide.
model_config_list {
  config {
    name: "$name"
    base_path: "/models/$name"
    model_platform: "tensorflow"
  }
}
"""
BATCHING = """\
# For --batching_parameters_file. A request of more rows than max_batch_size is refused;
# the last allowed size must be max_batch_size.
max_batch_size { value: $most }
batch_timeout_micros { value: $timeout }
max_enqueued_batches { value: 100 }
$sizes
"""
MONITORING = """\
# For --monitoring_config_file: metrics at the REST port, for Prometheus.
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""
COMPOSE = """\
# docker compose up, in this folder; then, to ask it:
#   curl -d @request.json localhost:8501/v1/models/$name:predict
#
# The image must hold TensorFlow Serving $least or newer: its releases lag behind those
# of TensorFlow, and this model was written by TensorFlow $tensorflow.
services:
  serving:
    image: tensorflow/serving
    ports:
      - "8500:8500"  # gRPC
      - "8501:8501"  # REST, and metrics at /monitoring/prometheus/metrics
    volumes:
      - .:/models/$name:ro
    command:
      - --model_config_file=/models/$name/models.config
      - --enable_batching=true
      - --batching_parameters_file=/models/$name/batching.config
      - --monitoring_config_file=/models/$name/monitoring.config
    restart: unless-stopped
"""


def contents(name, columns):
    """What is written.

    Args:
        name: of the model.
        columns: {served name: list of bytes}, one row or more.

    Returns:
        {name of a file: its text}.
    """
    filled = {
        "models.config": MODELS,
        "batching.config": BATCHING,
        "monitoring.config": MONITORING,
        "compose.yaml": COMPOSE,
    }
    values = {
        "$name": name,
        "$most": str(BATCH_SIZES[-1]),
        "$timeout": str(BATCH_TIMEOUT_US),
        "$sizes": "\n".join(f"allowed_batch_sizes: {size}" for size in BATCH_SIZES),
        "$least": LEAST_SERVER,
        "$tensorflow": tf.__version__,
    }
    for mark, value in values.items():
        filled = {file: text.replace(mark, value) for file, text in filled.items()}
    request = json.dumps({"instances": [_instance(columns)]}, ensure_ascii=False)
    return {**filled, "request.json": f"{request}\n"}


def write(folder, work, files):
    """Writes files, each whole or not at all.

    Args:
        folder: where they stand in the end; those of an earlier export are replaced.
        work: a folder on the same disk.
        files: see `contents`.
    """
    for name, text in files.items():
        (work / name).write_text(text, encoding="utf-8")
        os.replace(work / name, folder / name)


def _instance(columns):
    """The fullest row, of those the smallest, as REST takes it."""
    rows = [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]
    row = min(rows, key=lambda row: (-sum(map(bool, row.values())), _size(row)))
    return {name: _value(name, raw) for name, raw in row.items()}


def _size(row):
    return sum(map(len, row.values()))


def _value(name, raw):
    """Bytes of files, and texts that are no UTF-8, as base64."""
    if raw and not name.endswith("_bytes"):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(raw).decode("ascii")} if raw else ""
