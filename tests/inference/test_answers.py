"""Reasons to doubt an answer."""

import numpy as np
import pytest

from jdann.inference.answers import UNFAMILIAR, find_doubt
from jdann.inference.model import Model, load_model, save_model
from jdann.inference.recogniser import Recogniser
from jdann.selection.familiarity import Speech, fit_familiarity
from tests.support.models import make_model, speech

LABELS = ("sad", "happy", "angry")
CLIPS = [speech(1.0, 100 + 25 * i, i) for i in range(8)]


@pytest.fixture(scope="module")
def model() -> Model:
    """A model that has adapted to CLIPS. Its recipe gives vectors, and compiles fast."""
    made = make_model("mlp", members=1, recipe="poster", rate_hz=22050)
    recogniser = Recogniser.of(made)
    features = [recogniser.features(clip).padded for clip in recogniser.prepare(CLIPS, 16000)]
    spoken = Speech(np.concatenate(features), np.arange(len(CLIPS)))
    return made._replace(familiarity=fit_familiarity(spoken, spoken))


@pytest.mark.parametrize(
    ("probabilities", "is_unfamiliar", "expected"),
    [
        ([0.6, 0.3, 0.1], False, ""),
        ([0.42, 0.36, 0.22], False, "happy is nearly as likely"),
        ([0.36, 0.42, 0.22], False, "sad is nearly as likely"),
        ([0.42, 0.36, 0.22], True, UNFAMILIAR),
        ([np.nan] * 3, True, ""),
    ],
)
def test_a_doubt_is_one_short_reason(probabilities, is_unfamiliar, expected):
    assert find_doubt(LABELS, np.array(probabilities), is_unfamiliar) == expected


def test_speech_unlike_that_of_the_target_is_doubtful(model):
    """As a clip, as a window of a recording, and by its features."""
    recogniser = Recogniser.of(model)
    hiss = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    answers = [answer for _, answer in recogniser.answers([CLIPS[0], hiss], 16000)]
    assert [answer.doubt == UNFAMILIAR for answer in answers] == [False, True]
    prepared = list(recogniser.prepare([CLIPS[0], hiss], 16000))
    for clip, answer in zip(prepared, answers, strict=True):
        again = recogniser.classify(recogniser.features(clip))
        np.testing.assert_allclose(again.probabilities, answer.probabilities, atol=1e-6)
        assert again.doubt == answer.doubt
    windows = recogniser.window_answers(np.concatenate([CLIPS[0], hiss]), 1.0, 1.0, 16000)
    assert [answer.doubt == UNFAMILIAR for _, _, answer in windows] == [False, True]


def test_a_model_without_familiarity_flags_nothing(model, tmp_path):
    hiss = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    for name, changed, expected in (
        ("with", model, True),
        ("without", model._replace(familiarity=None), False),
    ):
        save_model(tmp_path / name, changed)
        recogniser = Recogniser.of(load_model(tmp_path / name))
        recogniser.save(tmp_path / f"{name} again")
        again = Recogniser.of(load_model(tmp_path / f"{name} again"))
        ((_, answer),) = again.answers([hiss], 16000)
        assert (answer.doubt == UNFAMILIAR) is expected
