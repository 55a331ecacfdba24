"""The server answers as the recogniser does, keeps its limits and writes nothing to disk.

Requests that cannot be used are answered with a sentence.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict, FrozenConfigDict

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.cli import main
from jdann.errors import InputError
from jdann.features.speech import LONGEST_S
from jdann.inference import export
from jdann.inference.recogniser import Recogniser
from jdann.web import server as web_server
from jdann.web.answers import MAX_TIMELINE_WINDOWS
from jdann.web.limits import Limits, make_limits
from jdann.web.pages import make_pages
from jdann.web.server import claim_port
from jdann.web.warm_up import warm_up
from tests.support.corpora import EMOTIONS
from tests.support.serving import ACCESS, NO_LOG, RATE, encoded, form, row, running, speech

# The start of an upload whose end never comes.
BEGUN = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\nRIFF"


@pytest.mark.parametrize(
    "kind, rate, channels",
    [("WAV", 16000, 1), ("FLAC", 44100, 2), ("MP3", 22050, 1), ("OGG", 48000, 2), ("WAV", 8000, 6)],
)
def test_answers_as_python_and_the_command_line_do(server, tmp_path, capsys, kind, rate, channels):
    samples = np.stack([speech(2.2, 3, rate) * (c + 1) / channels for c in range(channels)], 1)
    data = encoded(samples, rate, kind)
    clip = tmp_path / f"clip.{kind.lower()}"
    clip.write_bytes(data)
    expected = list(server.recogniser(clip).values())
    np.testing.assert_allclose(row(server.ask(data)), expected, atol=1e-6)
    answer = server.ask(*form("clip of mine.wav", data))
    np.testing.assert_allclose(row(answer), expected, atol=1e-6)
    assert answer.body["file"] == "clip of mine.wav"
    assert answer.body["emotion"] == EMOTIONS[int(np.argmax(expected))]
    capsys.readouterr()
    main_without_exit(["predict", str(server.workdir), str(clip), "--json"])
    printed = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose([printed[f"p_{name}"] for name in EMOTIONS], expected, atol=1e-5)


@pytest.mark.slow
def test_answers_as_an_exported_file_does(server, tmp_path):
    export.write(server.recogniser, tmp_path / "model.jdann")
    soundfile.write(tmp_path / "clip.wav", speech(2.2, 5), RATE, subtype="FLOAT")
    expected = export.Exported(tmp_path / "model.jdann").file(tmp_path / "clip.wav")
    np.testing.assert_allclose(
        row(server.ask((tmp_path / "clip.wav").read_bytes())), list(expected.values()), atol=1e-5
    )


def main_without_exit(arguments: list[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(arguments)


def test_the_timeline_is_the_recognisers(server):
    samples = speech(7.3)
    samples[: 2 * RATE] = 0
    answer = server.ask(
        encoded(samples, subtype="FLOAT"), path="/api/predict?timeline=true&window_s=1.5&hop_s=0.7"
    ).body
    expected = server.recogniser.timeline(samples, 1.5, 0.7, RATE)
    windows = answer["timeline"]
    assert windows[0]["probabilities"] is None
    np.testing.assert_allclose([w["start_s"] for w in windows], expected.start_s, atol=1e-3)
    np.testing.assert_allclose([w["end_s"] for w in windows], expected.end_s, atol=1e-3)
    values = [
        list((w["probabilities"] or dict.fromkeys(EMOTIONS, np.nan)).values()) for w in windows
    ]
    np.testing.assert_allclose(values, expected.probabilities, atol=1e-6)
    assert (answer["duration_s"], answer["heard_s"]) == (7.3, 5.0)


@pytest.mark.slow
def test_the_timeline_of_a_long_clip_is_limited(server):
    answer = server.ask(
        encoded(speech(290)), path="/api/predict?timeline=1&hop_s=0.05&picture=1"
    ).body
    limit = MAX_TIMELINE_WINDOWS
    assert 0.75 * limit < len(answer["timeline"]) <= limit + 2
    assert answer["timeline"][-1]["end_s"] == 290
    assert (
        len(answer["picture"]["waveform"]["low"]) == 800
        and answer["picture"]["mel"]["columns"] <= 801
    )


def test_fifty_at_once_are_all_answered_and_none_wrong(server):
    clips = [speech(3, seed) for seed in range(50)]
    expected = [list(server.recogniser(clip, RATE).values()) for clip in clips]
    begin = threading.Barrier(50)

    def ask(clip):
        begin.wait()
        return row(server.ask(encoded(clip, subtype="FLOAT")))

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        np.testing.assert_allclose(list(pool.map(ask, clips)), expected, atol=1e-5)


def malformed() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Two hundred uploads that cannot be answered."""
    random = np.random.default_rng(0)
    wav, flac = encoded(speech(1)), encoded(speech(1), kind="FLAC")
    yield from (("noise", random.bytes(int(n)), {}) for n in random.integers(1, 50000, 60))
    yield from (
        ("text", text.encode(), {})
        for text in ("a", "hello", "<html></html>", '{"a": 1}', "RIFF", "fLaC", "OggS", "ID3")
    )
    yield from (
        ("cut", data[: int(len(data) * part)], {})
        for data in (wav, flac)
        for part in np.linspace(0.001, 0.7, 15)
    )
    for _ in range(30):  # a header of noise before real samples
        yield "header", random.bytes(40) + wav[40:], {}
    for at in (8, 12, 20, 22):  # no WAVE, no format, a format that there is not, 65535 channels
        yield "format", wav[:at] + b"\xff\xff" + wav[at + 2 :], {}
    yield from (("short", encoded(speech(s)), {}) for s in (0.001, 0.01, 0.05, 0.09))
    for value in (np.nan, np.inf, -np.inf, 1e30):
        broken = speech(1)
        broken[5000] = value
        yield "numbers", encoded(broken, subtype="FLOAT"), {}
    yield "nothing", b"", {}
    yield "no samples", encoded(np.zeros(0, np.float32)), {}
    for body in (
        b"",
        b"--XX--\r\n",
        b"--XX\r\n\r\nx\r\n--XX--\r\n",
        b"--YY\r\nnonsense",
        random.bytes(2000),
        wav,
        form("", b"")[0],
    ):
        yield "form", body, {"Content-Type": "multipart/form-data; boundary=XX"}
    yield "form", wav, {"Content-Type": "multipart/form-data"}
    yield "form", wav, {"Content-Type": "multipart/form-data; boundary="}
    yield (
        "fields",
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--XX--\r\n',
        form("", b"")[1],
    )
    two = form("a.wav", wav)[0].replace(b"--XX--\r\n", b"") + form("b.wav", wav)[0]
    yield "two files", two, form("", b"")[1]
    for _ in range(60):
        yield "form of noise", *form("a.wav", random.bytes(3000))


def test_two_hundred_malformed_uploads_get_a_sentence_and_the_server_stays_up(server):
    uploads = list(malformed())
    assert len(uploads) >= 200
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda upload: server.ask(upload[1], upload[2]), uploads))
    for (what, body, _), answer in zip(uploads, answers, strict=True):
        assert 400 <= answer.status < 500, (what, body[:60], answer)
        sentence = answer.body["error"]
        assert (
            list(answer.body) == ["error"]
            and sentence.endswith(".")
            and 10 < len(sentence) < 300
            and "\n" not in sentence
        )
    clip = speech(1)
    assert row(server.ask(encoded(clip, subtype="FLOAT"))) == pytest.approx(
        list(server.recogniser(clip, RATE).values()), abs=1e-6
    )


@pytest.mark.parametrize(
    "query, word",
    [
        ("window_s=0", "window_s"),
        ("window_s=nan", "window_s"),
        ("window_s=9", "to 5"),
        ("hop_s=-1", "hop_s"),
        ("hop_s=x", "hop_s"),
        ("timeline=maybe", "timeline"),
        ("windows=3", "not an option"),
    ],
)
def test_options_that_make_no_sense_are_named(server, query, word):
    answer = server.ask(encoded(speech(1)), path=f"/api/predict?{query}")
    assert answer.status == 400 and word in answer.body["error"]


def test_other_addresses_and_methods_get_a_sentence(server):
    assert server.ask(None, path="/nothing", method="GET").status == 404
    assert server.ask(None, path="/static/..%2f..%2fserve.py", method="GET").status == 404
    answer = server.ask(None, method="GET")
    assert answer.status == 405 and "/api" in answer.body["error"]


def test_a_foreign_host_header_is_refused(server):
    refused = server.ask_raw(None, {"Host": "evil.example"}, "/api/info", "GET")
    assert refused.status == 400


def test_too_much_is_refused_before_it_is_held_or_decoded(server):
    limit = Limits().bytes
    body = b"\0" * (limit + 100_000)
    chunks = (body[i : i + 2**16] for i in range(0, len(body), 2**16))
    # first with Content-Length, then chunked
    for upload in (body, chunks):
        answer = server.ask(upload)
        assert answer.status == 413 and "20 MB" in answer.body["error"]
    answer = server.ask(*form("a.wav", body))
    assert answer.status == 413 and "20 MB" in answer.body["error"]
    hour = encoded(np.zeros(3600 * 8000, np.int16), 8000, "FLAC")
    assert len(hour) < 2**20
    answer = server.ask(hour)
    assert (
        answer.status == 413
        and "3600 s" in answer.body["error"]
        and "300 s" in answer.body["error"]
    )
    wide = encoded(np.zeros((200 * 48000, 8), np.int16), 48000, "FLAC")
    tracemalloc.start()
    answer = server.ask(wide)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status == 413 and "too much" in answer.body["error"]
    assert peak < 50e6  # 307 MB decoded


def test_too_much_decoded_audio_has_the_documented_status(server):
    wide = encoded(np.zeros((200 * 48000, 8), np.int16), 48000, "FLAC")
    described = json.loads(server.page("/api/openapi.json")[1])["paths"]["/api/predict"]["post"]
    status = server.ask(wide).status
    assert "too much audio" in described["responses"][str(status)]["description"]
    assert "too much audio" in server.page("/api")[1]


@dataclasses.dataclass
class RecordingPrograms:
    """Stands in for the compiled programs and notes the padded length of each clip."""

    members: int
    classes: int
    settings: Any
    batch: int = 1
    sizes: set[int] = dataclasses.field(default_factory=set)

    def outputs(self, adaptation, samples, length):
        self.sizes.add(samples.shape[1])
        assert samples.shape[1] >= max(length)
        shape = (self.members, len(samples), self.classes)
        return np.zeros(shape, np.float32), np.zeros((*shape[:2], 4), np.float32)


@pytest.mark.parametrize(
    "longest_s, offset_s", [(0.5, 0.0), (5.0, 0.25), (7.2, 0.0), (12.0, 0.0), (15.5, 0.25)]
)
def test_every_clip_length_is_compiled_before_the_first_visitor(server, longest_s, offset_s):
    recogniser = server.recogniser
    programs = RecordingPrograms(2, len(recogniser.labels), recogniser.programs.settings)
    config = ConfigDict(recogniser.config)
    config.audio.update({"max_duration_s": longest_s, "offset_s": offset_s})
    recording_recogniser = dataclasses.replace(
        recogniser, programs=programs, config=FrozenConfigDict(config)
    )
    warm_up(recording_recogniser)
    compiled = set(programs.sizes)
    for seconds in np.arange(0.2, longest_s + 3, 0.3):
        list(recording_recogniser.each([speech(seconds + offset_s)], RATE))
    assert programs.sizes == compiled and max(compiled) >= longest_s * RATE


def test_a_model_that_uses_only_speech_is_compiled_too(server, monkeypatch):
    """What the server compiles with is noise, which holds no speech."""
    sizes, searched = [], []  # of the programs of the model, and of the search for speech
    monkeypatch.setattr("jdann.features.speech._compile", searched.append)
    for speech_only in (False, True):
        config = ConfigDict(server.recogniser.config)
        config.audio.speech_only = speech_only
        labels, settings = server.recogniser.labels, server.recogniser.programs.settings
        programs = RecordingPrograms(2, len(labels), settings)
        warm_up(
            dataclasses.replace(
                server.recogniser, programs=programs, config=FrozenConfigDict(config)
            )
        )
        sizes.append(programs.sizes)
        assert bool(searched) == speech_only
    assert sizes[0] == sizes[1] != set()
    assert max(searched) == LONGEST_S * 16000 and len(searched) == len(set(searched))


def test_a_model_that_takes_no_audio_is_refused(server):
    config = ConfigDict(server.recogniser.config)
    config.features.recipe = "vectors"
    recogniser = dataclasses.replace(server.recogniser, config=FrozenConfigDict(config))
    with claim_port("127.0.0.1", 0) as listener, pytest.raises(InputError, match="on vectors"):
        web_server.main(recogniser, server.workdir, listener, ACCESS, Limits(), NO_LOG)


def test_the_examples_have_the_address_of_the_server(server):
    text = server.page("/api")[1]
    address = f"http://127.0.0.1:{server.port}/api/predict"
    assert text.count(address) == 4 and ":8000" not in text


def test_a_host_name_is_escaped_in_the_examples(server):
    pages = make_pages(server.recogniser, server.workdir, Limits())
    assert "<script>" not in pages.api("http://<script>alert(1)</script>")


def test_what_is_far_too_large_is_not_even_read(server):
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_client_that_disconnects_does_not_stop_the_server(server):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(BEGUN)
    assert server.ask(encoded(speech(1))).status == 200


def test_slow_uploads_and_full_queues_are_refused(server):
    limits = Limits(seconds=0.5, waiting=1)
    with running(server.recogniser, server.workdir, limits) as slow:
        with socket.create_connection(("127.0.0.1", slow.port), 10) as connection:
            connection.sendall(BEGUN)
            time.sleep(0.15)
            busy = slow.ask(encoded(speech(1)))
            assert (
                busy.status == 503
                and busy.headers["Retry-After"] == "5"
                and "again" in busy.body["error"]
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert slow.ask(encoded(speech(1))).status == 200
    with running(server.recogniser, server.workdir, Limits(in_flight_bytes=1000)) as small:
        answer = small.ask(encoded(speech(1)))
        assert answer.status == 503 and "Too much audio" in answer.body["error"]


_watched: list[str] | None = None


def _audit(event: str, arguments: tuple) -> None:
    """Notes what is written while `_watched` is a list; an audit hook cannot be removed."""
    if _watched is None:
        return
    if event == "open":
        path, _mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not isinstance(path, int):  # a number: a file in memory, which is open
            _watched.append(str(path))
    elif event in ("tempfile.mkstemp", "os.mkdir", "shutil.copyfile"):
        _watched.append(event)


def test_nothing_touches_the_disk(server, tmp_path, monkeypatch):
    global _watched
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for other programs
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # tempfile has read TMPDIR before
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path
    clip = encoded(speech(60))  # 1.9 MB: forms of this size are spooled to disk by default
    requests = [
        lambda: server.ask(clip),
        lambda: server.ask(*form("a.wav", clip)),
        lambda: server.ask(b"no audio"),
        lambda: server.ask(*form("a.wav", clip), path="/api/predict?one_speaker=true"),
    ]
    for request in requests:
        request()
    sys.addaudithook(_audit)
    _watched = []
    for request in requests:
        request()
    opened, _watched = _watched, None
    assert opened == []
    assert list(tmp_path.iterdir()) == []


def test_pages_load_nothing_from_other_sites(server):
    for path in (
        "/",
        "/card",
        "/api",
        "/static/app.js",
        "/static/draw.js",
        "/static/recorder.js",
        "/static/base.css",
        "/static/page.css",
    ):
        status, text, headers = server.page(path)
        assert status == 200
        text = text.replace("http://www.w3.org/2000/svg", "")
        text = text.replace(f"http://127.0.0.1:{server.port}", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), path
        assert (
            "default-src 'none'" in headers["Content-Security-Policy"]
            and headers["Cache-Control"] == "no-store"
        )
    assert "style=" not in server.page("/")[1] and "<script>" not in server.page("/")[1]
    card = server.page("/card")[1]
    for words in (
        "Article 5(1)(f)",
        "portrayed emotion",
        "Intended use",
        "licence is not known",
        "In its run it reached UAR",
    ):
        assert words in card


def test_the_description_is_that_of_the_answers(server):
    status, text, _ = server.page("/api/openapi.json")
    described = json.loads(text)["paths"]["/api/predict"]["post"]
    answer = server.ask(encoded(speech(1)), path="/api/predict?timeline=true&picture=true").body
    schema, _ = described["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    assert status == 200 and set(answer) == set(schema["properties"])
    probabilities, null = schema["properties"]["probabilities"]["oneOf"]
    assert set(answer["probabilities"]) == set(probabilities["required"])
    assert null == {"type": "null"}  # no speech
    assert {p["name"] for p in described["parameters"]} == {
        "one_speaker",
        "timeline",
        "picture",
        "window_s",
        "hop_s",
    }


def test_a_taken_port_and_senseless_limits_are_named(server):
    with pytest.raises(InputError, match="another --port"):
        claim_port("127.0.0.1", server.port)
    with pytest.raises(InputError, match="--port 99999"):
        claim_port("127.0.0.1", 99999)
    with pytest.raises(InputError, match="--max-mb"):
        make_limits(0, 10)
    with pytest.raises(InputError, match="--max-s"):
        make_limits(1, float("nan"))


def test_a_model_without_its_run_has_a_card_too(finished_run, tmp_path):
    (folder,) = (finished_run / "recogniser").glob("*-dann")
    shutil.copytree(folder, tmp_path / "model")
    pages = make_pages(Recogniser.load(tmp_path / "model"), tmp_path / "model", Limits())
    assert "have not come with the model" in pages.card and "Article 5(1)(f)" in pages.card
