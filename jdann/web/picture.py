"""What the web page draws of a clip: its waveform and its mel spectrogram, small enough to send."""

import base64
from typing import Any

import numpy as np

from jdann import audio

RATE_HZ = 16000
MELS = 64
_COLUMNS = 800  # at most, of either picture
_SHORTEST_HOP = 160  # samples
_N_FFT = 512
_RANGE_DB = 80.0  # below the loudest cell


def picture(samples: np.ndarray, sample_rate_hz: int) -> dict[str, Any]:
    """Waveform and mel spectrogram.

    Args:
      samples: [samples] or [samples, channels] float32.
      sample_rate_hz: of `samples`.

    Returns:
      "waveform": {"low", "high"}, each a list of at most 800 values in -1 to 1, the extremes of equal parts of the clip.
      "mel": {"bins", "columns", "low_hz", "high_hz", "values"}; values are bytes in base64, [bins, columns], lowest bin
      first, 0 for 80 dB or more below the loudest cell and 255 for that one.
    """
    import librosa

    mono = audio.mono(samples, sample_rate_hz, RATE_HZ)
    parts = np.array_split(mono, min(_COLUMNS, len(mono)))
    low, high = ([round(float(f(part)), 3) for part in parts] for f in (np.min, np.max))
    hop = max(_SHORTEST_HOP, -(-len(mono) // _COLUMNS))
    padded = np.pad(mono, (0, max(0, _N_FFT - len(mono))))
    power = librosa.feature.melspectrogram(
        y=padded, sr=RATE_HZ, n_fft=max(_N_FFT, _power_of_two(hop)), hop_length=hop, n_mels=MELS
    )
    decibels = librosa.power_to_db(power, ref=np.max, top_db=_RANGE_DB)  # [bins, columns], -80 to 0
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
    return 1 << (least - 1).bit_length()
