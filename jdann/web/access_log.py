"""A line of JSON for each request: who asked for what, and how it was answered.

Neither the audio nor a query, a header or a file name is written.
"""

import json
import logging
import logging.handlers
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jdann.errors import InputError

log = logging.getLogger("jdann")
_LONGEST_PATH = 300  # characters


class AccessLog:
    """Writes a line for each request. Leaving its `with` block closes the file."""

    def __init__(self, handler: logging.Handler | None):
        self._handler = handler

    def __enter__(self) -> "AccessLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            self._handler.close()

    def write(
        self, client: str, method: str, path: str, status: int, size: int, began: float
    ) -> None:
        """Writes one line.

        Args:
          client: the address of the client.
          method: of the request; empty if it did not arrive.
          path: of the request, without its query; empty if it did not arrive.
          status: of the answer; 0 if there is none.
          size: bytes of the answer's body.
          began: when the request began, by `time.monotonic`.
        """
        if self._handler is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client,
            "method": method,
            "path": path[:_LONGEST_PATH],
            "status": status,
            "bytes": size,
            "seconds": round(time.monotonic() - began, 4),
        }
        # JSON in ASCII writes control characters as escapes.
        text = json.dumps(line, ensure_ascii=True)
        self._handler.handle(logging.LogRecord("access", logging.INFO, "", 0, text, None, None))


def open_access_log(name: str) -> AccessLog:
    """Opens the log.

    Args:
      name: a file, to which lines are added; "-": standard output; empty: nothing is written.

    Raises:
      InputError: the file cannot be written.
    """
    if not name:
        return AccessLog(None)
    if name == "-":
        return AccessLog(_StandardOutput(sys.stdout))
    path = Path(name).expanduser()
    try:
        return AccessLog(_File(path, encoding="ascii"))
    except OSError as error:
        raise InputError(
            f"--access-log {path}: {error.strerror}; choose a file that you may write to, or -"
        ) from error


class _Patient(logging.Handler):
    """A full disk or a closed pipe costs lines of the log, and no request."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Says once that lines are missing."""
        if not self._complained:
            reason = sys.exc_info()[1]
            log.warning("the access log cannot be written: %s; lines are missing", reason)
        self._complained = True


class _File(_Patient, logging.handlers.WatchedFileHandler):
    """Opens the file again if another program, such as logrotate, has moved it away."""


class _StandardOutput(_Patient, logging.StreamHandler):
    """Standard output."""


class LogRequests:
    """Writes a line of the access log for each request that an application answers."""

    def __init__(self, app: ASGIApp, access_log: AccessLog):
        self.app, self.access_log = app, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request as the application does, and writes its line."""
        began, status, size = time.monotonic(), 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            client = (scope.get("client") or ("",))[0]
            self.access_log.write(client, scope["method"], scope["path"], status, size, began)
