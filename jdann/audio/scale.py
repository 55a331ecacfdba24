"""Brings samples to the scale at which full scale is 1.0."""

import numpy as np

_LOUDEST_FLOAT = 4.0  # floats above this are on the scale of integers
_INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)  # full scale of 16, 24 and 32 bits


def to_floating(samples: np.ndarray) -> np.ndarray:
    """Samples as float32 with full scale at 1.0.

    Integers are divided by their full scale, and so are floats that are on the scale of integers.
    Integers of 32 bits or more that use only 16 of them are on the scale of 16 bits.
    """
    samples = np.asarray(samples)
    if not samples.size:
        return samples.astype(np.float32)
    is_integer = np.issubdtype(samples.dtype, np.signedinteger)
    floating = samples.astype(np.float32, copy=False)
    peak = float(np.abs(floating).max())  # NaN if one sample is NaN
    if not is_integer:
        scale = full_scale(peak)
        return floating if scale == 1 else floating / np.float32(scale)
    full = -float(np.iinfo(samples.dtype).min)
    if samples.dtype.itemsize >= 4 and peak <= _INTEGER_SCALES[0]:
        full = _INTEGER_SCALES[0]
    return floating / np.float32(full)


def full_scale(peak: float) -> float:
    """The full scale of floats with this largest value; 1.0 if it is NaN or no scale fits."""
    if not peak > _LOUDEST_FLOAT:
        return 1.0
    return next((full for full in _INTEGER_SCALES if peak <= full), 1.0)
