"""A running server for tests, and the clips that tests send to it."""

import contextlib
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')
from jdann.inference.recogniser import Recogniser
from jdann.web.access import Access, make_access
from jdann.web.access_log import AccessLog
from jdann.web.limits import Limits
from jdann.web.server import claim_port, make_server
from jdann.web.warm_up import warm_up
from tests.support.corpora import EMOTIONS

RATE = 16000
ACCESS = make_access("127.0.0.1", None, (), (), ())
NO_LOG = AccessLog(None)


class RawAnswer(NamedTuple):
    status: int
    text: str
    headers: http.client.HTTPMessage


class Answer(NamedTuple):
    status: int
    body: dict
    headers: http.client.HTTPMessage


class Server(NamedTuple):
    port: int
    recogniser: Recogniser
    workdir: Path
    stop: Callable[[], None]  # as SIGTERM does

    def ask_raw(
        self, body, headers=None, path="/api/predict", method="POST", client="127.0.0.1"
    ) -> RawAnswer:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(client, 0)
        )
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return RawAnswer(response.status, response.read().decode(), response.headers)

    def ask(self, *arguments, **options) -> Answer:
        answer = self.ask_raw(*arguments, **options)
        return Answer(answer.status, json.loads(answer.text), answer.headers)

    def page(self, path) -> RawAnswer:
        return self.ask_raw(None, path=path, method="GET")

    def connected(self, data: bytes = b"", client: str = "127.0.0.1") -> socket.socket:
        """A connection on which some bytes have been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), 20, (client, 0))
        connection.sendall(data)
        return connection


@contextlib.contextmanager
def running(
    recogniser: Recogniser,
    path: Path,
    limits: Limits,
    access: Access = ACCESS,
    access_log: AccessLog = NO_LOG,
) -> Iterator[Server]:
    with claim_port("127.0.0.1", 0) as listener:
        server = make_server(recogniser, path, access, limits, access_log)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = listener.getsockname()[1]
        stop = partial(server.handle_exit, signal.SIGTERM, None)
        yield Server(port, recogniser, path, stop)
        stop()
        thread.join(20)


class Program(NamedTuple):
    """`jdann serve` in a process of its own."""

    process: subprocess.Popen
    port: int
    stderr: Path

    def stop(self) -> int:
        """Ends the process as a service manager does, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(model: Path, folder: Path, *options: str) -> Iterator[Program]:
    """Runs `jdann serve`; its messages go to a file in the folder."""
    command = [sys.executable, "-m", "jdann", "serve", str(model), "--port", "0", *options]
    stderr = folder / "stderr.txt"
    with stderr.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        address = re.match(r"http://\S+:(\d+) ", process.stdout.readline())
        assert address, stderr.read_text()
        yield Program(process, int(address[1]), stderr)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def server(finished_run) -> Iterator[Server]:
    recogniser = Recogniser.load(finished_run)
    warm_up(recogniser)
    with running(recogniser, finished_run, Limits()) as served:
        yield served


def speech(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A trembling harmonic tone, [samples] float32; each seed gives another one."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = random.uniform(100, 300)
    wave = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 8)) * 0.1
    return (
        wave * (1 + 0.5 * np.sin(2 * np.pi * random.uniform(2, 12) * t))
        + 0.002 * random.normal(size=len(t))
    ).astype(np.float32)


def encoded(
    samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def form(name: str, data: bytes, field: str = "file") -> tuple[bytes, dict[str, str]]:
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    head = f"--XX\r\n{disposition}\r\nContent-Type: audio/wav\r\n\r\n"
    return head.encode() + data + b"\r\n--XX--\r\n", {
        "Content-Type": "multipart/form-data; boundary=XX"
    }


def form_of(files: dict[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form with several files."""
    end = b"--XX--\r\n"
    parts = b"".join(form(name, data)[0].removesuffix(end) for name, data in files.items())
    return parts + end, form("", b"")[1]


def row(answer: Answer) -> list[float]:
    assert answer.status == 200, answer
    return [answer.body["probabilities"][name] for name in EMOTIONS]
