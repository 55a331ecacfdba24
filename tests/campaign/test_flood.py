"""A hostile client cannot keep an honest one waiting, fill the memory or break the server."""

import contextlib
import http.client
import random
import resource
import select
import socket
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web.limits import Limits
from tests.support.serving import encoded, form, serving, speech

HOSTILE, HONEST = "127.0.0.2", "127.0.0.1"
SECONDS = 45.0
SLOW_CONNECTIONS = 300
LONGEST_S = 1.0  # within which an honest request has to be answered
MOST_GROWTH = 2 ** (20 + 6)  # bytes of memory, between the middle and the end of the flood
PREDICT = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\n"
BEGINNINGS = (
    b"",
    b"P",
    PREDICT + b"X-Slow: ",
    PREDICT + b"Content-Length: 90000\r\n\r\nRIFF",
    PREDICT + b"Transfer-Encoding: chunked\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n",
)


def memory(process_id: int) -> int:
    """The bytes of a process in memory."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Flood:
    """What a hostile client does until it is told to end; counts what it was answered."""

    def __init__(self, port: int, seed: int):
        self.port, self.seed, self.ended = port, seed, threading.Event()
        self.statuses: dict[str, int] = {}
        self._lock = threading.Lock()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5, (HOSTILE, 0))

    def _count(self, answer: bytes) -> None:
        status = answer[9:12].decode("ascii", "replace") or "closed"
        with self._lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def slow_connections(self) -> None:
        """Keeps hundreds of connections, on which it sends one byte after another."""
        chance = random.Random(self.seed)
        connections: list[socket.socket] = []
        while not self.ended.wait(0.05):
            while len(connections) < SLOW_CONNECTIONS:
                try:
                    connection = self._connected()
                    connection.sendall(chance.choice(BEGINNINGS))
                except OSError:
                    break
                connections.append(connection)
            for connection in chance.sample(connections, len(connections) // 20):
                try:
                    connection.send(b"a")
                    ready, _, _ = select.select([connection], [], [], 0)
                    if not ready:
                        continue
                    self._count(connection.recv(4096))
                except OSError:
                    self._count(b"")
                connections.remove(connection)
                connection.close()
        for connection in connections:
            connection.close()

    def broken_requests(self) -> None:
        """Sends giant headers, damaged uploads, quick requests, and hangs up early."""
        chance = random.Random(self.seed + 1)
        wav = encoded(speech(1))
        damaged, headers = form("a.wav", chance.randbytes(3000))
        while not self.ended.is_set():
            kind = chance.randrange(6)
            body = bytearray(wav)
            for _ in range(20):
                body[chance.randrange(60)] = chance.randrange(256)
            try:
                with self._connected() as connection:
                    if kind == 0:
                        connection.sendall(PREDICT + b"X-Large: " + b"a" * 500_000)
                    elif kind == 1:
                        connection.sendall(chance.randbytes(2000) + b"\r\n\r\n")
                    elif kind == 2:  # and hangs up
                        connection.sendall(PREDICT + b"Content-Length: %d\r\n\r\n" % len(wav) + wav)
                        continue
                    elif kind == 3:
                        kind_of = headers["Content-Type"].encode()
                        connection.sendall(
                            PREDICT
                            + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n"
                            % (kind_of, len(damaged))
                            + damaged
                        )
                    elif kind == 4:
                        connection.sendall(PREDICT + b"Content-Length: %d\r\n\r\n" % len(body))
                        connection.sendall(body)
                    else:
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
                    self._count(connection.recv(4096))
            except OSError:
                self._count(b"")

    @contextlib.contextmanager
    def going_on(self):
        """The flood goes on in threads while the context lasts."""
        work = [self.slow_connections, *[self.broken_requests] * 4]
        threads = [threading.Thread(target=attack, daemon=True) for attack in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(20)


def honest_request(port: int, clip: bytes) -> float:
    """Sends a clip on a new connection, and returns how many seconds its answer took."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, 10, source_address=(HONEST, 0))
    with contextlib.closing(connection):
        connection.request("POST", "/api/predict", clip)
        answer = connection.getresponse()
        text = answer.read()
    assert answer.status == 200, text
    return time.monotonic() - began


@pytest.mark.slow
def test_an_honest_client_is_answered_during_a_flood(finished_run, campaign_seed, tmp_path):
    clip = encoded(speech(3))
    durations, sizes = [], []
    with serving(finished_run, tmp_path, "--access-log", str(tmp_path / "log")) as program:
        honest_request(program.port, clip)
        flood = Flood(program.port, campaign_seed)
        with flood.going_on():
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                durations.append(honest_request(program.port, clip))
                sizes.append(memory(program.process.pid))
                time.sleep(0.1)
        assert program.stop() == 143
        messages = program.stderr.read_text()
    durations.sort()
    print(
        f"{len(durations)} honest requests: median {durations[len(durations) // 2]:.3f} s, "
        f"slowest {durations[-1]:.3f} s; memory {sizes[0] / 2**20:.0f} MB, then "
        f"{sizes[len(sizes) // 2] / 2**20:.0f}, at last {sizes[-1] / 2**20:.0f} MB; "
        f"hostile: {flood.statuses}"
    )
    assert durations[-1] < LONGEST_S
    assert sizes[-1] - sizes[len(sizes) // 2] < MOST_GROWTH
    assert flood.statuses.get("429", 0) > SLOW_CONNECTIONS - Limits().client_connections
    assert "Traceback" not in messages and len(messages.splitlines()) < 10, messages
