"""Asks a model behind TensorFlow Serving, or behind `mmkeras serve`.

URL is http://host:port/v1/models/NAME, grpc://host:port/v1/models/NAME, or one of them
as far as the port and --model NAME. One row: an option for each input, as --text
"seven" --image 7.png, and for each column of a table, as --age 31; those left out are
missing. What the inputs are called the server tells. Many rows: `mmkeras predict URL`.
"""

from mmkeras import client, verbs
from mmkeras.verbs import predict


def arguments(parser):
    """Adds the options."""
    parser.add_argument("url", metavar="URL")
    verbs.server_arguments(parser)


def run(options, extra):
    """Asks the server."""
    if options.url.split("://")[0] not in client.TRANSPORTS:
        raise verbs.UsageError(
            f"no server's URL: {options.url}. Expected http://host:port/v1/models/NAME "
            "or grpc://...; `mmkeras predict` asks a folder"
        )
    return predict.answered_row(predict.open_source(options, options.url), extra)
