"""A constant offset of a signal changes nothing: neither the level, nor where the ends are cut."""

import numpy as np
import pytest
import soundfile

from jdann import audio
from jdann.audio import AudioSettings, prepare, read
from jdann.inference import export
from jdann.speakers.recordings import read_recording
from tests.support.recordings import RATE_HZ, conversation

OFFSETS = (0.001, -0.01, 0.1, -0.5, 1.0, 2.0)  # parts of the largest sample
SETTINGS = AudioSettings(max_duration_s=10.0)
AMPLITUDE = 0.3
# Samples of this type are AMPLITUDE times this number at most.
FULL_SCALE = {np.float32: 1.0, np.float64: 1.0, np.int16: 2.0**15, np.int32: 2.0**31}
# How a file stores samples, and the size of its rounding errors.
SUBTYPES = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 1e-7}


def voice(tail_s: float = 0.7) -> np.ndarray:
    """A voice between two silences with a little noise, [samples] float64."""
    samples = conversation(((1.5, 210, 1.2),)).astype(np.float64)
    return AMPLITUDE * samples[: len(samples) - round((1 - tail_s) * RATE_HZ)] / abs(samples).max()


def channels(samples: np.ndarray, count: int) -> np.ndarray:
    """The same voice in each channel, softer in later ones, [samples, channels]."""
    return samples if count == 1 else samples[:, None] / np.arange(1, count + 1)


def assert_same(samples: np.ndarray, expected: np.ndarray, error: float) -> None:
    """The samples begin and end at the same places, and differ by roundings."""
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, atol=4 * error)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("dtype", FULL_SCALE)
def test_an_offset_changes_no_prepared_clip(dtype, count, offset):
    clean = channels(voice(), count)
    with_offset = clean + AMPLITUDE * offset
    expected = prepare(clean.astype(np.float32), RATE_HZ, SETTINGS).samples
    samples = (with_offset * FULL_SCALE[dtype]).astype(dtype)
    assert_same(prepare(samples, RATE_HZ, SETTINGS).samples, expected, 2**-15)


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_an_offset_in_a_file_changes_no_prepared_clip(tmp_path, subtype, rate_hz):
    """The part that is kept is that of the file without the offset."""
    settings = SETTINGS._replace(trim_db=20.0)  # above the noise of 8 bits
    prepared = []
    for offset in (0.0, *OFFSETS):
        soundfile.write(
            tmp_path / "a.wav", channels(voice(), 2) + AMPLITUDE * offset, rate_hz, subtype
        )
        prepared.append(prepare(*read(tmp_path / "a.wav"), settings).samples)
    for samples in prepared[1:]:
        assert_same(samples, prepared[0], SUBTYPES[subtype])


@pytest.mark.parametrize("second", [0.0, -1.0])
def test_channels_have_their_own_offsets(second):
    """Also if they cancel each other: then the louder channel is used."""
    clean = np.stack([voice(), second * voice()], axis=1).astype(np.float32)
    expected = prepare(clean, RATE_HZ, SETTINGS).samples
    samples = clean + np.float32([0.4, -0.1])
    assert_same(prepare(samples, RATE_HZ, SETTINGS).samples, expected, 1e-6)


@pytest.mark.parametrize("offset", OFFSETS)
def test_zeros_that_an_editor_added_are_cut_as_silence(offset):
    recorded = (voice() + AMPLITUDE * offset).astype(np.float32)
    added = np.pad(recorded, (9 * 512, 30 * 512))  # whole hops of the trimming
    expected = prepare(recorded, RATE_HZ, SETTINGS).samples
    assert_same(prepare(added, RATE_HZ, SETTINGS).samples, expected, 1e-6)


def test_an_exported_program_removes_offsets_too():
    clean = voice().astype(np.float32)
    expected = prepare(clean, RATE_HZ, SETTINGS).samples
    samples = np.stack([clean + np.float32(AMPLITUDE * offset) for offset in (0.0, *OFFSETS)])
    length = np.full(len(samples), len(clean), np.int32)
    prepared, size, usable = export.prepare(samples, length, SETTINGS)
    assert usable.all() and (size == len(expected)).all()
    for clip in np.asarray(prepared):
        assert_same(clip[: len(expected)], expected, 1e-6)


def test_without_trimming_and_levelling_an_offset_stays():
    """The samples are those of librosa.load, as published recipes expect."""
    settings = SETTINGS._replace(trim_db=0.0, level_db=0.0)
    samples = (voice() + 0.1).astype(np.float32)
    np.testing.assert_array_equal(prepare(samples, RATE_HZ, settings).samples, samples)


@pytest.mark.parametrize("offset", [0.01, 0.5])
def test_the_offset_of_one_channel_is_nobody_speaking(tmp_path, offset):
    turns = tuple((2.0, 110, 1.0) for _ in range(4))
    call = conversation(turns)
    both = np.stack([call, 0.03 * call], axis=1)
    both[len(call) // 2 :] = both[len(call) // 2 :, ::-1]
    soundfile.write(tmp_path / "a.wav", both, RATE_HZ)
    soundfile.write(tmp_path / "b.wav", both + np.array([0.0, offset]), RATE_HZ)
    expected = read_recording(tmp_path / "a.wav", 5.0, 2, None).speaker
    assert set(expected) == {"left", "right"}
    assert read_recording(tmp_path / "b.wav", 5.0, 2, None).speaker == expected


def test_a_constant_is_silent_whatever_its_size():
    for offset in OFFSETS:
        with pytest.raises(audio.NoSpeech, match="silent"):
            prepare(np.full(RATE_HZ, offset, np.float32), RATE_HZ, SETTINGS)
