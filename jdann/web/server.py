"""`jdann serve`: a web page and a JSON endpoint that recognise emotions in uploaded audio.

The server is Starlette (`application.py`) on uvicorn, whose connections have limits
(`connections.py`).
"""

import asyncio
import errno
import logging
import resource
import socket
import time
from functools import partial
from pathlib import Path

import uvicorn

from jdann.errors import InputError
from jdann.inference.recogniser import Recogniser
from jdann.web.access import LOOPBACK, TOKEN_VARIABLE, Access
from jdann.web.access_log import AccessLog, LogRequests
from jdann.web.application import Service, make_app
from jdann.web.connections import Connections, LimitedConnection
from jdann.web.limits import Limits
from jdann.web.pages import make_pages
from jdann.web.warm_up import warm_up

log = logging.getLogger("jdann")
_BACKLOG = 2048  # connections that the system keeps until the server accepts them
_OTHER_FILES = 100  # open files that are no connections
_CLOSING_S = 5  # for which clients may read their last answers while the server stops


class Server(uvicorn.Server):
    """A server that finishes what it recognises before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuses new requests, answers those that have arrived, and ends all connections."""
        service = self._service
        service.stopping = True
        end = time.monotonic() + service.limits.stopping_s
        while not (service.turns.idle or self.force_exit or time.monotonic() > end):
            await asyncio.sleep(0.05)
        for connection in list(self.server_state.connections):
            if isinstance(connection, LimitedConnection):
                connection.stop(_CLOSING_S - 1)
        service.give_up()
        await super().shutdown(sockets)


def make_server(
    recogniser: Recogniser, path: Path, access: Access, limits: Limits, access_log: AccessLog
) -> Server:
    """A server that can run.

    Args:
      recogniser: recognises the uploaded clips.
      path: where the recogniser was loaded from. If that is the work directory of a run, the model
        card shows the scores of the run too.
      access: who may use the server.
      limits: the limits of requests, of clients and of connections.
      access_log: gets a line for each request.
    """
    pages = make_pages(recogniser, path, limits, needs_token=bool(access.token))
    service = Service(recogniser, limits)
    app = LogRequests(make_app(service, pages, access), access_log)
    connections = Connections(limits, access.proxies, access_log)
    config = uvicorn.Config(
        app,
        http=partial(LimitedConnection, connections),  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="off",
        # Clients cause its warnings, and must not be able to fill a log.
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=bool(access.proxies),
        forwarded_allow_ips=[str(network) for network in access.proxies],
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_CLOSING_S,
    )
    return Server(config, service)


def claim_port(host: str, port: int) -> socket.socket:
    """A socket that listens on a port, which no other program can use from now on.

    Args:
      host: address to listen on.
      port: 0: any free one.

    Raises:
      InputError: another program listens there, or there is no such address.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Two programs may bind one port; only one of them may listen on it.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else error.strerror
        raise InputError(
            f"{host}:{port}: cannot listen on port {port} ({reason}); choose another --port or "
            "--host, or --port 0 for any free port"
        ) from error
    return listener


def main(
    recogniser: Recogniser,
    path: Path,
    listener: socket.socket,
    access: Access,
    limits: Limits,
    access_log: AccessLog,
) -> None:
    """Runs the server until it is interrupted.

    Args:
      recogniser: recognises the uploaded clips.
      path: where the recogniser was loaded from.
      listener: listens on the port of the server.
      access: who may use the server.
      limits: the limits of requests, of clients and of connections.
      access_log: gets a line for each request.

    Raises:
      InputError: the recogniser does not take audio.
    """
    if recogniser.config.features.recipe == "vectors":
        raise InputError(f"{path}: this model was trained on vectors, and a server takes audio")
    with listener:
        log.info("compiling for every clip length")
        warm_up(recogniser)
        server = make_server(recogniser, path, access, _fitting(limits), access_log)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(
            f"http://{shown}:{port} (Ctrl-C ends the server; "
            "audio stays in memory and is forgotten after the answer)",
            flush=True,
        )
        if host not in LOOPBACK:
            log.warning("%s", _warning(host, access))
        server.run(sockets=[listener])


def _fitting(limits: Limits) -> Limits:
    """The limits, with fewer connections if the system allows the process fewer open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits
    connections = min(limits.connections, max(1, files - _OTHER_FILES))
    of_client = min(limits.client_connections, max(1, connections // 4))
    return limits._replace(connections=connections, client_connections=of_client)


def _warning(host: str, access: Access) -> str:
    """What to know about a server that other machines can reach."""
    open_to = "other machines that have the token" if access.token else "all other machines"
    advice = "" if access.token else f"; set {TOKEN_VARIABLE} or --token-file to require a token"
    return (
        f"{host}: {open_to} can send audio to the server, and only a proxy with https in front of "
        f"it encrypts the audio and lets browsers use a microphone{advice}"
    )
