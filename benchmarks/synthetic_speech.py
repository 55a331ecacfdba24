"""Makes something like speech: vowels that change, at a pitch that moves, in syllables."""

import numpy as np

_PARTIALS = 20
_SYLLABLES_HZ = 4.0
_FORMANTS_HZ, _WIDTH_HZ = ((300.0, 800.0), (900.0, 2200.0)), 200.0  # of the vowels
_VOWEL_S, _GLIDE_S = 0.15, 0.2  # from one vowel, or one pitch, to the next


def synthetic_speech(
    seconds: float, rng: np.random.Generator, rate_hz: int = 16000, pitch_hz: float = 150.0
) -> np.ndarray:
    """Samples [samples] float32 that `jdann.features.speech_part` finds to be speech."""
    count = int(seconds * rate_hz)
    t = np.arange(count) / rate_hz

    def track(step_s: float, low: float, high: float) -> np.ndarray:
        """A value at each sample that moves between random ones."""
        times = np.arange(0, seconds + 2 * step_s, step_s)
        return np.interp(t, times, rng.uniform(low, high, len(times)))

    phase = 2 * np.pi * np.cumsum(pitch_hz * track(_GLIDE_S, 0.8, 1.25)) / rate_hz
    formants_hz = [track(_VOWEL_S, low, high) for low, high in _FORMANTS_HZ]
    voice = np.zeros(count)
    for k in range(1, _PARTIALS + 1):
        distances = [(k * pitch_hz - formant_hz) / _WIDTH_HZ for formant_hz in formants_hz]
        gain = 0.05 + sum(np.exp(-(distance**2)) for distance in distances)
        voice += gain * np.sin(k * phase)
    syllables = 0.15 + np.clip(np.sin(2 * np.pi * _SYLLABLES_HZ * t), 0, 1)
    noise = 5e-4 * rng.normal(size=count)
    return (0.1 * voice * syllables + noise).astype(np.float32)
