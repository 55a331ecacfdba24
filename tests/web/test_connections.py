"""No client can hold a connection for ever, or all of them."""

import contextlib
import logging
import socket
import time

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web.limits import Limits
from tests.support.serving import encoded, running, speech

SECONDS = 0.25
HEAD = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def impatient(server):
    """A server that waits for clients for a part of a second."""
    limits = Limits(headers_s=SECONDS, seconds=2 * SECONDS, client_connections=4, connections=6)
    with running(server.recogniser, server.workdir, limits) as served:
        yield served


def all_of(connection: socket.socket) -> bytes:
    """What the server sends until it ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def is_ended(connection: socket.socket, data: bytes) -> bool:
    """Sends data again and again, and tells whether the server ends that within ten seconds."""
    end = time.monotonic() + 10
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < end:
            connection.sendall(data)
            time.sleep(SECONDS / 10)
    return time.monotonic() < end


def test_a_connection_that_sends_nothing_is_ended(impatient):
    with impatient.connected() as connection:
        assert all_of(connection) == b""


def test_headers_that_do_not_end_are_answered_with_a_sentence(impatient):
    with impatient.connected(HEAD) as connection:
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408") and b"headers took longer than 0.25 s" in answer


@pytest.mark.parametrize(
    ("begun", "drop"),
    [
        (HEAD + b"X-Slow: ", b"a"),
        (HEAD + b"Content-Length: 90000\r\n\r\nRIFF", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n", b"a"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n", b"a"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nX: ", b"a"),
    ],
    ids=["headers", "body", "chunks", "no page", "no body expected", "second request"],
)
def test_one_byte_after_another_does_not_hold_a_connection(impatient, begun, drop):
    with impatient.connected(begun) as connection:
        assert is_ended(connection, drop)


def test_the_time_of_the_headers_counts_for_the_body(impatient):
    with impatient.connected(HEAD) as connection:
        began = time.monotonic()
        time.sleep(0.8 * SECONDS)
        connection.sendall(b"Content-Length: 90000\r\n\r\n")
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408") and b"longer than 0.5 s" in answer
    assert time.monotonic() - began < 3 * SECONDS


def test_a_client_that_does_not_read_its_answers_is_cut_off(impatient):
    with impatient.connected() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert is_ended(connection, b"GET /static/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)


def test_a_client_gets_its_share_of_connections_and_others_get_theirs(impatient):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(impatient.connected(client="127.0.0.2"))
        refused = all_of(stack.enter_context(impatient.connected(client="127.0.0.2")))
        assert refused.startswith(b"HTTP/1.1 429") and b"Retry-After: 5" in refused
        assert b"too many connections" in refused
        assert impatient.ask(encoded(speech(1))).status == 200
        for _ in range(2):
            stack.enter_context(impatient.connected(client="127.0.0.3"))
        assert all_of(stack.enter_context(impatient.connected())).startswith(b"HTTP/1.1 503")
    time.sleep(0.2)
    assert impatient.ask(None, method="GET", path="/health", client="127.0.0.2").status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # https
        HEAD + b"X-Large: " + b"a" * 100_000,
        HEAD + b"Content-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_sentence(impatient, data):
    with impatient.connected() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 400") and b'{"error": "This is not a valid HTTP' in answer


def test_damage_after_the_answer_leaves_no_traceback(impatient, caplog):
    caplog.set_level(logging.WARNING)
    for path in (b"/nothing", b"/api/predict?no=option"):
        begun = (
            b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with impatient.connected(begun) as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 4")
            connection.sendall(b"no chunk\r\n\r\n")
            all_of(connection)
    assert impatient.ask(None, method="GET", path="/health").status == 200
    assert not caplog.records
