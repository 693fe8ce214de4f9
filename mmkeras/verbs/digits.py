"""Writes the embedded data set: handwritten digits, keypad tones, names of digits."""

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument("folder", nargs="?", default="data/digits")
    verbs.lesson_arguments(parser)
    parser.add_argument("--rows", type=int, help="default: the lesson's own")


def run(options, extra):
    """Writes the set."""
    verbs.no_more(extra)
    from mmkeras import digits

    try:
        path = digits.write(
            options.folder, lesson=options.lesson, rows=options.rows, seed=options.seed
        )
    except ValueError as error:
        raise verbs.UsageError(str(error)) from None
    return verbs.Answer({"manifest": str(path)}, str(path))
