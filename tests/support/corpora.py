"""Tiny corpora for tests."""

import csv
from pathlib import Path

import numpy as np
import soundfile

COLUMNS = ("file", "emotion", "speaker", "language")
EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")


def write_tones(folder: Path, seed: int, base_hz: float, speakers: int = 4, takes: int = 3) -> Path:
    """Writes a tiny corpus of harmonic tones and returns its manifest.

    Pitch, loudness and tremor of a tone stand for its emotion.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for speaker in range(speakers):
        for e, emotion in enumerate(EMOTIONS):
            for take in range(takes):
                seconds = random.uniform(0.4, 0.8)
                t = np.arange(int(16000 * seconds)) / 16000
                pitch = (
                    base_hz * (1 + 0.15 * e) * (1 + 0.02 * random.normal()) * (1 + 0.1 * speaker)
                )
                wave = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 6))
                wave *= 0.1 * (1 + 0.5 * np.sin(2 * np.pi * (2 + 2 * e) * t))
                name = f"{speaker}-{e}-{take}.wav"
                soundfile.write(folder / name, wave + 0.002 * random.normal(size=len(t)), 16000)
                gender = "F" if speaker < 2 else "M"
                rows.append((name, emotion, f"s{speaker}", "en", gender))
    return write_manifest(folder / "list.csv", rows, (*COLUMNS, "gender"))


def write_manifest(path: Path, rows: list, columns: tuple[str, ...] = COLUMNS) -> Path:
    """Writes a manifest."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path
