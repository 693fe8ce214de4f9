"""The verbs of the command line, one file each.

Each has `arguments(parser)`, which adds its options, and `run(options, extra)`, which
imports what it needs, does the work and gives an `Answer`; `extra` are the arguments
the parser did not know.
"""

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import NamedTuple

# What TensorFlow says at every start on a machine without a GPU.
BANNERS = re.compile(
    r"before absl::InitializeLog|^I0000 |cuda drivers|failed call to cuInit"
)


class UsageError(ValueError):
    """Arguments that make no sense together; the message says what would."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as clusters send it before they kill."""


class Answer(NamedTuple):
    """What a verb found.

    Attributes:
        content: for `--json`.
        text: for people.
        code: exit code.
    """

    content: object
    text: str
    code: int = 0


def log(line):
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


def no_more(extra):
    """Raises UsageError where there are arguments that no option took."""
    if extra:
        told = f"unknown arguments: {' '.join(extra)}. See --help"
        if keys := [each for each in extra if re.match(r"[a-z_]+(\.\w+)+=", each)]:
            told += f"; each key of the recipe has a --set of its own: --set {keys[0]}"
        raise UsageError(told)


def lesson_arguments(parser):
    """The options of the embedded data set."""
    parser.add_argument(
        "--lesson", default="redundant", choices=["redundant", "unique", "synergy"]
    )
    parser.add_argument("--seed", type=int, default=0)


def set_argument(parser):
    """`--set key.path=value`, as often as wanted."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the recipe, as train.epochs=3",
    )


def table_arguments(parser):
    """How another table than that of the run is written."""
    told = "of the rows, where it is not that of the rows trained on"
    parser.add_argument("--separator", metavar="CHARACTER", help=told)
    parser.add_argument("--encoding", help=told)


def table_keys(options):
    """What `table_arguments` were given, as keys of a recipe's `data`."""
    keys = {key: getattr(options, key) for key in ("separator", "encoding")}
    if keys["separator"] and len(keys["separator"]) != 1:
        raise UsageError(f"--separator {keys['separator']}: expected one character")
    return {key: value for key, value in keys.items() if value}


def server_arguments(parser):
    """The options of those who may ask a server."""
    parser.add_argument("--model", metavar="NAME", help="where the URL has none")
    parser.add_argument(
        "--export",
        metavar="DIR",
        help="what the server serves, for the names of classes: it knows them not",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=10.0, help="10 where left out"
    )


def check_model_name(name):
    """Raises UsageError where `--name` can be no model's at a server."""
    from mmkeras.client import place

    try:
        place.check_name(name)
    except ValueError as error:
        raise UsageError(f"--name: {error}") from error


def scores_text(run, rows, metrics):
    """The scores of each split for people, and the verdict on fusion."""
    from mmkeras import evaluate

    blocks = []
    for split, judged in metrics.items():
        block = "\n\n".join(map(aligned, evaluate.tables(split, judged)))
        if sentence := evaluate.verdict(judged):
            block += "\n" + wrapped(sentence)
        blocks.append(block)
    report = evaluate.place(run, rows).report_html
    return "\n\n".join([*blocks, f"report: {report}"])


def folds_text(found, folder):
    """The scores of a cross-validation for people, {split: `evaluate.across`}."""
    from mmkeras import evaluate

    blocks = [
        "\n\n".join(map(aligned, evaluate.spread(split, one)))
        for split, one in found.items()
    ]
    return "\n\n".join([*blocks, f"runs: {Path(folder) / 'folds'}"])


def aligned(lines):
    """Rows of cells as text: the first column to the left, the others to the right.

    >>> print(aligned([["split", "accuracy"], ["test", "0.9"]]))
    split  accuracy
    test        0.9
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [cells[0].ljust(widths[0])]
            + [
                cell.rjust(width)
                for cell, width in zip(cells[1:], widths[1:], strict=True)
            ]
        ).rstrip()
        for cells in lines
    )


def wrapped(text, indent=""):
    """A paragraph in lines of at most 80 characters."""
    return textwrap.fill(
        text,
        80,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@contextlib.contextmanager
def terminated():
    """Makes SIGTERM an exception, so that it is told and nothing is left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return

    def stop(number, frame):
        raise Terminated("ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def quiet():
    """Imports Keras and TensorFlow without the lines that say nothing to a user."""
    kept = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
    stderr = os.dup(2)
    try:
        # TensorFlow's C++ writes its banners before it reads TF_CPP_MIN_LOG_LEVEL, so
        # they can only be taken from the descriptor. All other lines go on to stderr.
        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        import keras

        # Workers must find each other before TensorFlow looks for its devices.
        if "TF_CONFIG" not in os.environ:
            keras.distribution.list_devices()  # where CUDA is looked for, and missed
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        kept.seek(0)
        sys.stderr.writelines(line for line in kept if not BANNERS.search(line))
        kept.close()
    logging.getLogger("tensorflow").addFilter(_no_retracing)


def _no_retracing(record):
    # One model after another is asked; that each is traced is no fault.
    return "triggered tf.function retracing" not in str(record.msg)
