"""One format of one run: made, loaded, asked real rows, measured.

Run as `python -m mmkeras.formats.making asked.json`, in a process of its own: a
converter that fails may take its process with it. It prints one JSON document.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from mmkeras import run
from mmkeras.formats import graph, keras_file, litert, onnx_file, openvino_file

# Each has `PACKAGES`, their `EXTRA`, `FILES`, `make(run, folder, calibration)`, which
# gives {what: name of the file}, and `loaded(run, path)`, which gives a function of
# {key: (rows, ...) array} -> {output: (rows, ...) array}.
MAKERS = {
    "keras": keras_file,
    "onnx": onnx_file,
    "litert": litert,
    "openvino": openvino_file,
}
# Other runtimes add up in another order than TensorFlow, in all layers.
TOLERANCE = 1e-4
# Half precision rounds otherwise in every runtime.
HALF_TOLERANCE = 5e-2
# Of rows on which an eight-bit model must tell the same class.
LEAST_AGREEMENT = 0.95
LATENCY_CALLS = 30


def make(asked):
    """Makes a format and measures it.

    Args:
        asked: {"run": its folder, "format": one of `MAKERS`, "folder": where files are
            written, "rows": .npz of the decoders' tensors, "expected": {"outputs",
            "answers": .npz of what the trained model gives, raw and as served},
            "truth": .npz, see `accuracy`, "calibration": .npz of tensors, or None}.

    Returns:
        A list of {"what", "file", "bytes", "rows", "max_difference" (of values above
        one the relative one), "agreement" (share of rows with the same best class and
        the same word on abstaining; None where there are neither), "accuracy" and
        "trained_accuracy" (of this file and of the trained model, see `accuracy`),
        "latency_ms" (median of one row), "refused": why it is not kept, or ""}.
    """
    trained, folder = run.open_folder(asked["run"]), Path(asked["folder"])
    maker = MAKERS[asked["format"]]
    calibration = _arrays(asked["calibration"]) if asked["calibration"] else {}
    tensors = _arrays(asked["rows"])
    which = "outputs" if asked["format"] == "keras" else "answers"
    expected, truth = _arrays(asked["expected"][which]), _arrays(asked["truth"])
    half = trained.recipe.train.precision.startswith("mixed")
    found = []
    for what, name in maker.make(trained, folder, calibration).items():
        ask = maker.loaded(trained, folder / name)
        answers = ask(tensors)
        measured = compared(answers, expected)
        found.append(
            {
                "what": what,
                "file": name,
                "bytes": size(folder / name),
                **measured,
                "accuracy": accuracy(answers, truth),
                "trained_accuracy": accuracy(expected, truth),
                "latency_ms": latency_ms(ask, tensors) if which == "answers" else None,
                "refused": refusal(what, measured, half),
            }
        )
    return found


def compared(got, expected):
    """How answers differ, see `make`.

    Args:
        got: {output: (rows, ...) array}.
        expected: the same of the trained model.

    Raises:
        ValueError: other outputs, other shapes, or what is no number.
    """
    if set(got) != set(expected):
        raise ValueError(f"it gives {sorted(got)}, expected were {sorted(expected)}")
    most, agreed = 0.0, []
    for key, wanted in expected.items():
        if got[key].shape != wanted.shape or not np.isfinite(got[key]).all():
            shapes = f"{got[key].shape}, expected was {wanted.shape}"
            raise ValueError(f"`{key}` is not finite or has the shape {shapes}")
        if wanted.dtype == bool:
            agreed.append(float((got[key] == wanted).mean()))
            continue
        apart = np.abs(got[key] - wanted) / np.maximum(1, np.abs(wanted))
        most = max(most, float(apart.max()))
        if wanted.ndim == 2 and not key.endswith("embedding"):
            same = got[key].argmax(axis=1) == wanted.argmax(axis=1)
            agreed.append(float(same.mean()))
    return {
        "rows": len(next(iter(expected.values()))),
        "max_difference": most,
        "agreement": min(agreed, default=None),
    }


def accuracy(answers, truth):
    """The share of rows whose best class is the true one.

    Args:
        answers: {output: (rows, ...) array}.
        truth: {output of a classification: (rows,) position of the true class, -1 in a
            row where it is not known}; others of `answers` are left out.

    Returns:
        In [0, 1], of several targets that of the one told worst; None where there is
        nothing to compare.
    """
    shares = [
        float((answers[key].argmax(axis=1) == places)[places >= 0].mean())
        for key, places in truth.items()
        if key in answers and (places >= 0).any()
    ]
    return min(shares, default=None)


def refusal(what, measured, half=False):
    """Why a file is not kept; "" where it is.

    Args:
        what: it is, as `litert int8`.
        measured: see `compared`.
        half: whether the run computes in half precision.
    """
    if what.endswith("int8"):
        agreement = measured["agreement"]
        if agreement is not None and agreement < LEAST_AGREEMENT:
            return (
                f"it tells the class of the trained model on {agreement:.1%} of "
                f"{measured['rows']} rows, less than {LEAST_AGREEMENT:.0%}"
            )
        return ""
    most = HALF_TOLERANCE if half else TOLERANCE
    if measured["max_difference"] <= most:
        return ""
    return (
        f"its answers differ from the trained model's by "
        f"{measured['max_difference']:.2g}, more than {most:g}"
    )


def size(path):
    """Bytes of a file, and of the weights beside a `.xml`."""
    beside = path.with_suffix(".bin") if path.suffix == ".xml" else None
    return path.stat().st_size + (beside.stat().st_size if beside else 0)


def latency_ms(ask, tensors):
    """Median of one row a call, milliseconds."""
    row = {key: each[:1] for key, each in tensors.items()}
    took = []
    for _ in range(LATENCY_CALLS):
        began = time.perf_counter()
        ask(row)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def _arrays(path):
    with np.load(path) as held:
        return dict(held)


def told(run_):
    """What the files take, {key: dtype and shape without the batch}."""
    return {spec.name: [spec.dtype.name, *spec.shape[1:]] for spec in graph.specs(run_)}


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(make(json.load(file))))
