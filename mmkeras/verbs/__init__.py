"""The verbs of the command line, one file each.

Each has `arguments(parser)`, which adds its options, and `run(options, extra)`, which
imports what it needs, does the work and gives an `Answer`; `extra` are the arguments
the parser did not know.
"""

import sys
from typing import NamedTuple


class UsageError(ValueError):
    """Arguments that make no sense together; the message says what would."""


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
        raise UsageError(f"unknown arguments: {' '.join(extra)}. See --help")


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


def scores_text(run, metrics):
    """The scores of each split for people, and the verdict on fusion."""
    from mmkeras import evaluate

    lines = []
    for split, judged in metrics.items():
        lines.append(f"{split}: {judged['rows']} rows, {evaluate.plain(judged)}")
        for name, scores in judged.get("baselines", {}).items():
            lines.append(f"  {name.replace('_', ' ')}: {evaluate.plain(scores)}")
        if sentence := evaluate.verdict(judged):
            lines.append(f"  {sentence}")
    return "\n".join([*lines, f"report: {run.report_html}"])
