"""The waveform and the mel spectrogram of a clip for the web page, small enough to send.

librosa is imported inside the function: the server starts without waiting for it.
"""

import base64
from typing import Any

import numpy as np

from jdann import audio

RATE_HZ = 16000
MELS = 64
_MOST_COLUMNS = 800  # of the waveform and of the spectrogram
_SHORTEST_HOP = 160  # samples
_N_FFT = 512
_RANGE_DB = 80.0  # from the loudest cell down to black


def draw_clip(samples: np.ndarray, sample_rate_hz: int) -> dict[str, Any]:
    """Computes the waveform and the mel spectrogram that the page shows.

    Args:
      samples: [samples] or [samples, channels] float32.
      sample_rate_hz: sample rate of `samples`.

    Returns:
      "waveform": {"low", "high"}, each a list of at most 800 values from -1 to 1, the extremes of
      equal parts of the clip.
      "mel": {"bins", "columns", "low_hz", "high_hz", "values"}. "values" are bytes in base64,
      [bins, columns] with the lowest bin first. The loudest cell is 255; 80 dB or more below is 0.
    """
    import librosa

    mono = audio.mono(samples, sample_rate_hz, RATE_HZ, silence_allowed=True)
    parts = np.array_split(mono, min(_MOST_COLUMNS, len(mono)))
    low, high = ([round(float(f(part)), 3) for part in parts] for f in (np.min, np.max))
    hop = max(_SHORTEST_HOP, -(-len(mono) // _MOST_COLUMNS))
    padded = np.pad(mono, (0, max(0, _N_FFT - len(mono))))
    power = librosa.feature.melspectrogram(
        y=padded, sr=RATE_HZ, n_fft=max(_N_FFT, _power_of_two(hop)), hop_length=hop, n_mels=MELS
    )
    decibels = librosa.power_to_db(power, ref=np.max, top_db=_RANGE_DB)  # [bins, columns], -80 to 0
    # The spectrogram of silence is 0 dB everywhere; it has to be black.
    decibels = decibels if power.any() else np.full_like(decibels, -_RANGE_DB)
    values = np.round((decibels / _RANGE_DB + 1) * 255).astype(np.uint8)
    mel = {
        "bins": MELS,
        "columns": values.shape[1],
        "low_hz": 0,
        "high_hz": RATE_HZ // 2,
        "values": base64.b64encode(values.tobytes()).decode("ascii"),
    }
    return {"waveform": {"low": low, "high": high}, "mel": mel}


def _power_of_two(least: int) -> int:
    """The smallest power of two that is at least `least`."""
    return 1 << (least - 1).bit_length()
