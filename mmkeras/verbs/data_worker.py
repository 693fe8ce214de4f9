"""Reads rows for trainings in other processes, over tf.data service.

    mmkeras data-worker --dispatcher 5050     # one, which deals out steps to workers
    mmkeras data-worker grpc://HOST:5050      # as many as wanted, one a machine
    mmkeras train RECIPE --set train.data_service=grpc://HOST:5050

A worker uses all cores, and needs the manifest's files under the same paths as the
training. Both run until Ctrl-C or SIGTERM. Whoever reaches their ports may use them:
keep them in a network of your own.
"""

import time

from mmkeras import verbs


def arguments(parser):
    """Adds the options."""
    parser.add_argument(
        "address", nargs="?", metavar="grpc://HOST:PORT", help="of the dispatcher"
    )
    parser.add_argument(
        "--dispatcher", type=int, metavar="PORT", help="be the dispatcher; 0: any port"
    )
    parser.add_argument(
        "--host",
        help="name under which trainings reach this worker; the machine's where left "
        "out, localhost where the dispatcher is there",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="of the worker; any where left out"
    )
    parser.add_argument(
        "--wait-seconds",
        type=float,
        default=60.0,
        help="for the dispatcher to answer; 60 where left out",
    )


def run(options, extra):
    """Serves until it is ended."""
    verbs.no_more(extra)
    _require_one(options)
    with verbs.terminated():
        try:
            return _serve(options)
        except KeyboardInterrupt:  # SIGTERM too
            return verbs.Answer({"ended": True}, "")


def _serve(options):
    verbs.quiet()
    from mmkeras.dataset import servers

    if options.dispatcher is not None:
        server, port = servers.dispatcher(options.dispatcher)
        verbs.log(f"data-worker: dispatcher at grpc://localhost:{port}")
    else:
        server, place = servers.worker(
            options.address,
            host=options.host,
            port=options.port,
            wait_seconds=options.wait_seconds,
            log=verbs.log,
        )
        verbs.log(f"data-worker: {place} reads rows for {options.address}")
    while server:
        time.sleep(1)


def _require_one(options):
    """A dispatcher's port, or the address of one; no other."""
    from mmkeras.recipe.train import address

    if (options.dispatcher is None) == (options.address is None):
        raise verbs.UsageError(
            "expected the address of a dispatcher, or --dispatcher PORT to be one: "
            "mmkeras data-worker --dispatcher 5050, then mmkeras data-worker "
            "grpc://localhost:5050"
        )
    try:
        address(options.address)
    except ValueError as error:
        raise verbs.UsageError(f"{options.address}: {error}") from None
    for name in ("dispatcher", "port"):
        port = getattr(options, name) or 0
        if not 0 <= port < 2**16:
            raise verbs.UsageError(f"--{name} {port}: expected a port, 0 to 65535")
