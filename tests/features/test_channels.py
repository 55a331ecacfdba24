"""Channels beside SciPy's filters, libsndfile's codecs, and measured noise and decay."""

import io

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
LENGTH = np.array([12000, 7001], np.int32)


def speech_like(seconds: float = 1.0, batch: int = 1) -> np.ndarray:
    """Harmonics of a falling pitch with a rhythm of syllables, [batch, samples] float32."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    rows = []
    for row in range(batch):
        phase = 2 * np.pi * np.cumsum(140 + 30 * row - 20 * time) / RATE_HZ
        wave = sum(np.sin(k * phase) / k for k in range(1, 40))
        rows.append(0.1 * wave * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)))
    return np.stack(rows).astype(np.float32)


def level_db(power) -> np.ndarray:
    return 10 * np.log10(np.asarray(power) + 1e-30)


@pytest.mark.parametrize("name", CHANNELS)
def test_neither_padding_nor_what_lies_in_it_changes_anything(name):
    samples = speech_like(0.75, batch=2)
    padded = np.pad(samples, ((0, 0), (0, 4000)), constant_values=0.3)
    short = np.asarray(CHANNELS[name](KEY, samples, LENGTH))
    long = np.asarray(CHANNELS[name](KEY, padded, LENGTH))
    np.testing.assert_allclose(long[:, :12000], short, atol=2e-6)
    for row, length in zip(long, LENGTH, strict=True):
        assert not row[length:].any() and np.isfinite(row).all() and row[:length].any()


@pytest.mark.parametrize("name", CHANNELS)
def test_a_row_does_not_depend_on_the_others(name):
    samples = speech_like(0.75, batch=2)
    both = CHANNELS[name](KEY, samples, LENGTH)
    first = CHANNELS[name](KEY, samples[:1], LENGTH[:1])
    np.testing.assert_allclose(both[:1], first, atol=2e-6)


@pytest.mark.parametrize("name", CHANNELS)
def test_silence_stays_finite(name):
    silence = np.zeros((1, 4000), np.float32)
    assert np.isfinite(CHANNELS[name](KEY, silence, np.array([4000], np.int32))).all()


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
    result = np.asarray(channels.mu_law(jnp.asarray(integers / 32768.0, jnp.float32)))
    # A value on the border of two codes may take either.
    assert np.mean(np.abs(result - expected) > 1e-6) < 0.01
    np.testing.assert_allclose(result, expected, atol=0.04, rtol=0.07)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 48000])
def test_telephone_keeps_its_band_and_removes_the_rest(rate_hz):
    time = np.arange(rate_hz) / rate_hz
    tones_hz = np.array([100.0, 500.0, 1000.0, 3000.0, 3700.0])
    tones_hz = np.concatenate([tones_hz, [6000.0] if rate_hz > 12000 else []])
    samples = (0.2 * np.sin(2 * np.pi * tones_hz[:, None] * time)).astype(np.float32)
    length = np.full(len(samples), rate_hz, np.int32)
    result = channels.telephone(KEY, samples, length, sample_rate_hz=rate_hz)
    inside = slice(rate_hz // 10, -rate_hz // 10)
    gain_db = level_db(np.square(result)[:, inside].mean(1)) - level_db(0.02)
    error = np.asarray(result - samples)[1:4, inside]
    assert np.abs(gain_db[1:4]).max() < 0.2 and gain_db[[0, *range(4, len(tones_hz))]].max() < -30
    # Mu-law keeps an error about 38 dB below a loud signal; there is no shift in time.
    assert -45 < (level_db(np.square(error).mean(1)) - level_db(0.02)).max() < -30


@pytest.mark.parametrize("name", ["white_noise", "pink_noise", "babble", "shaped_noise"])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_has_the_ratio_that_was_asked_for(name, snr_db):
    samples = speech_like(0.75, batch=2)
    noisy = np.asarray(getattr(channels, name)(KEY, samples, LENGTH, snr_db=snr_db))
    for row, clean, length in zip(noisy, samples, LENGTH, strict=True):
        clean, noise = clean[:length], row[:length] - clean[:length]
        ratio_db = level_db(np.square(clean).mean()) - level_db(np.square(noise).mean())
        assert ratio_db == pytest.approx(snr_db, abs=0.05)
        assert abs(np.corrcoef(clean, noise)[0, 1]) < 0.1


@pytest.mark.parametrize("name, slope_db", [("white_noise", 0.0), ("pink_noise", -3.01)])
def test_noise_falls_by_so_much_per_octave(name, slope_db):
    samples = speech_like(8.0)
    noise = CHANNELS[name](KEY, samples, np.array([samples.shape[1]]), snr_db=0.0) - samples
    frequency, power = scipy.signal.welch(np.asarray(noise)[0], RATE_HZ, nperseg=4096)
    band = (frequency > 50) & (frequency < 7000)
    slope = np.polyfit(
        np.log2(frequency[band]), level_db(power[band]), 1, w=frequency[band] ** -0.5
    )
    assert slope[0] == pytest.approx(slope_db, abs=0.25)


def test_shaped_noise_has_the_spectrum_that_was_asked_for():
    samples = speech_like(8.0)
    gain_db = (0.0, 0.0, -10.0, -30.0, -30.0)  # at 0, 2, 4, 6 and 8 kHz
    length = np.array([samples.shape[1]])
    noise = channels.shaped_noise(KEY, samples, length, gain_db=gain_db) - samples
    frequency, power = scipy.signal.welch(np.asarray(noise)[0], RATE_HZ, nperseg=512)
    expected = np.interp(frequency, np.linspace(0, 8000, 5), gain_db)
    difference = level_db(power) - expected
    assert np.ptp(difference[2:-2]) < 2.5


def test_babble_is_low_and_uneven():
    samples = speech_like(8.0)
    noise = np.asarray(channels.babble(KEY, samples, np.array([samples.shape[1]])) - samples)[0]
    frequency, power = scipy.signal.welch(noise, RATE_HZ, nperseg=1024)
    low, high = (level_db(power[(frequency > a) & (frequency < 2 * a)].mean()) for a in (250, 2000))
    assert 12 < low - high < 30
    frames = level_db(np.square(noise[: len(noise) // 800 * 800].reshape(-1, 800)).mean(1))
    assert frames.std() > 1.5  # that of stationary noise is below 1


@pytest.mark.parametrize("rt60_s", [0.3, 0.8])
def test_the_decay_of_a_room_is_its_rt60(rt60_s):
    click = np.zeros((1, 2 * RATE_HZ), np.float32)
    click[0, 0] = 1.0
    response = channels.reverberation(KEY, click, np.array([2 * RATE_HZ]), rt60_s=rt60_s)
    tail = np.asarray(response)[0, 1:]
    # Schroeder 1965: the energy that is still to come decays as the room does.
    decay_db = level_db(np.cumsum(np.square(tail)[::-1])[::-1])
    decay_db -= decay_db[0]
    part = (decay_db < -5) & (decay_db > -25)
    slope = np.polyfit(np.flatnonzero(part) / RATE_HZ, decay_db[part], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)
    assert level_db(np.square(tail).sum()) == pytest.approx(0.0, abs=0.5)  # beside the direct sound


def test_clipping_cuts_at_a_part_of_the_peak():
    samples = speech_like(0.75, batch=2)
    clipped = np.asarray(channels.clipping(KEY, samples, LENGTH, level=0.5))
    for row, clean, length in zip(clipped, samples, LENGTH, strict=True):
        limit = np.abs(clean[:length]).max() / 2
        np.testing.assert_allclose(row[:length], clean[:length].clip(-limit, limit), rtol=1e-6)


def test_the_error_of_gsm_is_as_large_as_that_of_the_codec():
    samples = speech_like(2.0)
    narrow = scipy.signal.resample_poly(samples[0], 1, 2)
    file = io.BytesIO()
    soundfile.write(file, narrow, 8000, format="WAV", subtype="GSM610")
    file.seek(0)
    decoded, _ = soundfile.read(file)
    approximate = np.asarray(channels.gsm(KEY, samples, np.array([samples.shape[1]])))[0]
    errors_db = [
        spectral_error_db(narrow, decoded[: len(narrow)]),
        spectral_error_db(narrow, scipy.signal.resample_poly(approximate, 1, 2)),
    ]
    assert errors_db[0] == pytest.approx(errors_db[1], abs=3.0)


def spectral_error_db(clean: np.ndarray, coded: np.ndarray) -> float:
    """Mean distance of short-time spectra, dB; a small delay does not matter."""
    spectra = [
        level_db(np.abs(scipy.signal.stft(x, 8000, nperseg=256)[2][5:110]) ** 2 + 1e-9)
        for x in (clean, coded)
    ]
    return float(np.sqrt(np.mean((spectra[0] - spectra[1]) ** 2)))


def test_the_level_of_noise_is_traced():
    samples = speech_like(0.25)
    length = np.array([samples.shape[1]])
    channels.white_noise(KEY, samples, length, snr_db=3.0)
    compiled = channels.white_noise._cache_size()
    channels.white_noise(KEY, samples, length, snr_db=7.0)
    assert channels.white_noise._cache_size() == compiled
