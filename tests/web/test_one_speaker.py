"""Several clips of one person are answered together, adapted to that person, as Python does it."""

import dataclasses
import json

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.web.answers import MAX_TIMELINE_WINDOWS
from jdann.web.limits import Limits
from jdann.web.pages import make_pages
from tests.support.corpora import EMOTIONS
from tests.support.serving import RATE, encoded, form_of, running, speech

PATH = "/api/predict?one_speaker=true"


def wav(samples: np.ndarray) -> bytes:
    return encoded(samples, subtype="FLOAT")


def clips(*seconds: float) -> dict[str, bytes]:
    return {f"{i}.wav": wav(speech(s, seed=i)) for i, s in enumerate(seconds)}


def rows(answers: list[dict]) -> list[list[float]]:
    return [[answer["probabilities"][name] for name in EMOTIONS] for answer in answers]


@pytest.mark.parametrize("seconds", [(2.2,), (1.3, 2.2, 4.7, 6.5)])
def test_the_answers_are_those_of_an_adapted_recogniser(server, seconds):
    files = clips(*seconds)
    answer = server.ask(*form_of(files), path=f"{PATH}&timeline=true&picture=true")
    assert answer.status == 200 and answer.body["adapted_to"] == len(files)
    answers = answer.body["clips"]
    assert [a["file"] for a in answers] == list(files)
    adapted = server.recogniser.adapt(list(files.values()))
    expected = adapted.probabilities(list(files.values()))
    np.testing.assert_allclose(rows(answers), expected, atol=1e-6)
    assert [a["emotion"] for a in answers] == list(adapted.predict(list(files.values())))
    alone = server.recogniser.probabilities(list(files.values()))
    assert np.abs(alone - expected).max() > 1e-3  # the adaptation matters
    timeline = adapted.timeline(files["0.wav"], 2.0, 0.5)
    np.testing.assert_allclose(
        rows(answers[0]["timeline"]), timeline.probabilities, atol=1e-6, equal_nan=True
    )
    assert all(len(a["picture"]["waveform"]["low"]) == 800 for a in answers)


def test_one_file_as_the_body_is_a_person_of_one_clip(server):
    data = wav(speech(3))
    answer = server.ask(data, path=PATH).body
    (clip,) = answer["clips"]
    expected = list(server.recogniser.adapt([data])(data).values())
    assert answer["adapted_to"] == 1 and clip["file"] is None
    np.testing.assert_allclose(rows([clip])[0], expected, atol=1e-6)


def test_a_request_leaves_nothing_behind(server):
    files, stranger = clips(2, 3), wav(speech(2.5, 9))
    before = server.ask(stranger).body, server.ask(*form_of(files), path=PATH).body
    server.ask(*form_of({"stranger.wav": stranger}), path=PATH)
    assert (server.ask(stranger).body, server.ask(*form_of(files), path=PATH).body) == before


def test_a_bad_clip_is_named_and_the_others_are_answered(server):
    good = clips(2.2, 3.1)
    files = {
        "0.wav": good["0.wav"],
        "text.wav": b"hello",
        "empty.wav": b"",
        "silent.wav": wav(np.zeros(RATE, np.float32)),
        "1.wav": good["1.wav"],
    }
    body = server.ask(*form_of(files), path=PATH).body
    assert body["adapted_to"] == 2 and [a["file"] for a in body["clips"]] == list(files)
    errors = {a["file"]: a["error"] for a in body["clips"] if "error" in a}
    assert list(errors) == ["text.wav", "empty.wav"]
    for name, word in (("text", "not audio"), ("empty", "empty file")):
        assert errors[f"{name}.wav"].startswith("This cannot be used: ")
        assert word in errors[f"{name}.wav"] and errors[f"{name}.wav"].endswith(".")
    silent = body["clips"][3]
    assert silent["emotion"] is None and silent["probabilities"] is None
    usable = list(good.values())
    expected = server.recogniser.adapt(usable).probabilities(usable)
    np.testing.assert_allclose(rows([body["clips"][0], body["clips"][-1]]), expected, atol=1e-6)


@pytest.mark.parametrize(
    "files, words",
    [
        ({"a.wav": b"hello"}, "This cannot be used: not audio"),
        (
            {"a.wav": b"hello", "b.wav": b"no"},
            "None of the 2 clips can be used; the first one: not audio",
        ),
    ],
)
def test_no_usable_clip_is_an_error(server, files, words):
    answer = server.ask(*form_of(files), path=PATH)
    assert answer.status == 422 and answer.body["error"].startswith(words)


def test_several_files_need_the_option(server):
    answer = server.ask(*form_of(clips(1, 1)))
    assert answer.status == 400 and "one_speaker=true" in answer.body["error"]
    answer = server.ask(*form_of(clips(1, 1)), path="/api/predict?one_speaker=me")
    assert answer.status == 400 and "true or false" in answer.body["error"]


@pytest.mark.parametrize(
    "limits, word",
    [
        (Limits(duration_s=5), "at most 5 s in all"),
        (Limits(values=5 * RATE), "too much audio"),
        (Limits(bytes=5 * 4 * RATE), "MB"),
        (Limits(clips=2), "more than 2 files"),
    ],
)
def test_the_limits_hold_for_all_clips_together(server, limits, word):
    with running(server.recogniser, server.workdir, limits) as limited:
        assert limited.ask(*form_of(clips(2, 2.9)), path=PATH).status == 200
        answer = limited.ask(*form_of(clips(2, 2, 2)), path=PATH)
    sentence = answer.body["error"]
    assert answer.status == 413 and word in sentence
    assert sentence.endswith(".") and sentence.count(". ") == 0


@pytest.mark.slow
def test_the_windows_of_all_clips_are_limited_together(server):
    # 60 s would have 1160 windows every 0.05 s.
    path = f"{PATH}&timeline=true&hop_s=0.05"
    answer = server.ask(*form_of(clips(30, 30)), path=path).body
    windows = [len(clip["timeline"]) for clip in answer["clips"]]
    limit = MAX_TIMELINE_WINDOWS
    assert 0.75 * limit < sum(windows) <= limit + 2 * len(windows)


def test_a_model_that_cannot_adapt_says_so(server):
    config = server.recogniser.config.to_dict()
    config["features"]["normalise"] = "utterance"
    recogniser = dataclasses.replace(server.recogniser, config=FrozenConfigDict(config))
    with running(recogniser, server.workdir, Limits()) as fixed:
        answer = fixed.ask(*form_of(clips(1, 1)), path=PATH)
        page, info = fixed.page("/")[1], fixed.page("/api/info")[1]
        documentation = fixed.page("/api")[1]
    sentence = "This model cannot adapt to one person"
    assert answer.status == 400 and answer.body["error"].startswith(sentence)
    assert sentence in page and "disabled" in page and not json.loads(info)["can_adapt"]
    assert sentence in documentation


def test_the_description_has_the_answer_for_one_person(server):
    described = make_pages(server.recogniser, server.workdir, Limits()).openapi
    operation = described["paths"]["/api/predict"]["post"]
    _, schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    files = clips(1) | {"bad.wav": b"hello"}
    answer = server.ask(*form_of(files), path=PATH).body
    assert set(answer) == set(schema["properties"]) == set(schema["required"])
    good, bad = schema["properties"]["clips"]["items"]["oneOf"]
    assert set(good["required"]) == set(answer["clips"][0])
    assert set(bad["required"]) == set(answer["clips"][1])
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["maxItems"] == Limits().clips
