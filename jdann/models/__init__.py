"""Encoders: [batch, frames, bins] -> a representation and named intermediates, whatever the padding."""

from typing import Any

from flax import linen as nn

from jdann.errors import InputError
from jdann.models.conv1d import conv1d
from jdann.models.cpu.convolution import check_precision
from jdann.models.mlp import mlp
from jdann.models.resnet import resnet50

ENCODERS = {"conv1d": conv1d, "resnet50": resnet50, "mlp": mlp}


def make_encoder(config: Any, precision: str = "float32") -> nn.Module:
    """Makes the encoder that a config names.

    Args:
      config: `config.encoder`: `name`, a key of `ENCODERS`, and the keys that the encoder reads.
      precision: `config.precision` in training, "float32" or "mixed" (bfloat16 products, summed in float32); a trained
        encoder is used in float32.

    Returns:
      A linen module: `apply(variables, features [batch, frames, bins], length [batch], train)` returns a dictionary of
      `representation` [batch, d] and named intermediates; its variables are `params` and `batch_stats`.

    Raises:
      InputError: there is no such encoder or precision, or its keys do not fit together.
    """
    if config.name not in ENCODERS:
        raise InputError(
            f"encoder.name {config.name!r} is unknown; choose one of {', '.join(ENCODERS)}"
        )
    check_precision(precision)
    return ENCODERS[config.name](config, precision)
