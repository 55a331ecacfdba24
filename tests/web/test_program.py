"""`jdann serve` as a program: its port, its messages, and how it ends."""

import subprocess
import sys

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web.access import Access
from jdann.web.server import _warning
from tests.support.serving import Server, encoded, serving, speech

CLIP = encoded(speech(1))


def test_a_server_for_other_machines_warns_in_one_line():
    with_token = _warning("0.0.0.0", Access(token="secret token"))
    without = _warning("0.0.0.0", Access())
    assert "JDANN_TOKEN" in without and "JDANN_TOKEN" not in with_token
    assert "secret" not in with_token and "\n" not in without + with_token


@pytest.mark.slow
def test_a_second_server_on_the_port_is_refused_and_the_first_ends_in_order(
    finished_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("JDANN_TOKEN", "a-token-of-the-test")
    bearer = {"Authorization": "Bearer a-token-of-the-test"}
    log = tmp_path / "access.log"
    with serving(finished_run, tmp_path, "--host", "0.0.0.0", "--access-log", str(log)) as program:
        server = Server(program.port, None, finished_run, program.process.terminate)  # type: ignore[arg-type]
        assert server.ask(CLIP).status == 401
        assert server.ask(CLIP, bearer).status == 200
        assert f"http://127.0.0.1:{program.port}/api/predict" in server.page("/api").text
        second = subprocess.run(
            [sys.executable, "-m", "jdann", "serve", "nothing", "--port", str(program.port)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2 and second.stdout == ""
        assert f"port {program.port}" in second.stderr and second.stderr.count("\n") == 1
        with server.connected(), server.connected(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as idle:
            idle.recv(1000)
            assert program.stop() == 143
        messages = program.stderr.read_text().splitlines()
    assert messages[-1] == "jdann: stopped"
    assert "0.0.0.0: other machines that have the token" in messages[-2]
    assert len(log.read_text().splitlines()) == 4
