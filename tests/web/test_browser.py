"""The server's page in a real Chromium, at desktop and phone width; its microphone plays a file."""

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web.access import make_access
from jdann.web.limits import Limits
from tests.support.corpora import EMOTIONS
from tests.support.serving import RATE, running, speech


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Chromium, whose microphone plays a file."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    binary = os.environ.get("JDANN_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if binary is None:
        pytest.skip("no Chromium here: apt-get install chromium, or set JDANN_CHROMIUM")
    microphone = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(microphone, speech(4), RATE, subtype="PCM_16")
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=binary, args=flags)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(chromium, port: int, width: int, height: int, scheme: str) -> Iterator[Any]:
    """The opened page.

    At the end, the page must have contacted this server only, and nothing may be wider than the
    screen.
    """
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, permissions=["microphone"]
    )
    page = context.new_page()
    requested, errors = [], []
    page.on("request", lambda r: requested.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("html[data-ready], dialog[open]")
    yield page
    address = f"http://127.0.0.1:{port}/"
    allowed = (address, f"blob:{address}")
    assert errors == [] and all(url.startswith(allowed) for url in requested)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.fixture(params=[(1280, 900, "light"), (390, 844, "dark")], ids=["desktop", "phone"])
def tab(request, chromium, server):
    """The opened page at one of two sizes."""
    with opened(chromium, server.port, *request.param) as page:
        yield page


def painted(page, name: str) -> float:
    """The part of a canvas that is not empty."""
    script = """name => {
      const c = document.getElementById(name);
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let n = 0;
      for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
      return n / (d.length / 4);
    }"""
    return page.evaluate(script, name)


def test_browser_drops_files_and_downloads_the_table(tab, server, tmp_path):
    clips = [speech(2.5, 1), speech(6, 2)]
    for i, clip in enumerate(clips):
        soundfile.write(tmp_path / f"{i}.wav", clip, RATE, subtype="FLOAT")
    (tmp_path / "=not, audio.wav").write_text("hello")
    tab.set_input_files(
        "#files", [tmp_path / "0.wav", tmp_path / "=not, audio.wav", tmp_path / "1.wav"]
    )
    tab.locator("#result-title", has_text="1.wav").wait_for(timeout=20000)
    tab.locator("#table tbody tr").nth(2).wait_for()
    assert (
        painted(tab, "waveform") > 0.02
        and painted(tab, "mel") == 1
        and painted(tab, "timeline") > 0.95
    )
    assert tab.locator("#cut").is_visible()
    played = """new Promise(r => {
      const a = document.getElementById('audio');
      a.onplaying = () => r(a.duration);
      a.play();
    })"""
    assert tab.evaluate(played) == 6
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "emotions.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [r["file"] for r in rows] == ["0.wav", "'=not, audio.wav", "1.wav"]
    assert "not audio" in rows[1]["error"] and rows[1]["emotion"] == ""
    for r, clip in zip(rows[::2], clips, strict=True):
        expected = server.recogniser(clip, RATE)
        np.testing.assert_allclose(
            [float(r[f"p_{name}"]) for name in EMOTIONS], list(expected.values()), atol=1e-5
        )
    tab.click("#table button >> nth=0")
    assert tab.locator("#result-title").inner_text().startswith("0.wav")
    tab.click("#clear")
    assert not tab.locator("#result").is_visible()


def test_browser_records_from_the_microphone(tab):
    tab.click("#record")
    tab.locator("#status", has_text="Recording, 1.").wait_for(timeout=20000)
    tab.click("#record")
    tab.locator("#result-title", has_text="recording 1.wav").wait_for(timeout=20000)
    assert painted(tab, "timeline") > 0.9
    # The duration is known once the player has read the recording.
    duration = """new Promise(r => {
      const a = document.getElementById('audio');
      const tell = () => r(a.duration);
      if (a.duration) tell();
      else a.ondurationchange = tell;
    })"""
    assert tab.evaluate(duration) > 0.9


def test_browser_says_what_is_not_audio_and_links_the_card(tab, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    tab.set_input_files("#files", tmp_path / "a.txt")
    tab.locator("#error", has_text="a.txt: This cannot be used: not audio").wait_for(timeout=20000)
    tab.click("header a[href='/card']")
    assert tab.locator("h1").inner_text() == "Model card"


def test_browser_shows_no_emotion_where_there_is_no_speech(tab, tmp_path):
    def answer_no_speech(route) -> None:
        answer = route.fetch().json()
        for part in (answer, *answer["timeline"]):
            part["probabilities"] = None
        route.fulfill(json=answer | {"emotion": None})

    tab.route("**/api/predict*", answer_no_speech)
    soundfile.write(tmp_path / "a.wav", speech(2), RATE, subtype="FLOAT")
    tab.set_input_files("#files", tmp_path / "a.wav")
    tab.locator("#result-title", has_text="a.wav: no speech").wait_for(timeout=20000)
    assert tab.locator("#no-speech").is_visible() and painted(tab, "waveform") > 0.02
    for name in ("timeline", "legend", "timeline-details"):
        assert not tab.locator(f"#{name}").is_visible()
    tab.unroute("**/api/predict*")
    tab.set_input_files("#files", tmp_path / "a.wav")
    tab.locator("#bars li").first.wait_for(timeout=20000)
    assert tab.locator("#timeline").is_visible() and not tab.locator("#no-speech").is_visible()


def test_browser_keeps_the_reason_for_a_refusal_on_the_screen(tab, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(2), RATE, subtype="FLOAT")
    (tmp_path / "b.wav").write_text("hello")
    tab.set_input_files("#files", [tmp_path / "a.wav", tmp_path / "b.wav"])
    reason = tab.locator("#table .reason")
    reason.wait_for(timeout=20000)
    box = reason.bounding_box()
    assert box["x"] + box["width"] <= tab.viewport_size["width"]
    assert tab.locator("#status").inner_text() == ""  # it does not repeat the clip before


def test_browser_asks_for_the_token_until_it_is_right(chromium, server, tmp_path):
    (tmp_path / "token").write_text("the-token-of-this-server")
    access = make_access("127.0.0.1", tmp_path / "token", (), (), ())
    with (
        running(server.recogniser, server.workdir, Limits(), access) as guarded,
        opened(chromium, guarded.port, 390, 844, "dark") as page,
    ):
        dialog, wrong, field = map(page.locator, ("#token-dialog", "#token-wrong", "#token"))
        assert dialog.is_visible() and not wrong.is_visible()
        box = dialog.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        for _ in range(3):  # without a token the page is of no use
            page.keyboard.press("Escape")
            dialog.wait_for()
        for bad in ("another-token", "no header can höld it"):
            field.fill(bad)
            field.press("Enter")
            wrong.wait_for()
            assert field.input_value() == ""
        field.fill("the-token-of-this-server")
        field.press("Enter")
        page.wait_for_selector("html[data-ready]")
        assert not dialog.is_visible()
        soundfile.write(tmp_path / "a.wav", speech(2), RATE, subtype="FLOAT")
        page.set_input_files("#files", tmp_path / "a.wav")
        page.locator("#result-title", has_text="a.wav").wait_for(timeout=20000)


def test_browser_adapts_all_answers_to_one_person(tab, server, tmp_path):
    clips = [speech(2.5, 1), speech(3.5, 2), speech(6, 3)]
    for i, clip in enumerate(clips):
        soundfile.write(tmp_path / f"{i}.wav", clip, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("hello")
    box, sentence = tab.get_by_label("All these clips are of one person"), tab.locator("#adapted")
    assert not box.is_checked() and sentence.inner_text() == "Every clip is judged alone."
    box.check()
    assert sentence.inner_text() == "The answers will adapt to this person."
    tab.set_input_files("#files", [tmp_path / name for name in ("0.wav", "text.wav", "1.wav")])
    tab.locator("#table tbody tr").nth(2).wait_for(timeout=20000)
    expect_answers(tab, server.recogniser.adapt(clips[:2], RATE), clips[:2], "Adapted to 2 clips")
    assert tab.locator("#table .reason").count() == 1
    tab.set_input_files("#files", tmp_path / "2.wav")  # each answer changes with a new clip
    expect_answers(tab, server.recogniser.adapt(clips, RATE), clips, "Adapted to 3 clips")
    assert painted(tab, "mel") == 1 and painted(tab, "timeline") > 0.95
    with tab.expect_download() as download:
        tab.click("#download")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [r["adapted_to"] for r in rows] == ["3", "", "3", "3"]
    box.uncheck()
    expect_answers(tab, server.recogniser, clips, "Every clip is judged alone.")
    box.check()
    expect_answers(tab, server.recogniser.adapt(clips, RATE), clips, "Adapted to 3 clips")


def expect_answers(page, recogniser, clips, sentence: str) -> None:
    """Waits for the sentence; the table, and the clip that is shown, must have these answers."""
    page.locator("#adapted", has_text=sentence).wait_for(timeout=20000)
    expected = recogniser.probabilities(clips, RATE)
    cells = page.locator("#table td.number").all_inner_texts()
    numbers = [float(cell.removesuffix(" %")) for cell in cells if cell.endswith("%")]
    np.testing.assert_allclose(np.reshape(numbers, expected.shape), 100 * expected, atol=0.06)
    shown = float(page.locator("#bars .first .value").inner_text().removesuffix(" %"))
    assert shown == pytest.approx(100 * expected[-1].max(), abs=0.06)


@pytest.mark.slow
def test_browser_judges_alone_if_there_is_too_much_of_one_person(chromium, server, tmp_path):
    for i in range(2):  # each keeps the limit, both together do not
        soundfile.write(tmp_path / f"{i}.wav", speech(2, i), RATE, subtype="PCM_16")
    with (
        running(server.recogniser, server.workdir, Limits(duration_s=3)) as limited,
        opened(chromium, limited.port, 390, 844, "light") as page,
    ):
        page.set_input_files("#files", [tmp_path / "0.wav", tmp_path / "1.wav"])
        page.locator("#table tbody tr").nth(1).wait_for(timeout=20000)
        box = page.get_by_label("All these clips are of one person")
        box.click()  # not `check`, which fails if the page is quick to clear the box again
        page.locator("#error", has_text="at most 3 s in all").wait_for(timeout=20000)
        assert not box.is_checked()
        assert page.locator("#adapted").inner_text() == "Every clip is judged alone."
