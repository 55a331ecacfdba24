"""The default recipe against librosa, on 3 s utterances of synthetic speech-like sound at 16 kHz.

    python benchmarks/features.py

Both sides run in turn in one process; librosa is called function by function and computes neither pitch nor voicing, so that
the ratio understates what the recipe does. With `--pitch` librosa also runs `librosa.yin`.
"""

import argparse
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import librosa
import numpy as np

from jdann.configuration import base_config
from jdann.features.recipe import make_recipe

BATCH, SECONDS, RATE_HZ, REPEATS = 32, 3.0, 16000, 7


def clips() -> np.ndarray:
    """[BATCH, samples] float32: harmonic sounds with moving pitch, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    pitch_hz = random.uniform(90, 280, (BATCH, 1)) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3, (BATCH, 1)) * t))
    phase = 2 * np.pi * np.cumsum(pitch_hz, 1) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.1 * voice + 0.01 * random.normal(size=voice.shape)).astype(np.float32)


def by_librosa(y: np.ndarray, config, pitch: bool) -> None:
    """The four features of one utterance, each from the samples."""
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length}
    librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE_HZ, n_mels=config.n_mels, **sizes))
    librosa.feature.mfcc(y=y, sr=RATE_HZ, n_mfcc=config.n_mfcc, **sizes)
    librosa.feature.spectral_contrast(y=y, sr=RATE_HZ, **sizes)
    librosa.feature.zero_crossing_rate(y, frame_length=config.n_fft, hop_length=config.hop_length)
    if pitch:
        librosa.yin(y, fmin=65, fmax=600, sr=RATE_HZ, frame_length=config.n_fft, hop_length=config.hop_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pitch", action="store_true", help="librosa also tracks pitch, by yin")
    pitch = parser.parse_args().pitch
    config, y = base_config().features, clips()
    extract = jax.jit(make_recipe(config, RATE_HZ).extract)
    length = jnp.full(BATCH, y.shape[1], jnp.int32)
    jax.block_until_ready(extract(jnp.asarray(y), length))
    by_librosa(y[0], config, pitch)
    ours, theirs = [], []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(extract(jnp.asarray(y), length))
        ours.append((time.perf_counter() - begun) / BATCH * 1000)
        begun = time.perf_counter()
        for one in y:
            by_librosa(one, config, pitch)
        theirs.append((time.perf_counter() - begun) / BATCH * 1000)
    ratio = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}, librosa {librosa.__version__}")
    for name, values in (("jdann, 114 bins", ours), (f"librosa{', with yin' if pitch else ''}", theirs)):
        print(f"{name:20} {statistics.median(values):6.2f} ms an utterance (min {min(values):.2f}, max {max(values):.2f})")
    print(f"{'ratio':20} {statistics.median(ratio):6.2f} (min {min(ratio):.2f}, max {max(ratio):.2f})")


if __name__ == "__main__":
    main()
