"""The convolution of the encoders: over frames, or over frames and bins."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError
from jdann.models.cpu.convolution import convolution_for_cpu
from jdann.models.windows import LAYOUTS, centred
from jdann.parameters import shown

# The type that factors are rounded to before they are multiplied. Sums, parameters and results are
# always float32.
PRECISIONS = {"float32": jnp.float32, "mixed": jnp.bfloat16}


def check_precision(precision: str) -> None:
    """Refuses a `config.precision` that is not a key of `PRECISIONS`.

    Raises:
      InputError: names the choices.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"config.precision is {shown(precision)}; choose one of {', '.join(PRECISIONS)}"
        )


def convolution_as_primitive(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dtype: Any
) -> jax.Array:
    """`convolution` as one operation of XLA, with factors rounded to `dtype`."""
    margins, _ = centred(x.shape[1:-1], kernel.shape[:-2], strides)
    x, kernel = (a.astype(dtype) for a in (x, kernel))
    layout = LAYOUTS[kernel.ndim - 2]
    y = lax.conv_general_dilated(x, kernel, strides, margins, dimension_numbers=layout)
    return y.astype(jnp.float32)


def convolution(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], precision: str = "float32"
) -> jax.Array:
    """Convolves over one or two axes, with zeros around x and each window centred on its frame.

    When the function is traced, `jax.default_backend()` decides between `convolution_for_cpu` and
    XLA's own convolution.

    Args:
      x: [batch, frames, in] or [batch, frames, bins, in], float32, zero in the padding.
      kernel: [size, in, out] or [frames size, bins size, in, out], float32, Flax's layout.
      strides: one for each spatial axis.
      precision: "float32", or "mixed". "mixed" rounds x, the kernel and the result's gradient to
        bfloat16 before it multiplies them, and sums in float32. On a CPU, a large convolution along
        frames then multiplies the rounded numbers in float32, because this is faster.

    Returns:
      [batch, ceil(frames / stride), out] or
      [batch, ceil(frames / stride), ceil(bins / stride), out], float32.
    """
    chex.assert_equal_rank([x, kernel])
    chex.assert_rank(x, {3, 4})
    convolve = convolution_for_cpu if jax.default_backend() == "cpu" else convolution_as_primitive
    return convolve(x, kernel, tuple(strides), PRECISIONS[precision])


class Convolution(nn.Module):
    """`convolution` with a kernel of its own and without bias, because a batch norm follows.

    The kernel's initial values are uniform, after He et al. (2015).

    Fields:
      channels: of the result.
      window: size of the kernel along each spatial axis.
      strides: along each spatial axis.
      precision: a key of `PRECISIONS`.
    """

    channels: int
    window: tuple[int, ...]
    strides: tuple[int, ...]
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves x [batch, frames, in] or [batch, frames, bins, in]."""
        shape = (*self.window, x.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.he_uniform(), shape)
        return convolution(x, kernel, self.strides, self.precision)
