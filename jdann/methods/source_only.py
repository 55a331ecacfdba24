"""No adaptation: the row that every method has to beat."""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, Method, Source, term


def source_only(config: Any) -> Method:
    """Trains on the labelled source alone: loss = source risk. Training never sees the target."""
    del config
    return term(nothing, domains=("source",))


def nothing(
    params: Any, source: Source, target: None, context: Context
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A loss of zero."""
    del params, source, target, context
    return jnp.zeros(()), {}
