"""What a fit took: seconds, memory, and how long its steps waited for rows."""

import re
import resource
import sys
import time
from pathlib import Path

import keras
import tensorflow as tf


class Measured(keras.callbacks.Callback):
    """Clocks the steps of a fit, and how much of them was waiting for input.

    A step begins by asking for its rows. `watched` writes down when they were handed
    out; until then the step has waited. The first step of every `fit` is left out, in
    which Keras traces the graph. With several devices rows are fetched ahead of the
    steps, and with several steps an execution Keras does not tell when one begins:
    there the wait is not known.
    """

    def __init__(self):
        super().__init__()
        self.began = time.perf_counter()
        self.handed_out = self.soup = None
        self.steps_seconds = self.waited_seconds = 0.0

    def watched(self, batches):
        """The same batches; remembers when the last one was handed out."""
        self.handed_out = handed_out = tf.Variable(0.0, dtype="float64")

        def note(*batch):
            with tf.control_dependencies([handed_out.assign(tf.timestamp())]):
                return tf.nest.map_structure(tf.identity, batch)

        options = tf.data.Options()
        # No buffer behind it: it would ask for the next rows ahead of the step.
        options.experimental_optimization.inject_prefetch = False
        return batches.map(note).with_options(options)

    def on_train_batch_begin(self, batch, logs=None):
        """Starts the clock."""
        self.asked = time.time()

    def on_train_batch_end(self, batch, logs=None):
        """Stops it."""
        if batch and self.handed_out is not None:
            self.steps_seconds += time.time() - self.asked
            self.waited_seconds += max(float(self.handed_out) - self.asked, 0.0)

    @property
    def found(self):
        """What JSON takes.

        Returns:
            {"seconds": of the fit, since this process began it; "peak_memory_mb": the
            most that this process ever held; "peak_gpu_memory_mb": {device: most},
            where there are; "input_wait": share of the steps' time, None where not
            known; "soup": see `soup.tasted`, where there is one}.
        """
        share = self.waited_seconds / self.steps_seconds if self.steps_seconds else None
        gpus = {
            device.name: tf.config.experimental.get_memory_info(name)["peak"] // 2**20
            for device in tf.config.list_logical_devices("GPU")
            for name in [device.name.rpartition("device:")[2]]
        }
        return {
            "seconds": round(time.perf_counter() - self.began, 2),
            "peak_memory_mb": peak_memory_mb(),
            **({"peak_gpu_memory_mb": gpus} if gpus else {}),
            "input_wait": share if share is None else round(share, 4),
            **({"soup": self.soup} if self.soup else {}),
        }

    def line(self, title):
        """`found` for people."""
        found = self.found
        told = f"{title}: {found['seconds']:.1f} s, peak memory "
        told += f"{found['peak_memory_mb']:,} MB"
        for device, most in found.get("peak_gpu_memory_mb", {}).items():
            told += f", {most:,} MB of {device}"
        if found["input_wait"] is not None:
            told += f", {100 * found['input_wait']:.0f} % of the steps' time waiting "
            told += "for input"
        return told


def peak_memory_mb():
    """The most memory that this process ever held, in megabytes of 2^20 bytes."""
    # Linux' `ru_maxrss` of a new process begins with that of the one that started it.
    status = Path("/proc/self/status")
    if status.is_file():
        text = status.read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) // 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (2**20 if sys.platform == "darwin" else 2**10)
