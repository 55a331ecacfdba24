"""One client cannot take every place, its requests delay others little, and it may hang up."""

import asyncio
import concurrent.futures
import threading
import time

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web import application
from jdann.web.clients import Share, client_of
from jdann.web.limits import Limits, Refused, make_limits
from jdann.web.turns import Turns
from tests.support.serving import encoded, running, speech

CLIP = encoded(speech(1))
REQUEST = (
    b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(CLIP)
) + CLIP


class Recognition:
    """Stands in for the recognition: it lasts until it is released, and notes what it is given."""

    def __init__(self):
        self.released, self.begun = threading.Event(), threading.Event()
        self.names: list[str | None] = []

    def __call__(self, recogniser, uploads, limits, options):
        self.names.append(uploads[0].name)
        self.begun.set()
        assert self.released.wait(20)
        return {"file": uploads[0].name}


@pytest.fixture
def recognition(monkeypatch):
    held = Recognition()
    monkeypatch.setattr(application, "recognise", held)
    yield held
    held.released.set()


def waiting(server) -> int:
    return server.ask(None, method="GET", path="/health").body["waiting"]


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_client_cannot_take_every_place(server, recognition):
    limits = Limits(waiting=4, client_waiting=3)
    served_by = running(server.recogniser, server.workdir, limits)
    with served_by as served, concurrent.futures.ThreadPoolExecutor(4) as pool:
        greedy = [pool.submit(served.ask, CLIP, client="127.0.0.2") for _ in range(3)]
        until(lambda: waiting(served) == 2)
        refused = served.ask(CLIP, client="127.0.0.2")
        assert refused.status == 429 and int(refused.headers["Retry-After"]) > 0
        assert refused.body["error"].endswith("try again in a few seconds.")
        other = pool.submit(served.ask, CLIP)
        until(lambda: waiting(served) == 3)
        assert served.ask(CLIP, client="127.0.0.3").status == 503  # now all places are taken
        recognition.released.set()
        assert [answer.result().status for answer in (*greedy, other)] == [200] * 4


def test_one_client_cannot_take_all_memory(server, recognition):
    limits = Limits(in_flight_bytes=4 * len(CLIP), client_bytes=int(1.5 * len(CLIP)))
    served_by = running(server.recogniser, server.workdir, limits)
    with served_by as served, concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.ask, CLIP, client="127.0.0.2")
        assert recognition.begun.wait(10)
        refused = served.ask(CLIP, client="127.0.0.2")
        assert refused.status == 429 and "too much audio" in refused.body["error"]
        other = pool.submit(served.ask, CLIP)
        until(lambda: waiting(served) == 1)
        recognition.released.set()
        assert first.result().status == other.result().status == 200


@pytest.mark.parametrize("megabytes", [0.1, 20, 200])
def test_one_client_may_always_send_the_largest_upload(megabytes):
    limits = make_limits(megabytes, 300)
    assert limits.bytes < limits.client_bytes <= limits.in_flight_bytes / 2


def test_a_share_is_given_back():
    share = Share(10, 4, "many requests")
    share.add("a", 4)
    with pytest.raises(Refused, match="You sent too many requests"):
        share.add("a")
    share.add("b", 4)
    with pytest.raises(Refused, match=r"^Too many requests"):
        share.add("c", 3)
    share.add("proxy", 2, shared=True)
    for client, count in (("a", 4), ("b", 4), ("proxy", 2)):
        share.remove(client, count)
    assert share.total == 0 and not share.of_client  # nothing is kept about a client


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "127.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unknown", "hidden", False),
    ],
)
def test_addresses_of_one_machine_are_one_client(one, other, same):
    assert (client_of(one) == client_of(other)) is same


async def _never() -> None:
    await asyncio.Event().wait()


def test_clients_take_turns():
    order = []

    async def request(turns, client):
        async with turns.turn(client, _never()):
            order.append(client)
            await asyncio.sleep(0)

    async def requests():
        turns = Turns()
        tasks = [asyncio.ensure_future(request(turns, c)) for c in "aaaaabcb"]
        await asyncio.gather(*tasks)
        assert turns.idle and turns.waiting == 0

    asyncio.run(requests())
    assert "".join(order) == "aabcabaa"


def test_a_request_whose_client_hung_up_is_not_recognised(server, recognition):
    with running(server.recogniser, server.workdir, Limits()) as served:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(served.ask, CLIP)
            assert recognition.begun.wait(10)
            gone = [served.connected(REQUEST) for _ in range(5)]
            last = pool.submit(served.ask, CLIP)
            until(lambda: waiting(served) == 6)
            for connection in gone:
                connection.close()
            until(lambda: waiting(served) == 1)
            recognition.released.set()
            assert first.result().status == last.result().status == 200
        assert len(recognition.names) == 2
        assert waiting(served) == 0


def test_a_server_that_stops_finishes_what_has_arrived(server, recognition):
    with running(server.recogniser, server.workdir, Limits()) as served:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(served.ask, CLIP) for _ in range(2)]
            until(lambda: waiting(served) == 1)
            half = served.connected(REQUEST[:1000])
            served.stop()
            until(lambda: served.ask(None, method="GET", path="/health").status == 503)
            assert served.ask(None, method="GET", path="/health").body["status"] == "stopping"
            refused = served.ask(CLIP)
            assert refused.status == 503 and "server stops" in refused.body["error"]
            recognition.released.set()
            assert [answer.result().status for answer in answers] == [200, 200]
            assert half.recv(1000) == b""  # nobody waits for the rest of this upload
            half.close()
        with pytest.raises(ConnectionRefusedError):
            until(lambda: served.connected().close())


def test_a_server_that_stops_does_not_wait_for_ever(server, recognition, capsys):
    served_by = running(server.recogniser, server.workdir, Limits(stopping_s=0.2))
    with served_by as served, concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(served.ask, CLIP) for _ in range(2)]
        until(lambda: waiting(served) == 1)
        began = time.monotonic()
        served.stop()
        assert {answer.result().status for answer in answers} == {503}
        assert time.monotonic() - began < 3
    assert "Traceback" not in capsys.readouterr().err
