"""Recognises a narrow band or noise from the spectra of a corpus.

No label is needed. Each limit lies within a wide gap between clean and degraded speech, measured on
four acted corpora (`benchmarks/channels.py`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

LOWEST_HZ = 100.0  # mains hum lies below this, and it does not matter to speech
TELEPHONE_HZ = (300.0, 3400.0)
_FRAME_S, _HOP_S = 0.032, 0.016
_QUIET_FRACTION = 0.1  # frames of a clip that count as its pauses
_EDGE_DB = 40.0  # the level above an edge is this far below the octave under the edge
_LOWEST_EDGE_HZ = 2000.0
_WIDE_HZ = 7000.0  # an edge above this changes speech little
_TELEPHONE_EDGE_HZ = 4200.0  # a rate of 8 kHz ends below this
# Level of the lowest harmonics, 90 to 220 Hz, relative to 300 to 900 Hz: clean speech has -2 to
# 5 dB, that of a telephone -23 to -15 dB.
_NO_BASS_DB = -9.0
_NOISY_DB = 20.5  # clean corpora have 38 dB or more, a far microphone or noise 20 dB or less
# Clips that are cut tightly have no pauses, so that their quietest frames are speech. Noise is
# steady: from its 5th to its 15th percentile the level of frames rises by at most 1.6 dB, that of
# speech by 4 dB or more.
_STEADY_DB = 2.5
_POINTS = 33  # of the noise's spectrum
_TINY = 1e-13


class Spectra(NamedTuple):
    """Long-term spectra of a corpus; each clip counts alike, whatever its level."""

    frequency_hz: np.ndarray  # [bins]
    speech: np.ndarray  # [bins] mean power of the clips, whose total power is 1
    noise: np.ndarray  # [bins] mean power in their quietest frames, on the same scale
    snr_db: np.ndarray  # [clips] speech over the noise of the quietest frames, above 100 Hz
    rise_db: np.ndarray  # [clips] from the 5th to the 15th percentile of the frames' levels


class ChannelEstimate(NamedTuple):
    """A band and noise that make clean speech sound like that of a corpus."""

    low_hz: float  # lower edge of the band; 0: none
    high_hz: float  # upper edge of the band; infinity: none
    snr_db: float  # ratio of speech to noise above 100 Hz; infinity: no noise
    noise_db: tuple[float, ...]  # spectrum of the noise at equal steps from 0 Hz, whole dB

    @property
    def is_clean(self) -> bool:
        """Whether there is neither a band nor noise."""
        return not self.low_hz and np.isinf(self.high_hz) and np.isinf(self.snr_db)

    @property
    def is_telephone(self) -> bool:
        """Whether the band ends where that of a telephone does."""
        return self.high_hz < _TELEPHONE_EDGE_HZ

    def describe(self) -> str:
        """For messages: "a telephone band (300-3400 Hz) and noise 10 dB below the speech"."""
        parts = []
        if np.isfinite(self.high_hz):
            name = "a telephone band" if self.is_telephone else "a narrow band"
            parts.append(f"{name} ({self.low_hz:.0f}-{self.high_hz:.0f} Hz)")
        elif self.low_hz:
            parts.append(f"nothing below {self.low_hz:.0f} Hz")
        if np.isfinite(self.snr_db):
            parts.append(f"noise {self.snr_db:.0f} dB below the speech")
        return " and ".join(parts)


def measure_spectra(clips: Iterable[np.ndarray], sample_rate_hz: int) -> Spectra:
    """Measures the spectra of clips and of their pauses.

    Args:
      clips: samples [samples] of each clip, with the pauses at both ends; at least one clip.
      sample_rate_hz: sampling rate of the clips, Hz.
    """
    size, hop = (round(seconds * sample_rate_hz) for seconds in (_FRAME_S, _HOP_S))
    frequency_hz = np.fft.rfftfreq(size, 1 / sample_rate_hz)
    counted = frequency_hz >= LOWEST_HZ
    speech, noise, snr_db, rise_db = [], [], [], []
    for clip in clips:
        padded = np.pad(clip, (0, max(0, size - len(clip))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2  # [frames, bins]
        loudness = power[:, counted].sum(1)
        quiet = np.argsort(loudness)[: max(1, int(_QUIET_FRACTION * len(power)))]
        total = power.mean(0).sum() + _TINY
        speech.append(power.mean(0) / total)
        noise.append(power[quiet].mean(0) / total)
        # The loudness of a clip includes its noise, so the ratio is 1 too large.
        ratio = loudness.mean() / (loudness[quiet].mean() + _TINY) - 1.0
        snr_db.append(10 * np.log10(max(ratio, 1e-3)))
        low, high = np.percentile(10 * np.log10(loudness + _TINY), (5, 15))
        rise_db.append(high - low)
    return Spectra(
        frequency_hz,
        np.mean(speech, 0),
        np.mean(noise, 0),
        np.array(snr_db),
        np.array(rise_db),
    )


def estimate_channel(spectra: Spectra) -> ChannelEstimate:
    """Estimates the band and the noise of a corpus.

    Args:
      spectra: spectra of the corpus, from `measure_spectra`.
    """
    low_hz = TELEPHONE_HZ[0] if _lacks_bass(spectra) else 0.0
    high_hz = _upper_edge_hz(spectra)
    if low_hz and high_hz < _TELEPHONE_EDGE_HZ:
        high_hz = TELEPHONE_HZ[1]  # the line's own edge, below that of its codec
    snr_db = float(np.median(spectra.snr_db))
    is_noisy = snr_db < _NOISY_DB and np.median(spectra.rise_db) < _STEADY_DB
    return ChannelEstimate(
        low_hz,
        high_hz,
        float(round(snr_db)) if is_noisy else float("inf"),
        _noise_db(spectra),
    )


def difference(target: ChannelEstimate, source: ChannelEstimate) -> ChannelEstimate:
    """The part of the target's channel that the source lacks."""
    noise, source_noise = (10 ** (-channel.snr_db / 10) for channel in (target, source))
    added = noise - source_noise
    return target._replace(
        low_hz=0.0 if source.low_hz else target.low_hz,
        high_hz=float("inf") if source.high_hz <= target.high_hz else target.high_hz,
        # Noise below half of the target's would change little.
        snr_db=float("inf") if added <= noise / 2 else float(round(-10 * np.log10(added))),
    )


def _lacks_bass(spectra: Spectra) -> bool:
    """Whether the lowest harmonics are as weak as on a telephone."""
    frequency_hz = spectra.frequency_hz
    low, middle = (
        spectra.speech[(frequency_hz >= start_hz) & (frequency_hz < end_hz)].mean()
        for start_hz, end_hz in ((90.0, 220.0), (300.0, 900.0))
    )
    return bool(10 * np.log10(low / middle) < _NO_BASS_DB)


def _upper_edge_hz(spectra: Spectra) -> float:
    """The frequency at which the band ends; infinity if it does not end."""
    frequency_hz, level_db = spectra.frequency_hz, 10 * np.log10(spectra.speech + 1e-15)
    for edge in np.flatnonzero((frequency_hz >= _LOWEST_EDGE_HZ) & (frequency_hz < _WIDE_HZ)):
        octave_db = np.median(level_db[edge // 2 : edge])
        if level_db[edge:].max() < octave_db - _EDGE_DB:
            return float(frequency_hz[edge])
    return float("inf")


def _noise_db(spectra: Spectra) -> tuple[float, ...]:
    """The spectrum of the noise at equal steps from 0 Hz, whole dB below its peak."""
    frequency_hz = spectra.frequency_hz
    # Hum is not copied: below 100 Hz the noise has the level that it has at 100 Hz.
    first = int((frequency_hz < LOWEST_HZ).sum())
    noise = spectra.noise[np.maximum(np.arange(len(frequency_hz)), first)]
    level_db = 10 * np.log10(noise / noise.max() + 1e-6)
    points = np.interp(np.linspace(0, frequency_hz[-1], _POINTS), frequency_hz, level_db)
    return tuple(float(round(point)) for point in points)
