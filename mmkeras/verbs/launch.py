"""Starts several workers of one run on this machine, and ends them together.

    mmkeras launch --workers 2 -- train RECIPE --run DIR

Each worker is the command after `--` with a TF_CONFIG of its own. The chief's results
go to stdout; all other output goes to stderr, with the worker's number before each
line. Several machines: docs/scaling.md.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from mmkeras import verbs

# Seconds that workers have to tell their side when one failed, and to end when asked.
TO_TELL, TO_END = 20, 10
WAITED = 0.1


def arguments(parser):
    """Adds the options."""
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="as many")
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- VERB ...",
        help="what each of them does, as it would be written after `mmkeras`",
    )


def run(options, extra):
    """Starts the workers; gives the exit code of the first that failed."""
    verbs.no_more(extra)
    command = options.command[options.command[:1] == ["--"] :]
    if options.workers < 1:
        raise verbs.UsageError(f"--workers {options.workers}: expected 1 or more")
    if command[:1] != ["train"]:
        raise verbs.UsageError(
            "expected `train` after `--`: mmkeras launch --workers 2 -- train RECIPE"
        )
    if "--run" not in command:
        raise verbs.UsageError(
            "name the folder that all workers share: -- train RECIPE --run DIR"
        )
    team = [
        Worker(command, addresses, index)
        for addresses in [free_addresses(options.workers)]
        for index in range(options.workers)
    ]
    with _forwarded(team):
        code = watch(team)
    for worker in team:
        worker.close()
    return verbs.Answer({"codes": [each.code for each in team]}, "", code)


def free_addresses(count):
    """As many `127.0.0.1:port` as asked for, on which nobody listens."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:  # all held at once, or two could be the same
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


class Worker:
    """A process of the run.

    Args:
        command: what stands after `mmkeras`.
        addresses: of all workers.
        index: of this one.
    """

    def __init__(self, command, addresses, index):
        self.name = f"worker {index}"
        task = {"type": "worker", "index": index}
        told = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmkeras.cli", *command],
            env={**os.environ, "TF_CONFIG": told, "PYTHONUNBUFFERED": "1"},
            stdout=None if index == 0 else subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C is handed on by us, once.
            start_new_session=True,
        )
        streams = [self.process.stdout, self.process.stderr]
        self.readers = [
            threading.Thread(target=self._pass_on, args=(stream,), daemon=True)
            for stream in streams
            if stream
        ]
        for reader in self.readers:
            reader.start()

    @property
    def code(self):
        """Its exit code, 1 where a signal ended it; None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 1

    @property
    def end(self):
        """How it ended, for people."""
        code = self.process.poll()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def send(self, number):
        """Sends a signal, where it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def close(self):
        """Waits until all its output is passed on."""
        for reader in self.readers:
            reader.join(TO_END)

    def _pass_on(self, stream):
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            print(f"[{self.name}] {text}", file=sys.stderr, flush=True)


def watch(team):
    """Waits for all workers; where one fails, the others are ended.

    Returns:
        The exit code of the first that failed, else 0.
    """
    first = None
    while first is None and any(each.code is None for each in team):
        first = next((each for each in team if each.code), None)
        time.sleep(WAITED)
    first = first or next((each for each in team if each.code), None)
    if first is None:
        return 0
    verbs.log(f"mmkeras launch: {first.name} {first.end}; the others end too")
    for seconds, number in ((TO_TELL, signal.SIGTERM), (TO_END, signal.SIGKILL)):
        last = time.monotonic() + seconds
        while any(each.code is None for each in team) and time.monotonic() < last:
            time.sleep(WAITED)
        for each in team:
            each.send(number)
    return first.code


@contextlib.contextmanager
def _forwarded(team):
    """Hands SIGINT and SIGTERM on to all workers, which end with a checkpoint."""

    def hand_on(number, frame):
        for each in team:
            each.send(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in team:
            each.send(signal.SIGTERM)
