"""Degrades clips with NumPy, SciPy and real codecs, for `channels.py`.

It shares no code with `jdann.features.channels`, so that a remedy is not measured on its own
approximations. Each function takes samples [samples] at 16 kHz and a NumPy generator, and returns
samples and their sampling rate.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.signal
import soundfile
import soxr

RATE_HZ = 16000
TELEPHONE_HZ = 8000
Degraded = tuple[np.ndarray, int]
Degradation = Callable[[np.ndarray, np.random.Generator], Degraded]


def telephone(samples: np.ndarray, random: np.random.Generator) -> Degraded:
    """300 to 3400 Hz (Butterworth), 8 kHz, mu-law by libsndfile."""
    edges = scipy.signal.butter(4, (300, 3400), "bandpass", fs=RATE_HZ, output="sos")
    narrow = soxr.resample(scipy.signal.sosfilt(edges, samples), RATE_HZ, TELEPHONE_HZ)
    return coded(narrow, TELEPHONE_HZ, format="WAV", subtype="ULAW")


def gsm(samples: np.ndarray, random: np.random.Generator) -> Degraded:
    """GSM full rate, 13 kbit/s at 8 kHz, by libsndfile."""
    narrow = soxr.resample(samples, RATE_HZ, TELEPHONE_HZ)
    return coded(narrow, TELEPHONE_HZ, format="WAV", subtype="GSM610")


def mp3(samples: np.ndarray, random: np.random.Generator) -> Degraded:
    """MP3 with 32 kbit/s at 16 kHz, by libsndfile and LAME."""
    # libsndfile maps a level of 0 to 1 to bit rates from 160 to 8 kbit/s at this sampling rate.
    level = (160 - 32) / (160 - 8)
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    return coded(samples, RATE_HZ, compression_level=level, **options)


def white_noise(samples: np.ndarray, random: np.random.Generator, *, snr_db: float) -> Degraded:
    """Noise with the same power at all frequencies."""
    return added(samples, random.normal(size=len(samples)), snr_db), RATE_HZ


def pink_noise(samples: np.ndarray, random: np.random.Generator, *, snr_db: float) -> Degraded:
    """Noise whose power is inverse to the frequency, made from its spectrum."""
    spectrum = np.fft.rfft(random.normal(size=len(samples)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return added(samples, np.fft.irfft(spectrum, len(samples)), snr_db), RATE_HZ


def reverberation(samples: np.ndarray, random: np.random.Generator, *, rt60_s: float) -> Degraded:
    """A synthetic room; as much power in its reflections as in the direct sound."""
    time_s = np.arange(int(1.2 * rt60_s * RATE_HZ)) / RATE_HZ
    tail = random.normal(size=len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    tail /= np.sqrt((tail**2).sum())
    tail[0] = 1
    return scipy.signal.fftconvolve(samples, tail)[: len(samples)], RATE_HZ


def far_microphone(samples: np.ndarray, random: np.random.Generator) -> Degraded:
    """A room with twice the power in its reflections, and pink noise at 15 dB, 20 dB lower."""
    reflected = reverberation(samples, random, rt60_s=0.6)[0] - samples
    room = np.sqrt(0.5) * samples + reflected
    return pink_noise(0.1 * room, random, snr_db=15.0)


def clipping(samples: np.ndarray, random: np.random.Generator) -> Degraded:
    """Cuts samples beyond a quarter of the clip's peak."""
    limit = np.abs(samples).max() / 4
    return samples.clip(-limit, limit), RATE_HZ


def coded(samples: np.ndarray, rate_hz: int, **options: object) -> Degraded:
    """The samples after a codec of libsndfile; a delay of the codec stays."""
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), rate_hz, **options)  # pyright: ignore
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return decoded, rate_hz


def added(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise with this ratio of powers over the whole clip, in dB."""
    ratio = (samples**2).mean() / (noise**2).mean()
    return samples + noise * np.sqrt(ratio * 10 ** (-snr_db / 10))


DEGRADATIONS: dict[str, Degradation] = {
    "telephone": telephone,
    "GSM": gsm,
    "MP3, 32 kbit/s": mp3,
    "white noise, 10 dB": partial(white_noise, snr_db=10.0),
    "white noise, 0 dB": partial(white_noise, snr_db=0.0),
    "pink noise, 10 dB": partial(pink_noise, snr_db=10.0),
    "pink noise, 0 dB": partial(pink_noise, snr_db=0.0),
    "room, RT60 0.5 s": partial(reverberation, rt60_s=0.5),
    "far microphone": far_microphone,
    "clipped": clipping,
}
