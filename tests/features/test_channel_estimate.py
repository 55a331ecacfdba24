"""SciPy degrades clips, and the estimate recognises what it did."""

from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
import scipy.signal
import soxr

from jdann.features.channel_estimate import (
    ChannelEstimate,
    difference,
    estimate_channel,
    measure_spectra,
)
from jdann.features.clip_channel import like_estimate, named_channel

RATE_HZ = 16000
INFINITE = float("inf")
FLAT = (0.0,) * 33


@cache
def clips(count: int = 6) -> tuple[np.ndarray, ...]:
    """Harmonics with the slope of speech and a little breath, in syllables between pauses."""
    random, time = np.random.default_rng(0), np.arange(2 * RATE_HZ) / RATE_HZ
    signals = []
    for number in range(count):
        phase = 2 * np.pi * np.cumsum(130 + 15 * number - 20 * time) / RATE_HZ
        voice = sum(min(1.0, 6 / k) ** 1.5 * np.sin(k * phase) for k in range(1, 50))
        breath = random.normal(size=len(time)) * 0.03
        rhythm = np.clip(np.sin(2 * np.pi * 1.5 * time), 0, None)
        signals.append(0.02 * rhythm * (voice + breath) + 1e-5 * random.normal(size=len(time)))
    return tuple(signals)


def telephone(clip: np.ndarray) -> np.ndarray:
    edges = scipy.signal.butter(4, (300, 3400), "bandpass", fs=RATE_HZ, output="sos")
    return soxr.resample(
        soxr.resample(scipy.signal.sosfilt(edges, clip), RATE_HZ, 8000), 8000, RATE_HZ
    )


def noisy(clip: np.ndarray, snr_db: float) -> np.ndarray:
    noise = np.random.default_rng(int(1e6 * np.abs(clip).sum())).normal(size=len(clip))
    return clip + noise * np.sqrt((clip**2).mean() * 10 ** (-snr_db / 10))


def estimate(signals: Iterable[np.ndarray]) -> ChannelEstimate:
    return estimate_channel(measure_spectra(signals, RATE_HZ))


def test_clean_speech_has_no_channel():
    assert estimate(clips()).is_clean


def test_clips_without_pauses_are_not_taken_for_noise():
    fading = 10 ** (-np.arange(3900) / 3000)  # by 26 dB
    loud = [clip[700:4600] * fading for clip in clips()]  # within a syllable
    assert np.median(measure_spectra(loud, RATE_HZ).snr_db) < 20
    assert estimate(loud).is_clean


def test_a_telephone_is_recognised():
    recognised = estimate([telephone(clip) for clip in clips()])
    assert (recognised.low_hz, recognised.high_hz) == (300.0, 3400.0)
    assert recognised.is_telephone and np.isinf(recognised.snr_db)
    assert recognised.describe() == "a telephone band (300-3400 Hz)"


def test_a_low_sampling_rate_is_recognised():
    low = [soxr.resample(soxr.resample(clip, RATE_HZ, 11025), 11025, RATE_HZ) for clip in clips()]
    recognised = estimate(low)
    assert recognised.high_hz == pytest.approx(5512, abs=200) and recognised.low_hz == 0
    assert not recognised.is_telephone and "narrow band" in recognised.describe()


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_is_recognised(snr_db):
    recognised = estimate([noisy(clip, snr_db) for clip in clips()])
    assert recognised.snr_db == pytest.approx(snr_db, abs=1.5)
    assert recognised.high_hz == INFINITE and recognised.low_hz == 0
    assert np.ptp(recognised.noise_db) <= 4  # it is white


def test_noise_on_a_telephone_is_both():
    recognised = estimate([telephone(noisy(clip, 10.0)) for clip in clips()])
    assert recognised.is_telephone and np.isfinite(recognised.snr_db)
    assert recognised.describe().startswith("a telephone band (300-3400 Hz) and noise ")
    assert recognised.noise_db[20] < -30  # nothing at 5 kHz


def test_what_both_corpora_have_is_no_difference():
    line = ChannelEstimate(300.0, 3400.0, INFINITE, FLAT)
    noise = ChannelEstimate(0.0, INFINITE, 10.0, FLAT)
    clean = ChannelEstimate(0.0, INFINITE, INFINITE, FLAT)
    assert difference(line, line).is_clean and difference(noise, noise).is_clean
    assert difference(clean, line).is_clean and difference(clean, noise).is_clean
    assert difference(line, clean) == line and difference(noise, clean) == noise
    # 0 dB beside 6 dB: three quarters of the noise's power are missing
    louder = ChannelEstimate(0.0, INFINITE, 0.0, FLAT)
    quieter = ChannelEstimate(0.0, INFINITE, 6.0, FLAT)
    assert difference(louder, quieter).snr_db == 1.0


def test_a_clip_sent_through_an_estimate_has_that_channel():
    channel = like_estimate(ChannelEstimate(300.0, 3400.0, 10.0, FLAT), RATE_HZ)
    recognised = estimate(
        channel.apply(str(number), clip.astype(np.float32)) for number, clip in enumerate(clips())
    )
    assert recognised.low_hz == 300.0
    assert recognised.snr_db == pytest.approx(10.0, abs=1.5)


def test_the_result_of_a_clip_does_not_depend_on_the_order_of_clips():
    channel = named_channel("white_noise", RATE_HZ)
    first, second = (clip.astype(np.float32)[:9000] for clip in clips(2))
    result = channel.apply("a", first)
    channel.apply("b", second)
    np.testing.assert_array_equal(channel.apply("a", first), result)
    assert not np.array_equal(channel.apply("b", first), result) and len(result) == 9000
