"""`mmkeras VERB`: finds the verb, runs it, turns errors into exit codes.

Results go to stdout, progress and logs to stderr. Nothing heavy is imported before the
verb's own work begins: help and usage errors answer at once.
"""

import argparse
import difflib
import importlib
import json
import os
import sys

from mmkeras import __version__

VERBS = {
    "quickstart": "the whole main job on the embedded digits",
    "digits": "writes the embedded data set",
    "new": "writes a first recipe for rows of your own",
    "check": "opens every file of a manifest; every row accounted for",
    "prepare": "writes media once as a model reads them, and a manifest of them",
    "show": "prints the model of a recipe or run: parts, shapes, parameters",
    "train": "trains a recipe and judges the run",
    "tune": "tries values of a recipe's keys, trains the best",
    "launch": "starts several workers of one run on this machine",
    "data-worker": "reads rows for trainings on other machines, over tf.data service",
    "evaluate": "judges a run on a split, or on another manifest",
    "export": "writes a SavedModel that answers raw bytes, proved equal to the run",
    "predict": "answers one raw row, or all rows of a manifest",
    "explain": "why a row is answered as it is: modalities, words, pixels, sounds",
    "serve": "a development server of exported models, as TensorFlow Serving",
    "ask": "asks a server one raw row, by REST or gRPC",
}

FAILED, USAGE, MISSING, REFUSED, INTERRUPTED, TERMINATED = 1, 2, 3, 4, 130, 143

# By name, so that an error is told without importing the module that raised it.
EXIT_CODES = {
    "RecipeError": USAGE,
    "UsageError": USAGE,
    "NoSuchError": USAGE,
    "NotComparableError": REFUSED,
    "FileExistsError": USAGE,
    "ManifestError": REFUSED,
    "ProofError": REFUSED,
    "FileNotFoundError": MISSING,
    "ImportError": MISSING,
    "FloatingPointError": FAILED,
    "NotWrittenError": FAILED,
    "WorkerLostError": FAILED,
    "ServiceError": FAILED,
    "Terminated": TERMINATED,
    "KeyboardInterrupt": INTERRUPTED,
    "ServerError": FAILED,
    "GuessError": REFUSED,
    "FolderError": REFUSED,
    "TrialError": FAILED,
    "TrackerError": FAILED,
    "ListenError": FAILED,
    "NotLoadedError": FAILED,
}


def main(arguments=None):
    """Runs one verb.

    Args:
        arguments: list of str; those of the process where None.

    Returns:
        The exit code: 0 done, 1 failed while running, 2 usage or recipe, 3 a file,
        weight or package is missing, 4 data refused or a proof failed, 130
        interrupted, 143 ended by SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    name = arguments[0] if arguments else ""
    if name not in VERBS:
        return _no_verb(name, arguments)
    # TensorFlow reads these when it is imported: warnings and worse, no banners.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    verb = verb_of(name)
    options, extra = _verb_parser(name, verb).parse_known_args(arguments[1:])
    return _guarded(name, verb, options, extra)


def verb_of(name):
    """The module of a verb."""
    return importlib.import_module(f"mmkeras.verbs.{name.replace('-', '_')}")


def _no_verb(name, arguments):
    """Help, the version, or what is wrong; exit code."""
    front = _front_page()
    if not name:
        front.print_help(sys.stderr)
        return USAGE
    if name.startswith("-"):
        front.parse_args(arguments[:1])  # exits, but for `--`
        front.error("expected a verb first")
    close = difflib.get_close_matches(name, VERBS, n=1)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    front.error(f"no verb `{name}`. Verbs: {', '.join(VERBS)}{hint}")


def _guarded(name, verb, options, extra):
    """Runs the verb; prints its answer, or one message."""
    try:
        answer = verb.run(options, extra)
    except KeyboardInterrupt as stop:
        code, message = _explain(stop)
        print(f"mmkeras {name}: {message or 'interrupted'}", file=sys.stderr)
        return code
    except Exception as error:
        if options.debug:
            raise
        code, message = _explain(error)
        print(f"mmkeras {name}: {message}", file=sys.stderr)
        return code
    text = json.dumps(answer.content, ensure_ascii=False)
    text = text if options.json else answer.text
    if text:
        _print(text)
    return answer.code


def _print(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error):
    """Exit code and message of an error, by its class."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    for name in kinds:
        if name in EXIT_CODES:
            return EXIT_CODES[name], str(error)
    lines = str(error).strip().splitlines() or ["no message"]
    return FAILED, f"{kinds[0]}: {lines[0]} (--debug shows where)"


def _front_page():
    width = max(len(name) for name in VERBS)
    parser = argparse.ArgumentParser(
        prog="mmkeras",
        description="From a CSV of texts, image files and sounds to a model that\n"
        "answers raw bytes in TensorFlow Serving.",
        epilog="verbs:\n"
        + "\n".join(f"  {name:{width}}  {what}" for name, what in VERBS.items())
        + "\n\n`mmkeras VERB --help` tells its options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("verb", metavar="VERB", choices=list(VERBS))
    return parser


def _verb_parser(name, verb):
    parser = argparse.ArgumentParser(
        prog=f"mmkeras {name}",
        description=verb.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--debug", action="store_true", help="errors with traceback")
    return parser


if __name__ == "__main__":
    sys.exit(main())
