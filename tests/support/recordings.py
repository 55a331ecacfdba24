"""Long recordings for tests: voices that speak, music and noise."""

from pathlib import Path

import numpy as np
import soundfile

from tests.support.corpora import EMOTIONS, write_manifest

RATE_HZ = 16000


def voice(seconds: float, pitch_hz: float, seed: int = 0, tract: float = 1.0) -> np.ndarray:
    """Something like speech: syllables of a moving pitch and of changing vowels, [samples]."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE_HZ)
    t = np.arange(count) / RATE_HZ
    glide = np.interp(
        t, np.arange(0, seconds + 1, 0.2), rng.normal(size=len(np.arange(0, seconds + 1, 0.2)))
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz * 2 ** (0.15 * glide)) / RATE_HZ
    first = tract * np.interp(
        t,
        np.arange(0, seconds + 1, 0.15),
        rng.uniform(300, 800, len(np.arange(0, seconds + 1, 0.15))),
    )
    second = tract * np.interp(
        t,
        np.arange(0, seconds + 1, 0.15),
        rng.uniform(900, 2200, len(np.arange(0, seconds + 1, 0.15))),
    )
    wave = np.zeros(count)
    for k in range(1, int(4000 / pitch_hz)):
        hz = k * pitch_hz
        gain = (
            np.exp(-(((hz - first) / 150) ** 2))
            + 0.6 * np.exp(-(((hz - second) / 200) ** 2))
            + 0.05
        )
        wave += gain * np.sin(k * phase)
    syllables = 0.15 + np.clip(np.sin(2 * np.pi * 4 * t), 0, 1)
    return (0.1 * wave * syllables).astype(np.float32)


def chords(seconds: float, seed: int = 0) -> np.ndarray:
    """Chords of three notes that decay, one after the other, [samples]."""
    rng = np.random.default_rng(seed)
    wave, position = np.zeros(int(seconds * RATE_HZ)), 0
    while position < len(wave):
        count = min(int(RATE_HZ * rng.uniform(0.25, 1.5)), len(wave) - position)
        t = np.arange(count) / RATE_HZ
        root_hz, decay = 110 * 2 ** (rng.integers(0, 24) / 12), rng.uniform(0.3, 4)
        envelope = np.exp(-t * decay) * np.minimum(1, t / 0.01)
        for semitones in (0, rng.choice((3, 4)), 7):
            for k in range(1, 8):
                hz = k * root_hz * 2 ** (semitones / 12)
                wave[position : position + count] += (
                    0.05 / k * envelope * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6))
                )
        position += count
    return wave.astype(np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """White noise of an RMS, [samples]."""
    return (level * np.random.default_rng(seed).normal(size=int(seconds * RATE_HZ))).astype(
        np.float32
    )


def conversation(turns, level: float = 0.001) -> np.ndarray:
    """Voices with a second of pause before, between and after, [samples].

    Args:
      turns: (seconds, pitch in Hz, factor of the formants) of each.
      level: RMS of the background noise.
    """
    pause = np.zeros(RATE_HZ, np.float32)
    parts = [pause]
    for i, (seconds, pitch_hz, tract) in enumerate(turns):
        parts += [voice(seconds, pitch_hz, i, tract), pause]
    samples = np.concatenate(parts)
    return samples + noise(len(samples) / RATE_HZ, level)[: len(samples)]


VOICES = (("f", "F", 210, 1.2), ("m", "M", 110, 1.0), ("g", "F", 185, 1.1), ("n", "M", 130, 0.95))


def write_voices(folder: Path, takes: int = 1, speakers: int = 2) -> Path:
    """Writes a corpus of a woman and a man, or of up to four people, and returns its manifest."""
    folder.mkdir(parents=True)
    rows = []
    for speaker, gender, pitch_hz, tract in VOICES[:speakers]:
        for e, emotion in enumerate(EMOTIONS):
            for take in range(takes):
                name = f"{speaker}{e}{take}.wav"
                sound = voice(1.2, pitch_hz * (1 + 0.1 * e), 10 * e + take, tract)
                soundfile.write(folder / name, sound, RATE_HZ)
                rows.append((name, emotion, speaker, "en", gender))
    columns = ("file", "emotion", "speaker", "language", "gender")
    return write_manifest(folder / "list.csv", rows, columns)
