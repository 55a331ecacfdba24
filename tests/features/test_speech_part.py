"""The part of a clip that holds speech: what is kept, what is left out, and what is refused."""

import numpy as np
import pytest

from jdann import audio
from jdann.corpora.index import Corpus, Utterance
from jdann.features import speech_part, store
from jdann.features.speech_part import keep_speech
from tests.support.recordings import RATE_HZ, chords, noise, voice

SETTINGS = audio.AudioSettings()
VOICE = voice(2.0, 150) + noise(2.0, 0.0005)
PAUSE = np.zeros(2 * RATE_HZ, np.float32)


def test_a_clip_that_is_speech_throughout_stays_as_it_is():
    assert keep_speech(VOICE, SETTINGS) is VOICE
    expected = audio.prepare(VOICE, RATE_HZ, SETTINGS)
    prepared = speech_part.prepare(VOICE, RATE_HZ, SETTINGS)
    np.testing.assert_array_equal(prepared.samples, expected.samples)


def test_silence_around_speech_is_left_to_trimming():
    clip = np.concatenate([PAUSE, VOICE, PAUSE])
    expected = audio.prepare(clip, RATE_HZ, SETTINGS)
    np.testing.assert_array_equal(
        speech_part.prepare(clip, RATE_HZ, SETTINGS).samples, expected.samples
    )


@pytest.mark.parametrize("rate_hz", [16000, 22050])
@pytest.mark.parametrize(
    "sound, level", [(chords(2.0), 0.0), (PAUSE, 0.005)], ids=["music", "noise"]
)
def test_other_sounds_around_speech_are_left_out(sound, level, rate_hz):
    clip = np.concatenate([sound, VOICE, sound])
    clip = clip + noise(len(clip) / RATE_HZ, level)
    clip = audio.mono(clip, RATE_HZ, rate_hz)
    kept = keep_speech(clip, SETTINGS._replace(sample_rate_hz=rate_hz))
    assert 1.5 * rate_hz < len(kept) < 3.2 * rate_hz


def test_a_long_pause_is_left_out_and_a_short_one_stays():
    for pause_s, is_left_out in ((2.0, True), (0.6, False)):
        clip = np.concatenate([VOICE, np.zeros(round(pause_s * RATE_HZ)), VOICE])
        clip = (clip + noise(len(clip) / RATE_HZ, 0.002)[: len(clip)]).astype(np.float32)
        assert (len(keep_speech(clip, SETTINGS)) < len(clip)) == is_left_out


@pytest.mark.parametrize("sound", [chords(3.0), noise(3.0, 0.1), noise(0.5, 0.1)])
def test_a_clip_without_speech_is_refused(sound):
    with pytest.raises(audio.NoSpeech):
        speech_part.prepare(sound, RATE_HZ, SETTINGS)
    any_sound = SETTINGS._replace(speech_only=False)
    expected = audio.prepare(sound, RATE_HZ, any_sound).samples
    prepared = speech_part.prepare(sound, RATE_HZ, any_sound).samples
    np.testing.assert_array_equal(prepared, expected)


def test_speech_after_a_minute_of_noise_is_found():
    clip = np.concatenate([PAUSE] * 33 + [VOICE])
    clip = clip + noise(len(clip) / RATE_HZ, 0.005)
    assert len(keep_speech(clip, SETTINGS)) < 4 * RATE_HZ


def test_features_leave_out_and_name_clips_without_speech(tmp_path):
    sounds = {"voice": VOICE, "music": chords(2.0), "silence": PAUSE}
    corpus = Corpus(
        "sounds",
        "three sounds",
        False,
        tuple(Utterance(name) for name in sounds),
        read=lambda utterance: (sounds[utterance.file], RATE_HZ),
    )
    for _ in range(2):  # the second time from the cache
        features = store.extract(
            corpus,
            recipe_name="frames",
            settings={"n_mels": 48},  # test_store.py counts the programs of the default sizes
            audio_settings=SETTINGS,
            cache=tmp_path,
        )
        assert [u.file for u in features.utterances] == ["voice"]
        assert [(s.file, s.no_speech) for s in features.skipped] == [
            ("music", True),
            ("silence", True),
        ]
