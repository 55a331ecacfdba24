"""`jdann serve`."""

from argparse import Namespace

from jdann.commands.reading import expanded
from jdann.commands.recogniser import load_recogniser
from jdann.errors import InputError

try:
    from jdann.web import server
except ModuleNotFoundError as error:
    if (error.name or "").startswith("jdann"):  # jdann itself is damaged: no extra would help
        raise
    raise InputError(
        f'jdann serve needs {error.name}, which is not installed: pip install -e ".[serve]" in a '
        "clone of jdann"
    ) from error


def execute(arguments: Namespace) -> int:
    """Serves a page and a JSON endpoint until it is stopped."""
    limits = server.make_limits(arguments.max_mb, arguments.max_s)
    model = expanded(arguments.model)
    server.main(load_recogniser(arguments), model, arguments.host, arguments.port, limits)
    return 0
