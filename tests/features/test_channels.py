"""Channels beside SciPy's filters, libsndfile's codecs, and measured noise and decay."""

import inspect
import io
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import soundfile

from jdann.features import channels
from jdann.features.channels import CHANNELS

RATE_HZ = 16000
KEY = jax.random.key(0)
# Most tests use one shape, so that each channel is compiled once for all of them.
SHAPE = (2, 2 * RATE_HZ)
WHOLE = np.full(SHAPE[0], SHAPE[1], np.int32)
LENGTH = np.array([SHAPE[1], 18001], np.int32)
SHAPED_DB = (0.0, 0.0, -10.0, -30.0, -30.0)  # at 0, 2, 4, 6 and 8 kHz
NOISE = {
    "white_noise": channels.white_noise,
    "pink_noise": channels.pink_noise,
    "babble": channels.babble,
    "shaped_noise": partial(channels.shaped_noise, gain_db=SHAPED_DB),
}
# These consist of parts that the other channels have, too.
REPEATED = ("far_microphone", "gsm", "pink_noise", "white_noise")


@cache
def speech_like() -> np.ndarray:
    """Harmonics of a falling pitch with a rhythm of syllables, float32 of SHAPE."""
    time = np.arange(SHAPE[1]) / RATE_HZ
    rows = []
    for row in range(SHAPE[0]):
        phase = 2 * np.pi * np.cumsum(140 + 30 * row - 20 * time) / RATE_HZ
        wave = sum(np.sin(k * phase) / k for k in range(1, 40))
        rows.append(0.1 * wave * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)))
    return np.stack(rows).astype(np.float32)


def with_default_level(channel):
    """Passes the default level as an argument, so that no other program is compiled for it."""
    parameters = inspect.signature(channel).parameters
    levels = {name: parameters[name].default for name in ("snr_db", "q_db") if name in parameters}
    return partial(channel, **levels)


def spectrum_db(noise, nperseg: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the mean power of all rows in dB, [bins] each."""
    frequency_hz, power = scipy.signal.welch(np.asarray(noise), RATE_HZ, nperseg=nperseg)
    return frequency_hz, level_db(power.mean(0))


def level_db(power) -> np.ndarray:
    return 10 * np.log10(np.asarray(power) + 1e-30)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in REPEATED else n for n in CHANNELS],
)
def test_neither_padding_nor_other_rows_change_anything(name):
    channel = with_default_level(CHANNELS[name])
    samples = speech_like()
    short = np.asarray(channel(KEY, samples, LENGTH))
    # What lies after the end is not zero, and there is a third row of silence.
    padded = np.pad(samples, ((0, 0), (0, 4000)), constant_values=0.3)
    padded = np.concatenate([padded, np.zeros_like(padded[:1])])
    long = np.asarray(channel(KEY, padded, np.append(LENGTH, 36000).astype(np.int32)))
    changed = np.abs(long[:2, : SHAPE[1]] - short) > 2e-6 + 1e-7 * np.abs(short)
    # Mu-law may give either of two codes to a value on their border, because of rounding errors.
    assert changed.mean() < (0.002 if name == "telephone" else 1e-9)
    assert np.isfinite(long).all()
    for row, length in zip(long, LENGTH, strict=False):
        assert not row[length:].any() and row[:length].any()


@pytest.mark.parametrize("edges", [(300.0, 3400.0), (0.0, 3400.0), (300.0, 8000.0)])
def test_band_limit_is_the_filter_of_scipy(edges):
    low_hz, high_hz = edges
    taps = len(channels.band_pass_taps(RATE_HZ, low_hz, high_hz))
    cutoff = [edge for edge in edges if 0 < edge < RATE_HZ / 2]
    reference = scipy.signal.firwin(taps, cutoff, pass_zero=low_hz == 0, fs=RATE_HZ, scale=False)
    noise = np.random.default_rng(0).normal(size=(1, 6000)).astype(np.float32)
    result = channels.band_limit(KEY, noise, np.array([6000]), low_hz=low_hz, high_hz=high_hz)
    expected = scipy.signal.fftconvolve(noise[0], reference, mode="same")
    np.testing.assert_allclose(result[0], expected, atol=2e-5)


def test_mu_law_is_that_of_libsndfile():
    integers = np.arange(-32768, 32768, 7).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, integers, 8000, format="WAV", subtype="ULAW")
    file.seek(0)
    expected, _ = soundfile.read(file, dtype="float32")
    result = np.asarray(jax.jit(channels.mu_law)(jnp.asarray(integers / 32768.0, jnp.float32)))
    # A value on the border of two codes may take either.
    assert np.mean(np.abs(result - expected) > 1e-6) < 0.01
    np.testing.assert_allclose(result, expected, atol=0.04, rtol=0.07)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 48000])
def test_telephone_keeps_its_band_and_removes_the_rest(rate_hz):
    time = np.arange(rate_hz // 4) / rate_hz
    tones_hz = np.array([100.0, 500.0, 1000.0, 3000.0, 3700.0])
    tones_hz = np.concatenate([tones_hz, [6000.0] if rate_hz > 12000 else []])
    samples = (0.2 * np.sin(2 * np.pi * tones_hz[:, None] * time)).astype(np.float32)
    length = np.full(len(samples), len(time), np.int32)
    result = channels.telephone(KEY, samples, length, sample_rate_hz=rate_hz)
    inside = slice(rate_hz // 40, -rate_hz // 40)  # the filter changes the ends
    gain_db = level_db(np.square(result)[:, inside].mean(1)) - level_db(0.02)
    error = np.asarray(result - samples)[1:4, inside]
    assert np.abs(gain_db[1:4]).max() < 0.2 and gain_db[[0, *range(4, len(tones_hz))]].max() < -30
    # Mu-law keeps an error about 38 dB below a loud signal; there is no shift in time.
    assert -45 < (level_db(np.square(error).mean(1)) - level_db(0.02)).max() < -30


@pytest.mark.parametrize("name", NOISE)
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_has_the_ratio_that_was_asked_for(name, snr_db):
    samples = speech_like()
    noisy = np.asarray(NOISE[name](KEY, samples, LENGTH, snr_db=snr_db))
    for row, clean, length in zip(noisy, samples, LENGTH, strict=True):
        clean, noise = clean[:length], row[:length] - clean[:length]
        ratio_db = level_db(np.square(clean).mean()) - level_db(np.square(noise).mean())
        assert ratio_db == pytest.approx(snr_db, abs=0.05)
        assert abs(np.corrcoef(clean, noise)[0, 1]) < 0.1


@pytest.mark.parametrize("name, slope_db", [("white_noise", 0.0), ("pink_noise", -3.01)])
def test_noise_has_its_slope_per_octave(name, slope_db):
    noise = NOISE[name](KEY, speech_like(), WHOLE, snr_db=0.0) - speech_like()
    frequency_hz, power_db = spectrum_db(noise, nperseg=4096)
    band = (frequency_hz > 50) & (frequency_hz < 7000)
    octaves = np.log2(frequency_hz[band])
    slope = np.polyfit(octaves, power_db[band], 1, w=frequency_hz[band] ** -0.5)
    assert slope[0] == pytest.approx(slope_db, abs=0.25)


def test_shaped_noise_has_the_spectrum_that_was_asked_for():
    noise = NOISE["shaped_noise"](KEY, speech_like(), WHOLE, snr_db=10.0) - speech_like()
    frequency_hz, power_db = spectrum_db(noise, nperseg=512)
    expected_db = np.interp(frequency_hz, np.linspace(0, 8000, len(SHAPED_DB)), SHAPED_DB)
    assert np.ptp((power_db - expected_db)[2:-2]) < 2.5


def test_babble_is_low_and_uneven():
    noise = np.asarray(NOISE["babble"](KEY, speech_like(), WHOLE, snr_db=10.0) - speech_like())
    frequency_hz, power = scipy.signal.welch(noise, RATE_HZ, nperseg=1024)
    low_db, high_db = (
        level_db(power[:, (frequency_hz > start_hz) & (frequency_hz < 2 * start_hz)].mean())
        for start_hz in (250, 2000)
    )
    assert 12 < low_db - high_db < 30
    frames_db = level_db(np.square(noise.reshape(SHAPE[0], -1, 800)).mean(2))
    assert (frames_db.std(1) > 1.5).all()  # stationary noise is below 1


@pytest.mark.parametrize("rt60_s", [0.3, pytest.param(0.8, marks=pytest.mark.slow)])
def test_the_decay_of_a_room_is_its_rt60(rt60_s):
    click = np.zeros((1, RATE_HZ), np.float32)
    click[0, 0] = 1.0
    response = channels.reverberation(KEY, click, np.array([RATE_HZ]), rt60_s=rt60_s)
    tail = np.asarray(response)[0, 1:]
    # Schroeder 1965: the energy that is still to come decays as the room does.
    decay_db = level_db(np.cumsum(np.square(tail)[::-1])[::-1])
    decay_db -= decay_db[0]
    part = (decay_db < -5) & (decay_db > -25)
    slope = np.polyfit(np.flatnonzero(part) / RATE_HZ, decay_db[part], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)
    assert level_db(np.square(tail).sum()) == pytest.approx(0.0, abs=0.5)  # beside the direct sound


def test_clipping_cuts_at_a_part_of_the_peak():
    samples = speech_like()
    clipped = np.asarray(channels.clipping(KEY, samples, LENGTH, level=0.5))
    for row, clean, length in zip(clipped, samples, LENGTH, strict=True):
        limit = np.abs(clean[:length]).max() / 2
        np.testing.assert_allclose(row[:length], clean[:length].clip(-limit, limit), rtol=1e-6)


@pytest.mark.parametrize("name, ratio_db", [("gsm", 10.0), ("mp3", 18.0)])
def test_the_error_of_a_codec_has_the_documented_size(name, ratio_db):
    clean = np.asarray(CHANNELS[name](KEY, speech_like(), WHOLE, q_db=200.0))
    coded = np.asarray(with_default_level(CHANNELS[name])(KEY, speech_like(), WHOLE))
    assert frame_ratio_db(clean.ravel(), coded.ravel()) == pytest.approx(ratio_db, abs=1.0)


def test_gsm_has_the_error_of_libsndfiles_codec_on_speech(corpora_dir):
    ratios = []
    for path in sorted((corpora_dir / "casia").glob("*/*/20[1-3].flac"))[::2]:
        samples, _ = soundfile.read(path, dtype="float32")
        narrow = scipy.signal.resample_poly(samples, 1, 2)
        file = io.BytesIO()
        soundfile.write(file, narrow, 8000, format="WAV", subtype="GSM610")
        file.seek(0)
        decoded = soundfile.read(file)[0][: len(narrow)]
        ratios.append(frame_ratio_db(narrow, decoded, frame=160))
    assert np.median(ratios) == pytest.approx(10.0, abs=3.0)


def frame_ratio_db(clean: np.ndarray, coded: np.ndarray, frame: int = 320) -> float:
    """Median ratio of signal to error in the frames that are not silent, dB."""
    size = min(len(clean), len(coded)) // frame * frame
    signal, error = (
        np.square(values[:size].reshape(-1, frame)).mean(1)
        for values in (clean, coded - clean[: len(coded)])
    )
    loud = signal > 1e-4 * signal.max()
    return float(np.median(level_db(signal[loud]) - level_db(error[loud])))


def test_the_level_of_noise_is_traced():
    channels.white_noise(KEY, speech_like(), WHOLE, snr_db=3.0)
    compiled = channels.white_noise._cache_size()
    channels.white_noise(KEY, speech_like(), WHOLE, snr_db=7.0)
    assert channels.white_noise._cache_size() == compiled
