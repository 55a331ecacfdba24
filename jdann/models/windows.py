"""Windows along frames and bins, for convolutions and pooling.

The window of frame i begins at frame i - (size - 1) // 2, and a stride keeps the frames 0, stride,
2 * stride and so on. `jdann/models/layers.py` says why.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# XLA's names of the axes of input, kernel and result, by the number of spatial axes.
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}

Margins = Sequence[tuple[int, int]]  # zeros before and after each spatial axis; negative ones cut


def strided(length: Any, stride: int) -> Any:
    """Returns ceil(length / stride), the frames that a stride leaves, for an int or [batch]."""
    return -(-length // stride)


def centred(
    spatial: Sequence[Any], window: Sequence[int], strides: Sequence[int]
) -> tuple[list[tuple[int, int]], list[Any]]:
    """Returns the margins and the number of windows for windows that are centred on their frames.

    The window of frame i begins at frame i - (size - 1) // 2. The margins do not depend on the
    sizes of x, so that they are known even in an export for clips of any length.

    Args:
      spatial: size of x along each spatial axis.
      window: size of the window along each spatial axis.
      strides: along each spatial axis.

    Returns:
      The margins, and the number of windows along each spatial axis.
    """
    margins = [((size - 1) // 2, size // 2) for size in window]
    return margins, [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]


def shifted(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    margins: Margins,
    windows: Sequence[int],
) -> list[jax.Array]:
    """Returns, for each place in the window, the entries that stand at this place in all windows.

    Args:
      x: [batch, *spatial, channels].
      window: size of the window along each spatial axis.
      strides: from one window to the next, along each spatial axis.
      margins: zeros before and after each spatial axis; negative ones cut.
      windows: number of windows along each spatial axis.

    Returns:
      Arrays [batch, *windows, channels], one per place of the window in row-major order.
    """
    zero = jnp.zeros((), x.dtype)
    padded = lax.pad(x, zero, [(0, 0, 0), *((*margin, 0) for margin in margins), (0, 0, 0)])
    span = [(n - 1) * stride + 1 for n, stride in zip(windows, strides, strict=True)]
    steps = (1, *strides, 1)
    parts = []
    for place in itertools.product(*(range(size) for size in window)):
        end = (first + length for first, length in zip(place, span, strict=True))
        parts.append(lax.slice(padded, (0, *place, 0), (x.shape[0], *end, x.shape[-1]), steps))
    return parts
