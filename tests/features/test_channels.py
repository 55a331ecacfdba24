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
def test_neither_padding_nor_other_rows_change_anything(name):
    samples = speech_like(0.75, batch=2)
    short = np.asarray(CHANNELS[name](KEY, samples, LENGTH))
    # What lies after the end is not zero, and there is a third row of silence.
    padded = np.pad(samples, ((0, 0), (0, 4000)), constant_values=0.3)
    padded = np.concatenate([padded, np.zeros_like(padded[:1])])
    long = np.asarray(CHANNELS[name](KEY, padded, np.append(LENGTH, 16000).astype(np.int32)))
    np.testing.assert_allclose(long[:2, :12000], short, atol=2e-6)
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
    samples = speech_like(4.0)
    noise = CHANNELS[name](KEY, samples, np.array([samples.shape[1]]), snr_db=0.0) - samples
    frequency, power = scipy.signal.welch(np.asarray(noise)[0], RATE_HZ, nperseg=4096)
    band = (frequency > 50) & (frequency < 7000)
    slope = np.polyfit(
        np.log2(frequency[band]), level_db(power[band]), 1, w=frequency[band] ** -0.5
    )
    assert slope[0] == pytest.approx(slope_db, abs=0.25)


def test_shaped_noise_has_the_spectrum_that_was_asked_for():
    samples = speech_like(4.0)
    gain_db = (0.0, 0.0, -10.0, -30.0, -30.0)  # at 0, 2, 4, 6 and 8 kHz
    length = np.array([samples.shape[1]])
    noise = channels.shaped_noise(KEY, samples, length, gain_db=gain_db) - samples
    frequency, power = scipy.signal.welch(np.asarray(noise)[0], RATE_HZ, nperseg=512)
    expected = np.interp(frequency, np.linspace(0, 8000, 5), gain_db)
    difference = level_db(power) - expected
    assert np.ptp(difference[2:-2]) < 2.5


def test_babble_is_low_and_uneven():
    samples = speech_like(4.0)
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


@pytest.mark.parametrize("name, ratio_db", [("gsm", 10.0), ("mp3", 18.0)])
def test_the_error_of_a_codec_has_the_documented_size(name, ratio_db):
    samples, length = speech_like(4.0), np.array([4 * RATE_HZ])
    clean = CHANNELS[name](KEY, samples, length, q_db=200.0)
    coded = CHANNELS[name](KEY, samples, length)
    assert frame_ratio_db(np.asarray(clean)[0], np.asarray(coded)[0]) == pytest.approx(
        ratio_db, abs=1.0
    )


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
        np.square(x[:size].reshape(-1, frame)).mean(1) for x in (clean, coded - clean[: len(coded)])
    )
    loud = signal > 1e-4 * signal.max()
    return float(np.median(level_db(signal[loud]) - level_db(error[loud])))


def test_the_level_of_noise_is_traced():
    samples = speech_like(0.25)
    length = np.array([samples.shape[1]])
    channels.white_noise(KEY, samples, length, snr_db=3.0)
    compiled = channels.white_noise._cache_size()
    channels.white_noise(KEY, samples, length, snr_db=7.0)
    assert channels.white_noise._cache_size() == compiled
