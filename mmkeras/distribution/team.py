"""The processes of one run: who they are, what they agree on, that one is gone."""

import contextlib
import json
import os
import re
from typing import NamedTuple

import tensorflow as tf

from mmkeras.config import RecipeError

# What TensorFlow raises where a worker that it waits for is gone.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class WorkerLostError(RuntimeError):
    """Another worker of the run is gone; the message says which, and how to go on."""


class Workers(NamedTuple):
    """The processes of a run, as TF_CONFIG tells them.

    Attributes:
        count: how many there are.
        index: of this one; 0 is the chief, which alone writes the run's folder.
        addresses: (count,) `host:port`.
    """

    count: int = 1
    index: int = 0
    addresses: tuple = ()


def workers():
    """The `Workers` of this run; one where TF_CONFIG is not set.

    Raises:
        RecipeError: TF_CONFIG cannot be used; says what it should hold.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return Workers()
    try:
        told = json.loads(text)
        cluster, task = told.get("cluster", {}), told.get("task", {})
        chief = list(cluster.get("chief", ()))
        addresses = (*chief, *cluster.get("worker", ()))
        index = int(task.get("index", 0))
        index += len(chief) * (task.get("type", "worker") == "worker")
        if not 0 <= index < max(len(addresses), 1):
            raise ValueError(f"there is no worker {index}")
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"TF_CONFIG cannot be used ({error}): {text}. Expected, on each worker "
            'with its own index: {"cluster": {"worker": ["host1:4444", "host2:4444"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from None
    return Workers(max(len(addresses), 1), index, addresses)


@contextlib.contextmanager
def loss_of_workers_told():
    """For what needs other workers: that one is gone is told in one sentence.

    Raises:
        WorkerLostError: instead of TensorFlow's account of a collective operation.
    """
    try:
        yield
    except tf.errors.OpError as error:
        team = workers()
        if team.count == 1 or not isinstance(error, LOST):
            raise
        named = sorted(set(map(int, re.findall(r"/task:(\d+)", str(error)))))
        gone = [at for at in named if at != team.index] or ["unknown"]
        addresses = [team.addresses[at] for at in gone if at != "unknown"]
        which = f"worker {gone[0]}" + (f" ({addresses[0]})" if addresses else "")
        raise WorkerLostError(
            f"{which} no longer answers worker {team.index}, and no step goes on "
            "without it. What it said last stands in its own output. Start all workers "
            "again with the same arguments and --resume: they go on from the last "
            "checkpoint"
        ) from error
