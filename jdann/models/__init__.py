"""Encoders: from a batch of features to one representation per clip and named intermediates.

An encoder is a linen module. `apply(variables, features, length, train)` takes features
[batch, frames, bins] and lengths [batch], and returns a dictionary of `representation` [batch, d]
and intermediates. The padding after a clip's length never changes the result.

To add an encoder, write a function that makes the module from keyword hyper-parameters, and give
the function a name in `ENCODERS`. Nothing else has to change.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flax import linen as nn

from jdann.errors import InputError
from jdann.models.conv1d import conv1d
from jdann.models.convolution import check_precision
from jdann.models.mlp import mlp
from jdann.models.pretrained_top import pretrained_top
from jdann.models.resnet import resnet50
from jdann.parameters import check, parameters, shown

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "conv1d": conv1d,
    "resnet50": resnet50,
    "mlp": mlp,
    "pretrained_top": pretrained_top,
}


def make_encoder(
    name: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
    precision: str = "float32",
    features: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Makes the encoder of a name, with the settings that its factory accepts.

    Args:
      name: a key of `ENCODERS`.
      settings: hyper-parameters by name, such as the `encoder` section of a config. A setting that
        this encoder has no parameter for is ignored, because the section is shared by all encoders.
        A parameter without a setting keeps its default.
      precision: "float32", or "mixed" for products in bfloat16 that are summed in float32. A
        factory without this parameter computes in float32. Use "float32" for a trained encoder.
      features: what makes the features, such as the `features` section of a config. Only an encoder
        that continues a pretrained one has parameters for them.

    Returns:
      A linen module with the variables `params` and, where it has batch norm, `batch_stats`.

    Raises:
      InputError: there is no such encoder or precision, or a setting is not usable.
    """
    if name not in ENCODERS:
        similar = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = f" (did you mean {similar[0]}?)" if similar else ""
        raise InputError(
            f"encoder.name {shown(name)} is unknown{hint}; choose one of {', '.join(ENCODERS)}"
        )
    check_precision(precision)
    factory = ENCODERS[name]
    accepted = parameters(factory)
    chosen = {key: settings[key] for key in accepted if key in settings}
    check(factory, chosen, "config.encoder.")
    chosen |= {key: features[key] for key in accepted if key in features}
    if "precision" in accepted:
        chosen["precision"] = precision
    return factory(**chosen)
