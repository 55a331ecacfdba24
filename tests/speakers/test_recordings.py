"""Long recordings: utterances, and who speaks them, by channel and by voice."""

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from sklearn.metrics import adjusted_rand_score

from jdann import audio
from jdann.errors import InputError
from jdann.features.speech import Stretch
from jdann.speakers.recordings import (
    Distinct,
    VoiceReader,
    group_voices,
    list_recordings,
    make_voice_reader,
    read_recording,
    read_utterances,
)
from tests.support.recordings import RATE_HZ, conversation, noise

DISTINCT = Distinct(0.3, "euclidean", 0.0)
WOMAN, MAN = (210, 1.2), (110, 1.0)
TURNS = tuple((2.0, *(WOMAN if i % 2 else MAN)) for i in range(8))


def write(path, samples, rate_hz=RATE_HZ):
    soundfile.write(path, samples, rate_hz)
    return path


def two_channels(leak: float = 0.03) -> np.ndarray:
    """Each person's channel, in which the other one is heard softly."""
    man, woman = (conversation(TURNS) * _active(pitch_hz) for pitch_hz in (MAN[0], WOMAN[0]))
    return np.stack([man + leak * woman, woman + leak * man], 1)


def _active(pitch_hz: int) -> np.ndarray:
    """1 where the person with this pitch speaks, and nearly 0 elsewhere."""
    parts = [np.full(RATE_HZ // 2, 0.01)]
    for _, pitch, _ in TURNS:
        parts.append(np.full(3 * RATE_HZ, 1.0 if pitch == pitch_hz else 0.01))
    parts.append(np.full(RATE_HZ // 2, 0.01))
    return np.concatenate(parts)


def test_people_are_told_apart_by_their_channels(tmp_path):
    path = write(tmp_path / "call.wav", two_channels())
    recording = read_recording(path, 5.0, 2, None)
    assert recording.speaker == ("left", "right") * 4
    assert recording.duration_s == pytest.approx(25.0)
    for i, (start_s, end_s) in enumerate(recording.utterances):
        assert start_s == pytest.approx(1 + 3 * i, abs=0.3)
        assert end_s == pytest.approx(3 + 3 * i, abs=0.3)


def test_the_same_sound_on_both_channels_tells_nobody_apart(tmp_path):
    samples = conversation(TURNS)
    path = write(tmp_path / "call.wav", np.stack([samples, 0.2 * samples], 1))
    assert set(read_recording(path, 5.0, 2, None).speaker) == {"1"}


@pytest.mark.slow
def test_the_pitch_tells_a_woman_from_a_man_without_an_encoder(tmp_path):
    voices = make_voice_reader(None)
    call = write(tmp_path / "call.wav", conversation(TURNS))
    assert read_recording(call, 5.0, 2, voices).speaker == ("1", "2") * 4
    alone = write(tmp_path / "alone.wav", conversation(tuple((2.0, *MAN) for _ in range(8))))
    assert set(read_recording(alone, 5.0, 2, voices).speaker) == {"1"}


def test_the_voices_of_utterances_decide(tmp_path):
    """The reader sees each utterance, cut to its size; here loudness is the voice."""
    path = write(tmp_path / "call.wav", conversation(TURNS[:1] * 8))

    def values(samples, length):
        assert samples.shape[1] >= length.max()
        return jnp.asarray(np.c_[np.arange(len(samples)) % 2, np.ones(len(samples))])

    recording = read_recording(path, 5.0, 2, VoiceReader(values, ()))
    assert recording.speaker == ("1", "2") * 4


@pytest.mark.parametrize("people", [1, 2, 3])
def test_groups_are_found_if_they_are_distinct(people):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, people, 120)
    values = rng.normal(size=(120, 8)) + 12 * np.eye(8)[truth] * (people > 1)
    group = group_voices(values, np.full(120, 2.0), 3, DISTINCT)
    assert adjusted_rand_score(truth, group) == 1.0
    assert group[0] == 0  # in the order of the first utterances


def test_short_utterances_join_the_nearest_voice():
    rng = np.random.default_rng(0)
    truth = np.arange(40) % 2
    values = rng.normal(size=(40, 4)) + 10 * np.eye(4)[truth]
    length_s = np.where(np.arange(40) % 5, 2.0, 0.4)
    assert (group_voices(values, length_s, 2, DISTINCT) == truth).all()


@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_utterances_of_a_long_file_are_read_in_one_pass(tmp_path, rate_hz):
    """As `audio.read` gives them, over the borders of the parts in memory."""
    path = write(tmp_path / "long.wav", noise(150, 0.1)[: 150 * 16000], rate_hz)
    duration_s = soundfile.info(path).duration
    spans = [(0.0, 1.0), (59.0, 63.0), (79.0, 84.0), (duration_s - 2, duration_s)]
    utterances = [Stretch(*span) for span in spans]
    for (rate, samples), (start_s, end_s) in zip(
        read_utterances(path, utterances), spans, strict=True
    ):
        expected, expected_rate = audio.read(path, start_s, end_s)
        assert rate == expected_rate and abs(len(samples) - len(expected)) <= 1
        count = min(len(samples), len(expected))
        np.testing.assert_array_equal(samples[1 : count - 1], expected[1 : count - 1])


def test_recordings_without_speech_or_too_short_are_refused(tmp_path):
    silent = write(tmp_path / "silent.wav", np.zeros(5 * RATE_HZ))
    with pytest.raises(audio.AudioError, match="no speech"):
        read_recording(silent, 5.0, 1, None)
    short = write(tmp_path / "short.wav", conversation(TURNS)[: RATE_HZ // 2])
    with pytest.raises(audio.AudioError, match=r"lasts 0.50 s; expected a recording of at least"):
        read_recording(short, 5.0, 1, None)


def test_a_folder_and_files_are_listed_once(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(100))
    assert list_recordings([tmp_path, path]) == [path]
    with pytest.raises(InputError, match="no such file or folder"):
        list_recordings([tmp_path / "b.wav"])
