"""Progress on stderr: bars on a terminal, a line an epoch elsewhere."""

import contextlib
import sys
import time

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def _bars(*columns):
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextlib.contextmanager
def bar(title, total):
    """A bar for a long step; nothing where stderr is no terminal.

    Yields:
        A function of (done, total) that moves the bar.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bars() as bars:
        task = bars.add_task(title, total=total)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class Epochs(keras.callbacks.Callback):
    """One line an epoch: loss, metrics, seconds; a bar of its steps on a terminal.

    Args:
        title: what is fitted.
        epochs: of the whole fit, which may have several phases.
    """

    def __init__(self, title, epochs):
        super().__init__()
        self.title, self.epochs = title, epochs
        self.bars = None

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock and the bar."""
        self.began = time.perf_counter()
        self.label = f"{self.title}  epoch {epoch + 1}/{self.epochs}"
        if sys.stderr.isatty():
            self.bars = _bars(TextColumn("{task.fields[loss]}"))
            self.bars.start()
            self.step = self.bars.add_task(
                self.label, total=self.params["steps"], loss=""
            )

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        if self.bars:
            loss = f"loss {logs['loss']:.3f}"
            self.bars.update(self.step, completed=batch + 1, loss=loss)

    def on_epoch_end(self, epoch, logs=None):
        """Ends the bar, prints the line."""
        self.close()
        seconds = time.perf_counter() - self.began
        shown = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        print(f"{self.label}  {shown}  {seconds:.1f} s", file=sys.stderr, flush=True)

    def close(self):
        """Takes the bar away. To be called after an error in `fit` as well.

        A bar that is left would keep the terminal's cursor hidden.
        """
        if self.bars:
            self.bars.stop()
            self.bars = None
