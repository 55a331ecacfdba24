"""Audio files and prepared clips against librosa, and a reason for each kind of broken file."""

import os
import struct
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from configs.base import get_config
from jdann import audio
from jdann.audio import AudioError, AudioSettings, prepare, read


def tone(duration_s, rate_hz=16000, amplitude=0.3, seed=0):
    """[samples] float32: a gliding tone and noise, so that no two parts are equal."""
    t = np.arange(int(duration_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (amplitude * np.sin(2 * np.pi * (200 * t + 90 * t**2)) + 0.02 * noise).astype(np.float32)


UNCHANGED = AudioSettings(max_duration_s=60.0, trim_db=0.0, level_db=0.0)
POSTER = AudioSettings(22050, offset_s=0.5, max_duration_s=2.5, trim_db=0.0, level_db=0.0)


def test_defaults_are_those_of_the_base_config():
    assert AudioSettings()._asdict() == get_config().audio.to_dict()


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1 / 100),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_16", 1e-4),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.1),
        ("mp3", None, 0.1),
    ],
)
def test_reads_every_format(tmp_path, suffix, subtype, tolerance):
    samples = tone(1.0, 44100)
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, samples, 44100, subtype=subtype)
    decoded, rate_hz = read(file)
    assert rate_hz == 44100 and decoded.dtype == np.float32 and decoded.shape == samples.shape
    np.testing.assert_allclose(decoded, samples, atol=tolerance)


def test_reads_channels_and_odd_names(tmp_path):
    stereo = np.stack([tone(0.5), tone(0.5, seed=1)], axis=1)
    file = os.fsdecode(
        os.fsencode(tmp_path) + b"/\xff caf\xc3\xa9 \xe4\xbd\xa0.wav"
    )  # no valid UTF-8
    with Path(file).open("wb") as stream:
        soundfile.write(stream, stereo, 16000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read(file)[0], stereo)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_part_equals_that_part_of_the_whole(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, tone(3.0), 16000)
    whole = read(file)[0]
    np.testing.assert_array_equal(read(file, 0.5, 1.25)[0], whole[8000:20000])
    np.testing.assert_array_equal(read(file, 2.0)[0], whole[32000:])
    np.testing.assert_array_equal(
        read(file, 2.0, 3.05)[0], whole[32000:]
    )  # a manifest's rounding is forgiven


def test_reads_part_of_a_file_of_many_hours(tmp_path):
    file = tmp_path / "long.wav"
    frames = 16 * 3600 * 8000
    header = (
        b"RIFF"
        + struct.pack("<I", 36 + 2 * frames)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    )
    with file.open("wb") as stream:
        stream.write(header + b"data" + struct.pack("<I", 2 * frames))
        stream.seek(44 + 2 * 8000 * 50000)
        stream.write((tone(1.0, 8000) * 32767).astype("<i2").tobytes())
        stream.truncate(44 + 2 * frames)
    samples, _ = read(file, 50000.0, 50001.0)
    np.testing.assert_allclose(samples, tone(1.0, 8000), atol=1e-4)


def wav_bytes(samples, *, data_bytes=None, rate_hz=16000, channels=1):
    """Bytes of a 16-bit wav file with a header that may be wrong."""
    data = (samples * 32767).astype("<i2").tobytes()
    claimed = len(data) if data_bytes is None else data_bytes
    form = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate_hz, 2 * channels * rate_hz % 2**32, 2 * channels, 16
    )
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + claimed, 2**32 - 1))
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", claimed)
        + data
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"RIFF", "not audio"),
        (b"this is no audio\n" * 999, "not audio"),
        (np.random.default_rng(0).bytes(20000), "not audio"),
        (wav_bytes(tone(1.0))[:20], "not audio"),
        (wav_bytes(tone(0.0)), "no audio|not audio"),
        (
            wav_bytes(tone(1.0), data_bytes=16000 * 2 * 3),
            r"promises 3\.00 s, the file holds 1\.00 s",
        ),
        (wav_bytes(tone(2.0))[:20000], r"promises 2\.00 s, the file holds 0\.62 s"),
        (wav_bytes(tone(1.0), channels=0), "not audio"),
        (wav_bytes(tone(1.0), channels=5000), "not audio"),
        (wav_bytes(tone(1.0), rate_hz=0), "not audio"),
        (wav_bytes(tone(1.0), rate_hz=4_000_000_000), "not audio"),
    ],
)
def test_the_error_of_a_broken_file_gives_the_reason(tmp_path, content, reason):
    file = tmp_path / "a.wav"
    file.write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        read(file)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("part", [0.02, 0.5])
def test_truncated_file_is_refused(tmp_path, suffix, part):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, tone(4.0), 16000)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    if suffix == "ogg" and part == 0.5:
        pytest.skip("a truncated Ogg stream is a shorter Ogg stream")
    with pytest.raises(AudioError, match=r"cut off|not audio"):
        read(file)


@pytest.mark.parametrize("data_bytes", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_streamed_wav_of_unknown_length_is_read(tmp_path, data_bytes):
    file = tmp_path / "a.wav"
    file.write_bytes(wav_bytes(tone(1.0), data_bytes=data_bytes))
    assert len(read(file)[0]) == 16000


def test_the_error_of_a_path_without_a_file_gives_the_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.raw").write_bytes(tone(1.0).tobytes())
    for name, reason in [
        ("", "folder"),
        ("none.wav", "not found"),
        ("pipe", "not a regular"),
        ("a.raw", "not audio"),
    ]:
        with pytest.raises(AudioError, match=reason):
            read(tmp_path / name)
    with pytest.raises(AudioError, match="not a path"):
        read("a\0b.wav")
    with pytest.raises(AudioError, match="cannot be read"):
        read(tmp_path / ("a" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_the_error_of_an_unreadable_file_gives_the_reason(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(1.0), 16000)
    file.chmod(0)
    with pytest.raises(AudioError, match="permission"):
        read(file)


@pytest.mark.parametrize(
    ("start_s", "end_s", "reason"),
    [
        (2.0, None, "starts at 2 s; the file ends at 1.00 s"),
        (0.0, 1.5, "ends at 1.5 s; the file ends at 1.00 s"),
        (1e300, None, "starts at"),
        (0.0, 1e300, "ends at"),
        (-1.0, None, "expected 0 or more"),
        (float("nan"), None, "expected 0 or more"),
        (0.5, 0.5, "more than the start"),
        (0.0, float("nan"), "more than the start"),
    ],
)
def test_part_outside_the_file_is_refused(tmp_path, start_s, end_s, reason):
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(1.0), 16000)
    with pytest.raises(AudioError, match=reason):
        read(file, start_s, end_s)


def test_more_than_fits_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jdann.audio.reading._MOST_VALUES", 10000)
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16000)
    with pytest.raises(AudioError, match="give `start` and `end`"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_poster_settings_equal_librosa_load(tmp_path, rate_hz, channels):
    file = tmp_path / "a.wav"
    samples = np.stack([tone(4.3, rate_hz, seed=seed) for seed in range(channels)], axis=1)
    soundfile.write(file, samples, rate_hz)
    clip = prepare(*read(file), POSTER)
    expected, _ = librosa.load(file, sr=22050, offset=0.5, duration=2.5)
    np.testing.assert_array_equal(clip.samples, expected)
    assert clip.cut and clip.samples.dtype == np.float32


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 96000])
def test_resampling_equals_librosa(rate_hz):
    for duration_s in (0.5, 0.7001, 1.3):
        samples = tone(duration_s, rate_hz)
        expected = librosa.resample(samples, orig_sr=rate_hz, target_sr=16000, res_type="soxr_hq")
        clip = prepare(samples, rate_hz, UNCHANGED)
        np.testing.assert_array_equal(clip.samples, expected)
        assert not clip.cut


@pytest.mark.parametrize("trim_db", [10.0, 25.0, 35.0, 60.0])
@pytest.mark.parametrize("samples_count", [16000, 16001, 30719, 30720, 40000])
def test_trimming_equals_librosa(samples_count, trim_db):
    rng = np.random.default_rng(samples_count)
    envelope = np.exp(-(((np.arange(samples_count) / samples_count - 0.5) / 0.12) ** 2))
    samples = 0.3 * envelope * rng.standard_normal(samples_count) + 1e-4 * rng.standard_normal(
        samples_count
    )
    samples = samples.astype(np.float32)
    samples -= samples.mean()
    expected, _ = librosa.effects.trim(samples, top_db=trim_db)
    clip = prepare(samples, 16000, UNCHANGED._replace(trim_db=trim_db))
    np.testing.assert_allclose(clip.samples, expected, atol=1e-8, strict=True)


def test_trimming_does_not_depend_on_level():
    samples = np.concatenate([np.zeros(16000, np.float32), tone(1.0), np.zeros(16000, np.float32)])
    lengths = {
        len(prepare(samples * scale, 16000, AudioSettings()).samples) for scale in (1.0, 0.1, 3e-3)
    }
    assert len(lengths) == 1 and 15000 < lengths.pop() < 19000


def test_level_and_cut():
    clip = prepare(tone(7.0), 16000, AudioSettings())
    assert clip.cut and clip.samples.shape == (80000,)
    assert 20 * np.log10(
        np.sqrt(np.mean(np.square(clip.samples, dtype=np.float64)))
    ) == pytest.approx(-26, abs=1e-3)
    assert not prepare(tone(5.0), 16000, AudioSettings()).cut


def test_integers_give_the_same_clip_as_floats():
    floats = prepare(
        np.float32(tone(1.0) * 32768).astype(np.int16).astype(np.float32) / 32768,
        16000,
        AudioSettings(),
    )
    integers = prepare(np.float32(tone(1.0) * 32768).astype(np.int16), 16000, AudioSettings())
    np.testing.assert_array_equal(floats.samples, integers.samples)


def test_opposite_channels_do_not_cancel():
    signal = tone(1.0)
    clip = prepare(np.stack([signal, -0.999 * signal], axis=1), 16000, UNCHANGED)
    np.testing.assert_array_equal(clip.samples, signal)
    mixed = prepare(np.stack([signal, 0 * signal], axis=1), 16000, UNCHANGED)
    np.testing.assert_allclose(mixed.samples, signal / 2, rtol=1e-6)


def test_the_samples_passed_in_do_not_change():
    samples = tone(1.0)
    before = samples.copy()
    prepare(samples, 16000, AudioSettings())
    np.testing.assert_array_equal(samples, before)


def with_value(samples, value):
    samples = samples.copy()
    samples[100] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "rate_hz", "reason"),
    [
        (with_value(tone(1.0), np.nan), 16000, "1 samples that are not numbers"),
        (with_value(tone(1.0), -np.inf), 16000, "not numbers"),
        (np.stack([tone(1.0), with_value(tone(1.0), np.nan)], axis=1), 16000, "not numbers"),
        (with_value(tone(1.0), 1e30), 16000, "expected -1 to 1"),
        (np.zeros(16000, np.float32), 16000, "silent"),
        (np.full(16000, 0.5, np.float32), 16000, "silent"),
        (np.resize(np.array([0, 1, 0, -1], np.int16), 16000), 16000, "silent"),
        (np.zeros((16000, 2), np.float32), 16000, "silent"),
        (tone(0.05), 16000, "only 0.050 s are left"),
        (np.zeros(0, np.float32), 16000, "lasts 0.00 s"),
        (np.zeros((0, 2), np.float32), 16000, "lasts 0.00 s"),
        (tone(1.0), 1, "sample rate is 1 Hz"),
        (tone(1.0), 10**9, "sample rate"),
    ],
)
def test_the_error_of_unusable_samples_gives_the_reason(samples, rate_hz, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AudioError, match=reason):
            prepare(samples, rate_hz, AudioSettings())


def test_an_offset_longer_than_the_clip_is_refused():
    with pytest.raises(AudioError, match=r"lasts 0\.40 s, and the first 0\.5 s are left out"):
        prepare(tone(0.4, 22050), 22050, POSTER)


def test_a_file_that_decodes_to_nothing_is_damaged():
    with pytest.raises(audio.AudioError, match="nothing can be decoded"):
        list(audio.reading._windows(iter(()), 16000, 1.0, 1.0))


SCALES = {
    "16 bits as floats": (2.0**15, np.float32),
    "16 bits as doubles": (2.0**15, np.float64),
    "24 bits as floats": (2.0**23, np.float32),
    "16 bits": (2.0**15, np.int16),
    "16 bits in 32": (2.0**15, np.int32),
    "32 bits": (2.0**31, np.int32),
    "16 bits in 64": (2.0**15, np.int64),
}


@pytest.mark.parametrize("name", SCALES)
def test_each_scale_gives_the_same_samples(name):
    full_scale, dtype = SCALES[name]
    samples = tone(1.0)
    prepared = prepare((samples * full_scale).astype(dtype), 16000, UNCHANGED).samples
    np.testing.assert_allclose(prepared, samples, atol=2 / 2**15)


def test_floats_a_little_above_full_scale_stay():
    samples = tone(1.0, amplitude=3.0)
    np.testing.assert_array_equal(prepare(samples, 16000, UNCHANGED).samples, samples)
