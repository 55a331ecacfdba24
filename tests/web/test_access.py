"""Who may use a server that other machines can reach, and what it says about itself."""

import errno
import json
import time
from functools import partial

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

import jdann
from jdann.cli import main
from jdann.errors import InputError
from jdann.web import access_log
from jdann.web.access import Access, make_access
from jdann.web.limits import Limits
from jdann.web.server import claim_port
from tests.support.serving import ACCESS, encoded, running, speech

TOKEN = "correct-horse-battery-staple"
CLIP = encoded(speech(1))
SITE = "https://example.org"


def options(**given) -> Access:
    usual = {"host": "127.0.0.1", "token_file": None}
    return make_access(**usual | dict.fromkeys(("origins", "host_names", "proxies"), ()) | given)


@pytest.fixture(scope="module")
def guarded(server, tmp_path_factory):
    """A server with all options; the second value is its access log."""
    log = tmp_path_factory.mktemp("log") / "access.log"
    access = options(
        origins=[SITE], host_names=["emotion.example.org"], proxies=["127.0.0.9"]
    )._replace(token=TOKEN)
    limits = Limits(client_waiting=1)
    with (
        access_log.open_access_log(str(log)) as opened,
        running(server.recogniser, server.workdir, limits, access, opened) as served,
    ):
        yield served, log


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- The token ---


def test_with_the_token_there_is_an_answer(guarded, server):
    answer = guarded[0].ask(CLIP, bearer(TOKEN))
    assert answer.status == 200
    assert answer.body["probabilities"] == server.ask(CLIP).body["probabilities"]
    assert guarded[0].ask(None, bearer(TOKEN), "/api/info", "GET").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xe4\xff"},
    ],
)
@pytest.mark.parametrize(("path", "method"), [("/api/predict", "POST"), ("/api/info", "GET")])
def test_without_the_token_there_is_none(guarded, headers, path, method):
    answer = guarded[0].ask(CLIP if method == "POST" else None, headers, path, method)
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in answer.body["error"] and TOKEN not in str(answer)


def test_the_page_and_the_state_of_the_server_need_no_token(guarded):
    served, _ = guarded
    for path in ("/", "/api", "/card", "/static/token.js"):
        status, text, _ = served.page(path)
        assert status == 200 and TOKEN not in text
    assert "Authorization: Bearer TOKEN" in served.page("/api")[1]
    health = served.ask(None, path="/health", method="GET")
    assert health.status == 200 and health.body["version"] == jdann.__version__
    assert health.body["status"] == "ok" and health.body["waiting"] == 0
    assert health.body["up_s"] > 0 and "dann" in health.body["model"]


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    assert options().token == ""
    monkeypatch.setenv("JDANN_TOKEN", TOKEN)
    assert options().token == TOKEN
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}-of-the-file\n")
    assert options(token_file=file).token == f"{TOKEN}-of-the-file"


@pytest.mark.parametrize("text", ["", "short", "two words are not a token", "schlüssel" * 3])
def test_a_token_that_cannot_be_used_is_refused(text, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(InputError, match="openssl rand") as refused:
        options(token_file=file)
    assert str(file) in str(refused.value)
    assert not text or text not in str(refused.value)
    monkeypatch.setenv("JDANN_TOKEN", text)
    with pytest.raises(InputError, match="^JDANN_TOKEN: "):
        options()


def test_a_token_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            options(token_file=path)


# --- Other web sites, names and proxies ---


def test_a_page_of_a_named_site_may_ask(guarded, server):
    served, _ = guarded
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = served.ask_raw(None, asked, method="OPTIONS")
    assert preflight.status == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == SITE
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].casefold()
    for headers, status in ((bearer(TOKEN), 200), ({}, 401)):
        answer = served.ask(CLIP, {"Origin": SITE, **headers})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == SITE


@pytest.mark.parametrize("origin", ["https://example.org.evil.net", "http://example.org", "null"])
def test_a_page_of_another_site_may_not(guarded, server, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for served in (guarded[0], server):
        preflight = served.ask_raw(None, headers, method="OPTIONS")
        assert preflight.status in (400, 405)
        assert "Access-Control-Allow-Origin" not in preflight.headers


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Example.org", "https://example.org"),
        ("https://example.org:443/", "https://example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("*", "*"),
    ],
)
def test_origins_are_written_as_browsers_do(text, origin):
    assert options(origins=[text]).origins == (origin,)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--cors", v) for v in ("", "example.org", "https://a.org/path", "ftp://a.org", "null")),
        *(("--cors", v) for v in ("https://*.org/x", "https://a.org:x", "https://me@a.org")),
        *(("--allow-host", v) for v in ("", "https://a.org", "a.org:8000", "a b", "*")),
        *(("--trusted-proxy", v) for v in ("", "*", "proxy", "10.0.0.0/99")),
        ("--access-log", "/nothing/here/access.log"),
        ("--port", "70000"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(option, value, capsys, monkeypatch):
    monkeypatch.delenv("JDANN_TOKEN", raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "nothing", "--port", "0", f"{option}={value}"])
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith(f"jdann: {option} {value}")
    assert err.count("\n") == 1


def test_names_of_the_server(guarded, server):
    for served, name, status in (
        (guarded[0], "emotion.example.org", 200),
        (guarded[0], "127.0.0.1:80", 200),
        (guarded[0], "evil.example", 400),
        (server, "emotion.example.org", 400),
        (server, "[::1]:8000", 200),
    ):
        assert served.ask_raw(None, {"Host": name}, "/health", "GET").status == status, name
    assert options(host="0.0.0.0").hosts == ("*",)
    assert "evil.example" not in options(host="0.0.0.0", host_names=["emotion.example.org"]).hosts


def test_the_examples_have_the_address_by_which_the_visitor_came(guarded):
    served, _ = guarded
    headers = {"Host": "emotion.example.org:9443", "X-Forwarded-Proto": "https"}
    through_proxy = served.ask_raw(None, headers, "/api", "GET", client="127.0.0.9")
    assert through_proxy.text.count("https://emotion.example.org:9443/api/predict") == 4
    directly = served.ask_raw(None, headers, "/api", "GET")  # the word of others does not count
    assert directly.text.count("http://emotion.example.org:9443/api/predict") == 4


def test_only_a_trusted_proxy_may_say_who_the_client_is(guarded):
    served, log = guarded
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    for address, client in (("127.0.0.9", "203.0.113.7"), ("127.0.0.8", "127.0.0.8")):
        ask = partial(served.ask, None, forwarded, "/health", "GET", client=address)
        assert line_of(served, log, ask)["client"] == client


# --- The access log ---


def last(log) -> dict:
    return json.loads(log.read_text("ascii").splitlines()[-1])


def line_of(served, log, request) -> dict:
    """The line that a request adds; it may come shortly after the answer."""
    # The lines of earlier requests stand before that of this one.
    mark = f"/before/{time.monotonic_ns()}"
    served.page(mark)
    wait_for(lambda: any(mark in line for line in log.read_text("ascii").splitlines()))
    before = len(log.read_text("ascii").splitlines())
    request()
    wait_for(lambda: len(log.read_text("ascii").splitlines()) > before)
    lines = log.read_text("ascii").splitlines()
    assert len(lines) == before + 1 and lines[-1].isprintable()
    return json.loads(lines[-1])


def wait_for(is_so) -> None:
    """Waits until something is so, for ten seconds at most."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_request_has_a_line(guarded):
    served, log = guarded
    path = "/api/predict?timeline=true"
    line = line_of(served, log, partial(served.ask, CLIP, bearer(TOKEN), path))
    assert line.pop("time").endswith("+00:00") and line.pop("seconds") > 0
    assert line.pop("bytes") > 300
    assert line == {"client": "127.0.0.1", "method": "POST", "path": "/api/predict", "status": 200}
    answer = served.page("/")
    assert line_of(served, log, partial(served.page, "/"))["bytes"] == len(answer.text.encode())
    assert line_of(served, log, partial(served.ask, CLIP))["status"] == 401


def test_what_is_not_http_has_a_line_too(guarded):
    served, log = guarded

    def nonsense():
        with served.connected(b"no request\r\n\r\n") as connection:
            connection.recv(1000)

    line = line_of(served, log, nonsense)
    assert (line["client"], line["method"], line["path"]) == ("127.0.0.1", "", "")
    assert line["status"] == 400


def test_no_name_can_forge_a_line_or_control_a_terminal(guarded):
    served, log = guarded
    path = "/%0A%1B[31mred%7F%E2%80%AE%C3%A4%22" + "a" * 3000 + "?secret"
    line = line_of(served, log, partial(served.ask, None, path=path, method="GET"))
    assert line["path"].startswith('/\n\x1b[31mred\x7f\u202e\xe4"aaa')
    assert len(json.dumps(line)) < 1000


def test_the_log_holds_no_secret(guarded):
    text = guarded[1].read_text()
    assert TOKEN not in text and "secret" not in text and "RIFF" not in text


def test_a_moved_log_is_opened_again(tmp_path):
    path = tmp_path / "access.log"
    with access_log.open_access_log(str(path)) as log:
        for name in ("a", "b"):
            log.write(name, "GET", "/", 200, 0, 0.0)
            path.rename(tmp_path / name)
    assert [last(tmp_path / name)["client"] for name in "ab"] == ["a", "b"]


def test_a_full_disk_costs_lines_and_no_request(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    complaints: list[str] = []
    monkeypatch.setattr(access_log._File, "flush", full)
    monkeypatch.setattr(access_log.log, "warning", lambda text, why: complaints.append(text % why))
    with access_log.open_access_log(str(tmp_path / "access.log")) as log:
        with running(server.recogniser, server.workdir, Limits(), ACCESS, log) as served:
            assert [served.ask(CLIP).status for _ in range(3)] == [200] * 3
        monkeypatch.undo()  # closing the log writes what is left
    (complaint,) = complaints
    assert "No space left" in complaint


def test_standard_output_can_be_the_log(capsys):
    access_log.open_access_log("-").write("::1", "GET", "/", 200, 5, 0.0)
    assert json.loads(capsys.readouterr().out)["bytes"] == 5


# --- The port ---


def test_a_port_belongs_to_one_server():
    with claim_port("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert port > 0
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(InputError, match=f"{port}.*another program.*--port 0"):
                claim_port(host, port)
    claim_port("127.0.0.1", port).close()
