"""`jdann serve`."""

from argparse import Namespace

from jdann.commands.reading import expanded
from jdann.commands.recogniser import load_recogniser
from jdann.errors import InputError

try:
    from jdann.web import access, access_log, limits, server
except ModuleNotFoundError as error:
    if (error.name or "").startswith("jdann"):  # jdann itself is damaged: no extra would help
        raise
    raise InputError(
        f'jdann serve needs {error.name}, which is not installed: pip install -e ".[serve]" in a '
        "clone of jdann"
    ) from error


def execute(arguments: Namespace) -> int:
    """Serves a page and a JSON endpoint until it is stopped."""
    upload = limits.make_limits(arguments.max_mb, arguments.max_s)
    allowed = access.make_access(
        arguments.host,
        arguments.token_file,
        arguments.cors,
        arguments.allow_host,
        arguments.trusted_proxy,
    )
    with (
        server.claim_port(arguments.host, arguments.port) as listener,
        access_log.open_access_log(arguments.access_log) as requests,
    ):
        recogniser = load_recogniser(arguments)
        server.main(recogniser, expanded(arguments.model), listener, allowed, upload, requests)
    return 0
