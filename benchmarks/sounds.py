"""Makes sounds that are no speech: noise, tones and synthetic music with random parameters."""

from collections.abc import Callable, Mapping

import numpy as np
from recorded_calls import RATE_HZ, music, room_noise
from scipy import signal


def _times(count: int) -> np.ndarray:
    return np.arange(count) / RATE_HZ


def _level(rng: np.random.Generator) -> float:
    """A random level, -60 to -10 dB relative to full scale."""
    return 10 ** rng.uniform(-3, -0.5)


def _scaled(samples: np.ndarray, level: float) -> np.ndarray:
    return level * samples / max(np.abs(samples).max(), 1e-9)


def silence(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(count)


def dither(count: int, rng: np.random.Generator) -> np.ndarray:
    """The noise of 16-bit audio, -96 to -80 dB."""
    return 10 ** rng.uniform(-4.8, -4) * rng.normal(size=count)


def sine_440(count: int, rng: np.random.Generator) -> np.ndarray:
    return _level(rng) * np.sin(2 * np.pi * 440 * _times(count))


def tone(count: int, rng: np.random.Generator) -> np.ndarray:
    """A steady tone of 60 to 2000 Hz with up to 12 partials."""
    return _scaled(_harmonics(np.full(count, 60 * 33 ** rng.uniform()), rng), _level(rng))


def tremolo(count: int, rng: np.random.Generator) -> np.ndarray:
    """A tone whose level changes 2 to 9 times a second."""
    rate_hz, depth = rng.uniform(2, 9), rng.uniform(0.3, 1)
    wave = _harmonics(np.full(count, 80 * 12 ** rng.uniform()), rng)
    return _scaled(wave * (1 + depth * np.sin(2 * np.pi * rate_hz * _times(count))), _level(rng))


def vibrato(count: int, rng: np.random.Generator) -> np.ndarray:
    """A tone whose pitch changes by 0.1 to 1 semitone, 3 to 8 times a second."""
    swing = rng.uniform(0.1, 1) * np.sin(2 * np.pi * rng.uniform(3, 8) * _times(count))
    return _scaled(_harmonics(80 * 12 ** rng.uniform() * 2 ** (swing / 12), rng), _level(rng))


def siren(count: int, rng: np.random.Generator) -> np.ndarray:
    """A tone that goes up and down by 3 to 12 semitones in 1 to 4 s."""
    swing = rng.uniform(1.5, 6) * np.sin(2 * np.pi / rng.uniform(1, 4) * _times(count))
    return _scaled(_harmonics(300 * 3 ** rng.uniform() * 2 ** (swing / 12), rng), _level(rng))


def beeps(count: int, rng: np.random.Generator) -> np.ndarray:
    """One or two sines that are switched on and off, as of a telephone."""
    period_s, share, t = rng.uniform(0.2, 2), rng.uniform(0.2, 0.7), _times(count)
    waves = [np.sin(2 * np.pi * rng.uniform(350, 1700) * t) for _ in range(rng.integers(1, 3))]
    return _scaled(sum(waves) * (t % period_s < share * period_s), _level(rng))


def hum(count: int, rng: np.random.Generator) -> np.ndarray:
    """Partials of 50 or 60 Hz, with a little noise."""
    wave = _harmonics(np.full(count, rng.choice((50.0, 60.0))), rng)
    return _scaled(wave + rng.uniform(0, 0.1) * rng.normal(size=count), _level(rng))


def white_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    return _level(rng) * rng.normal(size=count)


def pink_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.normal(size=count))
    shape = np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 20.0) ** -0.5
    return _scaled(np.fft.irfft(spectrum * shape, count), _level(rng))


def quiet_room(count: int, rng: np.random.Generator) -> np.ndarray:
    """Room noise of -75 to -30 dB."""
    return 10 ** rng.uniform(-3.75, -1.5) * room_noise(count, rng)


def noise_bursts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Bursts of coloured noise, 1 to 5 times a second, with quiet noise between them."""
    period_s, share, t = 1 / rng.uniform(1, 5), rng.uniform(0.1, 0.7), _times(count)
    low_hz = 100 * 20 ** rng.uniform()
    band = signal.butter(
        2, [low_hz, low_hz * rng.uniform(1.5, 3)], "band", fs=RATE_HZ, output="sos"
    )
    envelope = (t % period_s < share * period_s) + 10 ** rng.uniform(-3, -1)
    return _scaled(envelope * signal.sosfilt(band, rng.normal(size=count)), _level(rng))


def clicks(count: int, rng: np.random.Generator) -> np.ndarray:
    """Clicks at random times, 1 to 20 times a second, as of keys or a record."""
    impulses = rng.normal(size=count) * (rng.uniform(size=count) < rng.uniform(1, 20) / RATE_HZ)
    decay = np.exp(-_times(800) / rng.uniform(0.0005, 0.01)) * rng.normal(size=800)
    return _scaled(np.convolve(impulses, decay)[:count], _level(rng)) + 1e-4 * rng.normal(
        size=count
    )


def chords(count: int, rng: np.random.Generator) -> np.ndarray:
    return _level(rng) * music(count, rng)


def chords_in_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    return 0.1 * music(count, rng) + 10 ** rng.uniform(-3.5, -2) * rng.normal(size=count)


def melody(count: int, rng: np.random.Generator) -> np.ndarray:
    """Single notes of 0.12 to 0.8 s that decay or are held."""
    return _scaled(_notes(count, rng, 0.0), _level(rng))


def melody_with_vibrato(count: int, rng: np.random.Generator) -> np.ndarray:
    return _scaled(_notes(count, rng, rng.uniform(0.1, 0.5)), _level(rng))


def melody_in_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    notes = _scaled(_notes(count, rng, rng.uniform(0, 0.5)), 0.1)
    return notes + 10 ** rng.uniform(-3.5, -2) * rng.normal(size=count)


def band(count: int, rng: np.random.Generator) -> np.ndarray:
    """A melody over chords, with a drum of noise."""
    drum_s = rng.uniform(0.3, 0.7)
    drum = np.exp(-(_times(count) % drum_s) / 0.03) * rng.normal(size=count)
    return _scaled(_notes(count, rng, 0.0) + music(count, rng) + 0.3 * drum, _level(rng))


def _harmonics(pitch_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to 12 partials of a moving pitch; their levels fall and are random, [samples]."""
    phase, slope = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ, rng.uniform(0.5, 2)
    wave = np.zeros(len(pitch_hz))
    for k in range(1, rng.integers(1, 13) + 1):
        gain = rng.uniform(0.3, 1) / k**slope
        wave += gain * np.sin(k * phase) * (k * pitch_hz < RATE_HZ / 2)
    return wave


def _notes(count: int, rng: np.random.Generator, vibrato_semitones: float) -> np.ndarray:
    """Notes of one instrument, [samples]."""
    timbre, root_hz = rng.integers(2**31), 110 * 2 ** rng.integers(0, 3)
    shortest_s, decay = rng.uniform(0.12, 0.4), rng.uniform(0, 6)
    scale = (0, 2, 4, 5, 7, 9, 11, 12, 14, 16)
    samples, position = np.zeros(count), 0
    while position < count:
        length = min(int(RATE_HZ * shortest_s * rng.choice((1, 1, 2))), count - position)
        t = _times(length)
        swing = rng.choice(scale) + vibrato_semitones * np.sin(2 * np.pi * 5.5 * t)
        note = _harmonics(root_hz * 2 ** (swing / 12), np.random.default_rng(timbre))
        fade = np.minimum(1, np.minimum(t, t[-1] - t) / 0.01) if length > 1 else 0.0
        samples[position : position + length] = note * fade * np.exp(-decay * t)
        position += length
    return samples


NO_SPEECH: Mapping[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "silence": silence,
    "dither": dither,
    "440 Hz sine": sine_440,
    "tone": tone,
    "tone with tremolo": tremolo,
    "tone with vibrato": vibrato,
    "siren": siren,
    "beeps": beeps,
    "hum": hum,
    "white noise": white_noise,
    "pink noise": pink_noise,
    "quiet room": quiet_room,
    "bursts of noise": noise_bursts,
    "clicks": clicks,
    "chords": chords,
    "chords in noise": chords_in_noise,
    "melody": melody,
    "melody with vibrato": melody_with_vibrato,
    "melody in noise": melody_in_noise,
    "melody, chords and drum": band,
}
