"""What a method is: a NamedTuple of pure functions. A factory in this package makes it from the config."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Dims(NamedTuple):
    """Sizes that a method's own parameters depend on."""

    representation: int
    classes: int


class Source(NamedTuple):
    """What a method sees of a source batch."""

    representation: jax.Array  # [batch, representation]
    logits: jax.Array  # [batch, classes]
    emotion: jax.Array  # [batch] int32
    risk: jax.Array  # scalar: label-smoothed cross-entropy of `logits`, mean over the batch


class Target(NamedTuple):
    """What a method sees of a target batch. There is no label field."""

    representation: jax.Array  # [batch, representation]
    logits: jax.Array  # [batch, classes]


class Method(NamedTuple):
    """A way to adapt.

    `init(key, dims) -> params` makes the method's own parameters (a discriminator, say; `{}` for none).
    `loss(params, source, target, *, strength, key) -> (loss, diagnostics)` is the whole objective, the source risk
    included; `strength` is a traced scalar, `diagnostics` a dict of scalars for the history. With strength 0 the encoder's
    gradient equals that of the source risk alone. `target` is None where `uses_target` is False: then the target's audio
    never passes the encoder in training, batch norm included.
    """

    init: Callable[[jax.Array, Dims], Any]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    uses_target: bool
