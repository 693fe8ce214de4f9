"""A development server of exported models, as TensorFlow Serving answers.

DIR holds versions, DIR/<number>/saved_model.pb, as `mmkeras export` writes them; a new
one is served as it appears. REST and a page to ask by hand at --port, gRPC at
--grpc-port. Ctrl-C ends it when what is being answered is answered.
"""

from mmkeras import verbs

MOST_PORT = 65_535


def arguments(parser):
    """Adds the options."""
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--name", help="of the model; the folder's where left out")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: to everybody")
    parser.add_argument("--port", type=int, default=8501, help="of REST; 0: any")
    parser.add_argument("--grpc-port", type=int, default=8500, help="0: any")
    parser.add_argument("--rest-only", action="store_true", help="no gRPC")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="LABEL=VERSION",
        help="keeps a version beside the newest, asked as /labels/LABEL",
    )
    parser.add_argument(
        "--max-mb", type=int, default=64, help="of a request; 64 MB where left out"
    )


def run(options, extra):
    """Serves until it is ended."""
    verbs.no_more(extra)
    labels = dict(map(_label, options.label))
    _check(options)
    verbs.quiet()
    from mmkeras.serving import models, server

    versions = models.Versions(
        options.folder, name=options.name, labels=labels, log=verbs.log
    )
    with (
        server.ending() as wait,
        server.Server(
            versions,
            host=options.host,
            port=options.port,
            grpc_port=None if options.rest_only else options.grpc_port,
            max_mb=options.max_mb,
            log=verbs.log,
        ) as running,
    ):
        places = [f"{running.url}/v1/models/{versions.name}"]
        places += [running.grpc_url] if running.grpc_url else []
        verbs.log(
            f"serve: {versions.name} at {', '.join(places)}; a page at {running.url}/\n"
            "serve: a development server, for one machine and its user. In production:"
            f"\n  docker run -p 8501:8501 -e MODEL_NAME={versions.name} "
            f"-v {versions.folder.resolve()}:/models/{versions.name} tensorflow/serving"
        )
        wait()
        verbs.log("serve: ending, when what is being answered is answered")
    return verbs.Answer({"model": versions.name}, f"{versions.name} is served no more")


def _check(options):
    """Refuses numbers and names that no server can have, before TensorFlow comes."""
    for option, number in (("port", options.port), ("grpc-port", options.grpc_port)):
        if not 0 <= number <= MOST_PORT:
            raise verbs.UsageError(
                f"--{option} takes 0, any free one, to {MOST_PORT}. Got {number}"
            )
    if options.port == options.grpc_port != 0 and not options.rest_only:
        raise verbs.UsageError(
            f"--port and --grpc-port are both {options.port}: each needs its own"
        )
    if options.max_mb < 1:
        raise verbs.UsageError(f"--max-mb takes 1 or more. Got {options.max_mb}")
    if options.name is not None:
        verbs.check_model_name(options.name)


def _label(text):
    label, equals, version = text.partition("=")
    if not label or not equals or not version.isdecimal():
        raise verbs.UsageError(f"--label takes LABEL=VERSION, as stable=3. Got {text}")
    return label, int(version)
