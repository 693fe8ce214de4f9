"""Batches that other processes make, over tf.data service, in the order of one process.

The service promises each batch at most once, in any order: what a worker that dies had
in hand is lost. Here every batch bears its number; those that come early are held back,
and what does not come is made by this process. So the rows of training are the same
as without the service, each once and in the same order, whoever dies.
"""

import itertools
import re
import socket
import time

import tensorflow as tf

from mmkeras.dataset.batching import flow
from mmkeras.dataset.reading import as_written, broken

# Seconds of waiting after which what has not come is made here.
PATIENCE_SECONDS = 10.0
# Seconds for a dispatcher to take a connection, and to answer.
TO_ANSWER_SECONDS = 5.0
# The least that a dispatcher is asked, by gRPC: an empty question, an empty state.
VERSION = "/tensorflow.data.DispatcherService/GetVersion"
TICK_SECONDS = 0.05
# Held back at least, however large they are.
LEAST_BATCHES = 4
# Of a counter every worker would make all numbers; a range is dealt out to them.
ENDLESS = 2**62


class ServiceError(ConnectionError):
    """No dispatcher answers; the message says what to start."""


class Service:
    """A dispatcher of tf.data service and its workers, asked for batches.

    Args:
        address: `grpc://HOST:PORT` of the dispatcher.
        room_mb: megabytes that batches may take which came before their turn.
        patience_seconds: of waiting, after which what has not come is made here.
        log: called with one line of text now and then.

    Attributes:
        made_here: how many batches did not come, and were made by this process.
    """

    def __init__(
        self, address, *, room_mb=2048, patience_seconds=PATIENCE_SECONDS, log=print
    ):
        self.address, self.room_mb = address, room_mb
        self.patience_seconds, self.log = patience_seconds, log
        self.made_here = 0

    def require(self):
        """A dispatcher must answer.

        Raises:
            ServiceError: none does.
        """
        if fault := silence(self.address):
            raise ServiceError(
                f"{nobody(self.address, fault)}, and on each machine that is to read "
                f"rows `mmkeras data-worker {self.address}`; or train without: "
                "train.data_service = null"
            )

    def flow(self, give, first, last):
        """What `batching.flow` gives, bit for bit, made by the workers."""
        if fault := silence(self.address):
            self._tell_gone(fault)
            return flow(give, first, last)

        @as_written
        def numbered(number):
            return number, give(number)

        numbers = tf.data.Dataset.range(first, ENDLESS if last is None else last)
        made = numbers.map(numbered, tf.data.AUTOTUNE).prefetch(2)
        service = tf.data.experimental.service
        deal = service.distribute(service.ShardingPolicy.DYNAMIC, self.address)
        arriving = _beside_a_clock(made.apply(deal))
        own = _Own(give, ENDLESS if last is None else last)

        def batches():
            return self._in_order(arriving, own, first, last)

        given = tf.data.Dataset.from_generator(
            batches, output_signature=made.element_spec[1]
        )
        return given.prefetch(2).with_options(_own_threads())

    def _in_order(self, arriving, own, number, last):
        """The batches from a number on, each once, by their numbers."""
        queue = _Queue(self._arrivals(arriving), self.room_mb * 2**20)
        is_told = False
        while last is None or number < last:
            batch = queue.taken(number, self.patience_seconds)
            if batch is None:
                if queue.is_silent and not is_told:
                    self._tell_silent()
                is_told = queue.is_silent
                self.made_here += 1
                batch = own.batch(number)
            yield batch
            number += 1

    def _arrivals(self, arriving):
        """(number, batch) as they come; a number below 0 where some time has passed.

        Raises:
            InvalidArgumentError: a worker cannot read a file; names it.
        """
        try:
            if fault := silence(self.address):  # beginning to ask would hang
                self._tell_gone(fault)
            else:
                for number, batch in arriving:
                    yield int(number), batch
        except tf.errors.OpError as error:
            if found := broken(error):
                path, reason = found
                raise tf.errors.InvalidArgumentError(
                    None,
                    None,
                    f"assertion failed: [{path}] [{reason} (so a worker of "
                    f"{self.address}: all need the same files under the same paths)]",
                ) from error
            self._tell_gone(str(error).splitlines()[0])
        yield from itertools.repeat((-1, None))

    def _tell_gone(self, fault):
        self.log(
            f"train.data_service: {self.address} gives no rows ({fault}): this process "
            "reads them"
        )

    def _tell_silent(self):
        self.log(
            f"train.data_service: no rows came from {self.address} in "
            f"{self.patience_seconds:g} s: this process reads them until some do. Is "
            f"there a worker? mmkeras data-worker {self.address}"
        )


class _Queue:
    """Batches that came before their turn.

    Args:
        arrivals: iterator of (number, batch), without end; see `Service._arrivals`.
        room_bytes: that they may take.

    Attributes:
        is_silent: whether the last one that was asked for did not come, nor any other.
    """

    def __init__(self, arrivals, room_bytes):
        self.arrivals, self.room_bytes = arrivals, room_bytes
        self.held, self.most = {}, LEAST_BATCHES  # number: (batch, when it came)
        # Time counts only while somebody waits: steps may be slow.
        self.waited_seconds = self.heard = 0.0
        self.is_silent = False

    def taken(self, number, patience_seconds):
        """The batch of a number, above all that were taken before; None: it is lost.

        It is where it did not come in so many seconds since a later one came, or since
        anything came; and where there is no room to wait for it.
        """
        while number not in self.held:
            self._wait(number)
            came = [when for _, when in self.held.values()]
            since = min(came, default=self.heard)
            is_late = self.waited_seconds - since >= patience_seconds
            if number not in self.held and (is_late or len(came) >= self.most):
                self.is_silent = not came and self.waited_seconds < float("inf")
                return None
        self.is_silent = False
        return self.held.pop(number)[0]

    def _wait(self, number):
        began = time.monotonic()
        arrived, batch = next(self.arrivals)
        self.waited_seconds += time.monotonic() - began
        if batch is None:
            self.waited_seconds = float("inf")  # nothing will come
        elif arrived >= number:  # else it is late, and was made here
            self.heard = self.waited_seconds
            self.held[arrived] = batch, self.heard
            parts = tf.nest.flatten(batch)
            size = sum(one.shape.num_elements() * one.dtype.size for one in parts)
            self.most = max(LEAST_BATCHES, self.room_bytes // max(size, 1))


class _Own:
    """Batches of any number, made by this process with the bits of `batching.flow`.

    Args:
        give: see `batching.flow`; traced when it is needed.
        last: the number behind the last.
    """

    def __init__(self, give, last):
        self.give, self.last = give, last
        self.batches = self.coming = self.first = self.next = None

    def batch(self, number):
        """That of a number; those behind it are begun."""
        if self.batches is None:
            # By tf.data, as all others: a function that is called is optimised in
            # another way, and its last bits differ.
            numbers = tf.data.Dataset.from_generator(
                lambda: range(self.first, self.last),
                output_signature=tf.TensorSpec((), tf.int64),
            )
            made = numbers.map(as_written(self.give), tf.data.AUTOTUNE)
            self.batches = made.prefetch(2).with_options(_own_threads())
        if number != self.next:
            self.first = number  # read when the first batch is asked for
            self.coming = iter(self.batches)
        self.next = number + 1
        return next(self.coming)


def _beside_a_clock(numbered):
    """What comes, and between it an element of number -1 every `TICK_SECONDS`.

    Asking for rows that nobody sends would never end, and could not be interrupted.
    """
    every = tf.constant(-1, tf.int64)
    number_spec, batch_spec = numbered.element_spec

    def slept(number):
        time.sleep(TICK_SECONDS)
        return number

    @as_written
    def tick(number):
        number = tf.numpy_function(slept, [number], number_spec.dtype)
        empty = lambda one: tf.zeros([n or 0 for n in one.shape], one.dtype)  # noqa: E731
        nothing = tf.nest.map_structure(empty, batch_spec)
        return tf.ensure_shape(number, ()), nothing

    ticks = tf.data.Dataset.from_tensors(every).repeat().map(tick)

    @as_written
    def source(which):
        clock = ticks.take(tf.where(which == 0, every, 0))
        return clock.concatenate(numbered.take(tf.where(which == 1, every, 0)))

    both = tf.data.Dataset.range(2).interleave(
        source, cycle_length=2, num_parallel_calls=2, deterministic=False
    )
    return both.with_options(_own_threads())


def _own_threads():
    """Python that waits must not take the threads of the model's operations."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return options


def nobody(address, fault):
    """What is said of an address where no dispatcher answers, and what to start."""
    return (
        f"nothing answers at {address} ({fault}). Start there `mmkeras data-worker "
        f"--dispatcher {address.rpartition(':')[2]}`"
    )


def silence(address):
    """Why no dispatcher answers at `grpc://HOST:PORT`, in words; "" where one does.

    Asked in Python, with a time limit: TensorFlow would wait without end for what
    takes connections and is no dispatcher.
    """
    import grpc

    host, port = re.fullmatch(r"grpc://(.+):(\d+)", address).groups()
    try:
        place = host.strip("[]"), int(port)
        socket.create_connection(place, TO_ANSWER_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            channel.unary_unary(VERSION)(b"", timeout=TO_ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return (
                    f"it takes connections and says nothing in {TO_ANSWER_SECONDS:g} s"
                )
            return "what answers there is no dispatcher"
    return ""
