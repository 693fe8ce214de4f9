"""Asks a model behind TensorFlow Serving, or behind `mmkeras serve`.

URL is http://host:port/v1/models/NAME, grpc://host:port/v1/models/NAME, or one of them
as far as the port and --model NAME. One row: an option for each input, as --text
"seven" --image 7.png, and for each column of a table, as --age 31; those left out are
missing. What the inputs are called the server tells.
"""

import numpy as np

from mmkeras import client, verbs
from mmkeras.verbs import predict


def arguments(parser):
    """Adds the options."""
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--model", metavar="NAME", help="where the URL has none")
    parser.add_argument(
        "--export",
        metavar="DIR",
        help="the exported folder, for the names of classes: a server knows them not",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=10.0, help="10 where left out"
    )


def run(options, extra):
    """Asks the server."""
    if options.url.startswith("grpc:"):
        verbs.quiet()  # the messages of gRPC import TensorFlow
    try:
        server = client.Client(
            options.url, model=options.model, timeout_seconds=options.timeout_seconds
        )
    except ValueError as error:
        raise verbs.UsageError(str(error)) from error
    served = server.metadata()["signatures"]["serving_default"]["inputs"]
    labels, inputs = _told(options.export)
    inputs = inputs or {name.removesuffix("_bytes"): [name] for name in sorted(served)}
    answers = server.predict(predict.one_row(extra, inputs))
    if not options.export:
        answers.pop("present", None)  # in the order of the recipe, which is not known
        labels = _numbered(answers)
    arrays = {key: _array(values) for key, values in answers.items()}
    row = predict.told(arrays, 0, "", labels, inputs)
    return verbs.Answer(row, predict.shown(row))


def _told(folder):
    """({target: labels}, {input: served names}) of an export; empty without."""
    if not folder:
        return {}, {}
    verbs.quiet()
    from mmkeras import export

    newest = export.newest(folder)
    if not newest:
        raise FileNotFoundError(f"no version in {folder}: no <number>/saved_model.pb")
    return export.assets(newest)


def _numbered(answers):
    """Classes by their numbers, {target: names}."""
    return {
        key.removesuffix("probabilities").rstrip("_"): [
            f"#{at}" for at in range(len(values[0]))
        ]
        for key, values in answers.items()
        if key.endswith("probabilities")
    }


def _array(values):
    """What the exported model itself gives: strings as bytes."""
    if isinstance(values[0], str):
        return [value.encode("utf-8") for value in values]
    return np.array(values)
