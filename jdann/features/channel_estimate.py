"""Recognises from a corpus's spectra that its speech went through a narrow band or has noise in it.

No label is needed. The channel of one corpus is estimated beside another one: what both have in
common, such as the same noise, needs no change.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_FRAME, _HOP = 512, 256  # samples, at 16 kHz
_QUIET_FRACTION = 0.1  # frames of a clip that count as its pauses
_LOWEST_HZ = 100.0  # hum below this is no noise that matters to speech
_POINTS = 33  # of the noise's spectrum
_TINY = 1e-13


class Spectra(NamedTuple):
    """Spectra of a corpus. Each clip counts alike, whatever its level."""

    frequency_hz: np.ndarray  # [bins]
    speech: np.ndarray  # [bins] mean power of the clips, their total being 1
    noise: np.ndarray  # [bins] mean power in the quietest frames, on the scale of `speech`
    snr_db: np.ndarray  # [clips] power of a clip over that of its quietest frames, above 100 Hz
    level_db: np.ndarray  # [clips] power of a clip above 100 Hz, dB relative to full scale


class ChannelEstimate(NamedTuple):
    """What one corpus's channel does that the other's does not."""

    low_hz: float  # lower edge of the band; 0: none
    high_hz: float  # upper edge; half the sampling rate: none
    snr_db: float  # of noise to be added; infinity: none
    snr_per_db: float  # how much the ratio rises if speech is 1 dB louder: 0 to 1
    level_db: float  # mean level of the clips to which `snr_db` belongs, dB
    noise_db: tuple[float, ...]  # spectrum of the noise, at equal steps from 0 Hz

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.is_narrow or np.isfinite(self.snr_db)
