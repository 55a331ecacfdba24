"""Connections that no client can hold for ever: they and every wait for a client have limits.

uvicorn limits only how long a connection may be idle between two requests. A client that sends one
byte a second, or that reads none of its answer, could keep a connection as long as it likes.
"""

import asyncio
import json
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from jdann.web.access import Proxies, is_proxy
from jdann.web.access_log import AccessLog
from jdann.web.clients import Share, client_of
from jdann.web.limits import Limits, Refused

_DAMAGED = "This is not a valid HTTP request, or its headers are larger than 16 kB."
# The application itself answers an upload that is too slow. So much later, in seconds, the
# connection ends if nobody reads the upload, for example one to a page that does not exist.
_MARGIN_S = 1.0
_FLUSH_S = 5.0  # within which a client must read what is left when the connection ends


class Connections:
    """Counts the open connections, of all clients and of each."""

    def __init__(self, limits: Limits, proxies: Proxies, access_log: AccessLog):
        self.limits, self.proxies, self.access_log = limits, proxies, access_log
        self.share = Share(limits.connections, limits.client_connections, "many connections")


class LimitedConnection(H11Protocol):
    """One connection; its client has to send and to read in time."""

    def __init__(self, connections: Connections, **uvicorn: Any):
        super().__init__(**uvicorn)
        self._all = connections
        self._counted_for: str | None = None  # the client in whose share this connection is
        self._began = 0.0  # when the request began, by time.monotonic
        # Each calls a function when the client is too slow; None: nothing is awaited.
        self._arrival: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts the connection, or refuses it."""
        super().connection_made(transport)
        self._expect_request()
        address = self.client[0] if self.client else ""
        client = client_of(address)
        try:
            self._all.share.add(client, shared=is_proxy(address, self._all.proxies))
        except Refused as refused:
            self._refuse(refused)
        else:
            self._counted_for = client

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        if self._counted_for is not None:
            self._all.share.remove(self._counted_for)
            self._counted_for = None
        self._arrived()
        self.resume_writing()
        super().connection_lost(exc)

    # --- The client sends ---

    def data_received(self, data: bytes) -> None:
        """Notes when a request begins and when it has arrived."""
        if self.transport.is_closing():
            return
        if self._arrival is None:
            self._expect_request()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._arrived()

    def _expect_request(self) -> None:
        """From now on a request has to arrive."""
        self._began = time.monotonic()
        # The application finds it as request.state.began.
        self.app_state = {**self.app_state, "began": self._began}
        headers_s = self._all.limits.headers_s
        self._arrival = self.loop.call_later(headers_s, self._headers_should_be_there)

    def _arrived(self) -> None:
        """The request is complete, or nobody needs it any more."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _headers_should_be_there(self) -> None:
        limits = self._all.limits
        if self.conn.their_state is h11.SEND_BODY:
            rest_s = max(0.0, limits.seconds - limits.headers_s) + _MARGIN_S
            self._arrival = self.loop.call_later(rest_s, self.transport.abort)
        elif self.conn.trailing_data[0]:
            sentence = f"The headers took longer than {limits.headers_s:g} s; send them again."
            self._refuse(Refused(408, sentence))
        else:  # it sent nothing
            self._end()

    def _refuse(self, refused: Refused) -> None:
        """Answers without the application, and ends the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": refused.sentence}).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
                **refused.headers,
            }
            start = h11.Response(status_code=refused.status, headers=list(headers.items()))
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            address = self.client[0] if self.client else ""
            self._all.access_log.write(address, "", "", refused.status, len(body), self._began)
        self._end()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        self._refuse(Refused(400, _DAMAGED))

    def stop(self, seconds: float) -> None:
        """Ends the connection, which has some seconds more if its answer is under way."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._end()
        else:
            self.loop.call_later(seconds, self.transport.abort)

    # --- The client reads ---

    def pause_writing(self) -> None:
        """The client has much to read, and has to read it in time."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(self._all.limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read enough."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def on_response_complete(self) -> None:
        """Waits for the next request, or for the client to read the last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._end(self._all.limits.seconds)

    def timeout_keep_alive_handler(self) -> None:
        """Ends a connection that was idle for too long."""
        super().timeout_keep_alive_handler()
        self._end()

    def _end(self, flush_s: float = _FLUSH_S) -> None:
        """Ends the connection, after the client has read what was written."""
        self._arrived()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(flush_s, self.transport.abort)
