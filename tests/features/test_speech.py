"""The speech detector: what is speech, what is not, where it begins and ends, and how it is cut."""

import numpy as np
import pytest
from scipy import signal

from jdann.features import speech
from jdann.features.speech import Stretch, cut, find_speech, holds_speech, join_evidence, measure
from tests.support.recordings import RATE_HZ, chords, conversation, noise

SECONDS = 10
T = np.arange(SECONDS * RATE_HZ) / RATE_HZ


def narrow_bursts(low_hz: float, high_hz: float) -> np.ndarray:
    """Noise of one band, three times a second."""
    band = signal.butter(2, [low_hz, high_hz], "band", fs=RATE_HZ, output="sos")
    return signal.sosfilt(band, noise(SECONDS, 0.3)) * ((3 * T) % 1 < 0.4) + noise(SECONDS, 1e-3, 1)


NO_SPEECH = {
    "silence": np.zeros(SECONDS * RATE_HZ),
    "dither": noise(SECONDS, 1e-5),
    "white noise": noise(SECONDS, 0.1),
    "sine": 0.1 * np.sin(2 * np.pi * 440 * T),
    "beeps": 0.1 * np.sin(2 * np.pi * 700 * T) * (T % 1.3 < 0.5),
    "bursts of noise": noise(SECONDS, 0.1) * (T % 1.3 < 0.4) + noise(SECONDS, 0.001, 1),
    "bursts of a low band": narrow_bursts(150, 300),
    "bursts of a middle band": narrow_bursts(400, 800),
    "bursts of a high band": narrow_bursts(900, 2400),
    "hum": sum(0.05 / k * np.sin(2 * np.pi * 50 * k * T) for k in range(1, 10)),
    "chords": chords(SECONDS),
    "chords in noise": chords(SECONDS, 4) + noise(SECONDS, 0.005),
}
TURNS = ((2.0, 110, 1.0), (3.0, 210, 1.15), (1.5, 120, 1.0))


@pytest.mark.parametrize("name", NO_SPEECH)
def test_what_is_no_speech(name):
    assert not holds_speech(NO_SPEECH[name].astype(np.float32))


@pytest.mark.parametrize("level", [0.0, 0.001, 0.01])
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_turns_are_found_where_they_are(level, gain):
    samples = (gain * conversation(TURNS, level)).astype(np.float32)
    stretches = find_speech(measure(samples))
    assert len(stretches) == 3
    start_s = 1.0
    for stretch, (seconds, *_) in zip(stretches, TURNS, strict=True):
        assert stretch.start_s == pytest.approx(start_s, abs=0.3)
        assert stretch.end_s == pytest.approx(start_s + seconds, abs=0.3)
        start_s += seconds + 1


def test_parts_with_context_give_the_evidence_of_the_whole():
    samples = conversation(TURNS * 2)
    whole = measure(samples)
    frames, middle = len(whole.level_db), 900
    parts = [
        [track[:middle] for track in measure(samples[: (middle + 1000) * 160])],
        [track[middle:] for track in measure(samples)],
    ]
    joined = join_evidence(speech.Evidence(*part) for part in parts)
    assert len(joined.level_db) == frames
    assert find_speech(joined) == find_speech(whole)


def test_a_long_stretch_is_cut_where_it_is_quietest():
    level_db = np.full(2000, -20.0)
    level_db[[430, 900, 1150]] = -60.0
    utterances = cut([Stretch(0.0, 14.0)], level_db, 5.0)
    assert utterances[0].end_s == pytest.approx(4.3, abs=0.05)
    assert utterances[1].end_s == pytest.approx(9.0, abs=0.05)
    assert [u.end_s for u in utterances[:-1]] == [u.start_s for u in utterances[1:]]
    assert all(speech.SHORTEST_UTTERANCE_S <= u.end_s - u.start_s <= 5.0 for u in utterances)
    assert (utterances[0].start_s, utterances[-1].end_s) == (0.0, 14.0)


def test_a_short_stretch_stays_whole():
    stretches = [Stretch(0.0, 4.9), Stretch(6.0, 6.5)]
    assert cut(stretches, np.zeros(700), 5.0) == stretches


def test_nothing_holds_no_speech():
    assert not holds_speech(np.zeros(0, np.float32)) and find_speech(measure(np.zeros(10))) == []
