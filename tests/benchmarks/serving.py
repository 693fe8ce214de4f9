"""What serving costs, and whether a server holds out.

    mmkeras train pipelines/recipes/three_modalities.yaml --set data.manifest=MANIFEST
    mmkeras export runs/three_modalities served
    python tests/benchmarks/serving.py runs/three_modalities served MANIFEST

One raw row with all inputs through `serving_default` in this process, against decoding
and the bare model called one after the other: p50, p99, and the first call behind the
export's warm-up requests. A batch of 64 raw rows against the training pipeline's
decoding and the model, both of all test rows. `mmkeras predict` of the test rows. The
same row over REST and gRPC. Then `mmkeras serve` as a process of its own, 16 clients at
once, half over REST and half over gRPC, one row in twenty with a malformed picture:
what failed, and how the server's memory grew after the first ten seconds. --parts names
some of these.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from mmkeras import answering, dataset, export, manifest, run
from mmkeras.client import Client, ServerError
from mmkeras.export.writing import WARM_UP

CLIENTS, MALFORMED, SETTLED_SECONDS = 16, 0.05, 10
BATCH = 64
PARTS = ["row", "batch", "predict", "server"]


def main():
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("export")
    parser.add_argument("manifest")
    parser.add_argument("--calls", type=int, default=300, help="of one row")
    parser.add_argument("--seconds", type=float, default=60, help="of 16 clients")
    parser.add_argument(
        "--parts", nargs="+", default=PARTS, choices=PARTS, help="all where left out"
    )
    options = parser.parse_args()
    trained = run.open_folder(options.run)
    data = trained.recipe.data.model_copy(update={"manifest": options.manifest})
    rows = manifest.read(data).split("test")
    columns = export.raw_columns(trained, rows)
    every = zip(*columns.values(), strict=True)
    raw = [dict(zip(columns, row, strict=True)) for row in every]
    row = next(row for row in raw if all(row.values()))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if "row" in options.parts:
        alone(trained, options.export, row, options.calls)
    if "batch" in options.parts:
        batches(trained, options.export, rows, columns)
    if "predict" in options.parts:
        predicting(options.export, rows)
    if "server" in options.parts:
        serving(options, raw, row)


def serving(options, raw, row):
    """The development server, asked by one client and by many."""
    with server(options.export) as (process, urls):
        clients = [Client(url, timeout_seconds=30, retries=0) for url in urls]
        rest, grpc = clients
        timed(
            {
                "REST, one client": lambda: rest.predict([row]),
                "gRPC, one client": lambda: grpc.predict([row]),
            },
            options.calls,
        )
        together(process, clients, raw, options.seconds)


def batches(trained, folder, rows, columns):
    """Rows a second by batches of 64 raw rows, and by the training pipeline."""
    ask = export.answering(export.newest(folder))
    parts = [
        {name: values[at : at + BATCH] for name, values in columns.items()}
        for at in range(0, len(rows) - BATCH + 1, BATCH)
    ]
    network = tf.function(lambda given: trained.model(given, training=False))

    def served():
        for part in parts:
            ask(part)

    loaded, _ = dataset.load(rows, trained.decoders, cache_mb=0)  # decoded each time
    batched = dataset.ordered(loaded, len(parts) * BATCH, BATCH)

    def pipeline():
        for given in batched:
            network(given)

    took = timed({"served, all rows": served, "pipeline, all rows": pipeline}, 5, 1)
    rates = {name: len(parts) * BATCH / np.median(each) for name, each in took.items()}
    one, other = rates.values()
    print(
        f"batches of {BATCH}: {one:.0f} rows a second served, {other:.0f} by the "
        f"training pipeline: {one / other:.2f}"
    )


def predicting(folder, rows):
    """`mmkeras predict --out` of the rows, loaded; the median of five."""
    source = answering.source(folder)
    asked = answering.questions(source, rows.path)
    asked = dataclasses.replace(asked, frame=asked.frame.loc[rows.frame.index])
    source.ready()
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/answers.parquet"
        write = lambda: answering.write(source, asked, out)  # noqa: E731
        began = time.process_time()
        (took,) = timed({"predict, all rows": write}, 5, 1).values()
        of_cores = (time.process_time() - began) / 6
    print(
        f"predict: {len(asked)} rows, {len(asked) / np.median(took):.0f} a second; "
        f"{1000 * of_cores / len(asked):.2f} ms of a core each"
    )


def alone(trained, folder, row, calls):
    """The served graph against its parts, in this process."""
    loaded = tf.saved_model.load(str(export.newest(folder)))
    serve = loaded.signatures["serving_default"]
    tensors = {name: tf.constant([value]) for name, value in row.items()}

    @tf.function
    def decode(given):
        decoded = {}
        for decoder in trained.decoders.values():
            own = [given[name] for name in decoder.signatures]
            raw = tf.stack(own, axis=1) if len(own) > 1 else own[0]
            decoded |= decoder.attempt_batch(raw)[0]
        return decoded

    model = trained.model  # loaded here, not while the graph is made
    bare = tf.function(lambda decoded: model(decoded, training=False))
    decoded = decode(tensors)
    took = timed(
        {
            "decode": lambda: decode(tensors),
            "bare model": lambda: bare(decoded),
            "serving_default": lambda: serve(**tensors),
        },
        calls,
    )
    first = np.median([warmed(folder, tensors) for _ in range(3)])
    p50, p99 = (np.percentile(took["serving_default"], share) for share in (50, 99))
    print(
        f"serving_default: p99 / p50 {p99 / p50:.2f}; the first call after the warm-up "
        f"{1000 * first:.2f} ms, {first / p50:.2f} times p50"
    )
    for share in (50, 99):
        p = {name: np.percentile(each, share) for name, each in took.items()}
        ratio = p["serving_default"] / (p["decode"] + p["bare model"])
        print(f"serving_default / (decode + bare model), p{share}: {ratio:.2f}")


def warmed(folder, tensors):
    """Seconds of the first call of a model whose warm-up requests were answered."""
    newest = export.newest(folder)
    serve = tf.saved_model.load(str(newest)).signatures["serving_default"]
    for record in tf.data.TFRecordDataset(str(newest / "assets.extra" / WARM_UP)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        asked = log.predict_log.request.inputs
        serve(
            **{name: tf.constant(tf.make_ndarray(one)) for name, one in asked.items()}
        )
    began = time.perf_counter()
    serve(**tensors)
    return time.perf_counter() - began


@contextlib.contextmanager
def server(folder):
    """`mmkeras serve`: (its process, [URL of REST, URL of gRPC])."""
    code = "import sys; from mmkeras import cli; sys.exit(cli.main(sys.argv[1:]))"
    arguments = ["serve", folder, "--name", "m", "--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        for told in process.stderr:
            if " at http://" in told:
                break
        rest, grpc = told.split(" at ")[1].split(";")[0].split(", ")
        yield psutil.Process(process.pid), [rest, f"{grpc}/v1/models/m"]
    finally:
        process.terminate()
        process.communicate()


def together(process, clients, raw, seconds):
    """All clients at once; failures, and the growth of the server's memory."""
    until = time.monotonic() + seconds
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [
            pool.submit(asking, clients[at % 2], raw, until, at)
            for at in range(CLIENTS)
        ]
        time.sleep(min(SETTLED_SECONDS, seconds / 2))
        settled = process.memory_info().rss
        took = sum((job.result()[0] for job in jobs), [])
        failures = sum((job.result()[1] for job in jobs), [])
    grown = process.memory_info().rss - settled
    line(f"{CLIENTS} clients", took)
    print(
        f"{len(took)} answers in {seconds:g} s, {len(took) / seconds:.0f} a second; "
        f"failures: {len(failures)} {failures[:3] or ''}\n"
        f"memory: {settled / 2**20:.0f} MB after {SETTLED_SECONDS} s, then "
        f"{grown / 2**20:+.1f} MB ({grown / settled:+.1%})"
    )


def asking(client, raw, until, seed):
    """Asks row after row: (seconds of each answer, what failed)."""
    luck, took, failures = random.Random(seed), [], []
    broken = next(name for name in raw[0] if name.endswith("_bytes"))
    while time.monotonic() < until:
        row, bad = luck.choice(raw), luck.random() < MALFORMED
        if bad:
            row = {**row, broken: b"\x89PNG\r\n\x1a\n" + luck.randbytes(40)}
        began = time.perf_counter()
        try:
            error = client.predict([row])["error"][0]
        except ServerError as failed:
            failures.append(str(failed))
            continue
        took.append(time.perf_counter() - began)
        if bad != bool(error):
            failures.append(f"malformed {bad}, error {error!r}")
    return took, failures


def timed(functions, calls, warm_up=10):
    """{name: seconds of each call}; in turn, so that what else runs slows all alike."""
    took = {name: [] for name in functions}
    for _ in range(calls + warm_up):
        for name, call in functions.items():
            began = time.perf_counter()
            call()
            took[name].append(time.perf_counter() - began)
    took = {name: each[warm_up:] for name, each in took.items()}
    for name, each in took.items():
        line(name, each)
    return took


def line(name, took):
    """p50 and p99 in milliseconds."""
    p50, p99 = (1000 * np.percentile(took, share) for share in (50, 99))
    print(f"{name:20} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")


if __name__ == "__main__":
    main()
