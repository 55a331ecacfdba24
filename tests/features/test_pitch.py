"""Pitch: known frequencies, noise, silence, and pYIN on real speech."""

import jax
import librosa
import numpy as np
import pytest

from jdann.features import pitch

track = jax.jit(pitch, static_argnames=("sr", "n_fft", "hop_length"))


SIZES = {"sr": 16000, "n_fft": 1024, "hop_length": 256}


def harmonic_complex(f0_hz: np.ndarray, sr: int, formant_hz: float = 700.0) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(f0_hz) / sr
    sound = np.zeros_like(phase)
    for k in range(1, 40):
        frequency = k * f0_hz
        gain = (frequency < 0.45 * sr) / (k * (1 + ((frequency - formant_hz) / 300) ** 2))
        sound += gain * np.cos(k * phase + 0.3 * k * k)
    return (0.1 * sound / np.abs(sound).max()).astype(np.float32)


def cents(estimate, truth) -> np.ndarray:
    return 1200 * np.log2(np.asarray(estimate) / truth)


@pytest.mark.parametrize("sr, n_fft", [(8000, 512), (16000, 1024), (22050, 2048), (48000, 4096)])
def test_tones_and_harmonic_complexes(sr, n_fft):
    t = np.arange(sr // 2) / sr
    truth = np.array([75.0, 90.0, 110.0, 180.0, 220.0, 330.0, 440.0, 580.0])
    tones = np.stack([np.sin(2 * np.pi * f * t) for f in truth]).astype(np.float32)
    complexes = np.stack([harmonic_complex(np.full(t.size, f), sr) for f in truth])
    # The window blurs a single partial near 0 Hz, so the lowest tones are less exact.
    for y, lowest_hz in ((tones, 150), (complexes, 0)):
        f0_hz, voicing = (
            np.asarray(x)[:, 4:-4] for x in track(y=y, sr=sr, n_fft=n_fft, hop_length=sr // 100)
        )
        error = np.abs(cents(f0_hz, truth[:, None]))
        assert error[truth > lowest_hz].max() < 15 and error.max() < 60
        assert voicing.min() > 0.55 and voicing.max() <= 1


def test_a_glide_is_followed_in_noise():
    sr, hop = 16000, 256
    t = np.arange(2 * sr) / sr
    truth = 200 * 2 ** np.sin(2 * np.pi * 0.7 * t)  # one octave up and down
    noise = np.random.default_rng(0).normal(size=t.size).astype(np.float32)
    clean = harmonic_complex(truth, sr)
    noisy = clean + noise * np.float32(np.sqrt(np.mean(clean**2)) * 10 ** (-10 / 20))  # 10 dB
    f0_hz, voicing = track(y=noisy, sr=sr, n_fft=1024, hop_length=hop)
    error = np.abs(cents(f0_hz[2:-2], truth[::hop][2 : len(f0_hz) - 2]))
    assert np.mean(error > 300) < 0.03 and np.median(error) < 25
    assert np.mean(np.asarray(voicing)[2:-2] > 0.5) > 0.95


def test_noise_and_silence_are_unvoiced_and_level_does_not_matter():
    rng = np.random.default_rng(0)
    noise = track(y=rng.normal(size=32000).astype(np.float32), **SIZES)
    assert np.mean(np.asarray(noise.voicing) > 0.5) < 0.02
    silence = track(y=np.zeros(32000, np.float32), **SIZES)
    assert np.all(np.asarray(silence.voicing) == 0) and np.all(np.isfinite(silence.f0_hz))
    y = harmonic_complex(np.full(32000, 140.0), 16000)
    loud, quiet = (track(y=y * np.float32(gain), **SIZES) for gain in (1.0, 1e-3))
    np.testing.assert_allclose(loud.voicing, quiet.voicing, atol=1e-4)
    np.testing.assert_allclose(loud.f0_hz, quiet.f0_hz, rtol=1e-3)


@pytest.mark.slow
def test_agrees_with_pyin_on_real_speech(corpora_dir):
    files = (
        sorted(corpora_dir.glob("ravdess/*/*.flac"))[::260]
        + sorted(corpora_dir.glob("casia/*/*/*.flac"))[::240]
    )
    assert files
    wrong, agree = [], []
    for file in files:
        y = np.zeros(32000, np.float32)
        speech = librosa.effects.trim(librosa.load(file, sr=16000)[0], top_db=35)[0][:32000]
        y[: len(speech)] = speech
        reference, voiced, _ = librosa.pyin(
            speech, fmin=65, fmax=600, sr=16000, frame_length=1024, hop_length=256
        )
        f0_hz, voicing = (np.asarray(x)[: len(reference)] for x in track(y=y, **SIZES))
        both = voiced & (voicing > 0.5)
        wrong.append(np.abs(cents(f0_hz[both], reference[both])) > 1200 * np.log2(1.2))
        agree.append(voiced == (voicing > 0.5))
    assert np.mean(np.concatenate(wrong)) < 0.03  # gross errors
    # Praat and pYIN agree with each other in 82 % of such frames.
    assert np.mean(np.concatenate(agree)) > 0.75
