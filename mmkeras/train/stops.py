"""Ctrl-C and SIGTERM held back until a checkpoint is written."""

import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stops:
    """Inside its `with`, a signal waits for `deliver`; a second one does not.

    Python would raise KeyboardInterrupt between any two lines, also where a step has
    changed the weights and nobody has counted it yet.
    """

    def __init__(self):
        self.asked, self.handlers = None, {}

    def __enter__(self):
        # Python handles signals in its main thread only; elsewhere they are not ours.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):  # as under nohup
                    self.handlers[number] = handler
                    signal.signal(number, self._ask)
        return self

    def __exit__(self, *error):
        self._restore()

    def deliver(self):
        """Does what the signal would have done, if there was one."""
        if self.asked:
            number, self.asked = self.asked, None
            self._restore()
            signal.raise_signal(number)

    def _ask(self, number, frame):
        if self.asked:
            self.deliver()
        self.asked = number
        name = signal.Signals(number).name
        print(
            f"{name}: stops after this step, with a checkpoint; once more stops now",
            file=sys.stderr,
            flush=True,
        )

    def _restore(self):
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}
