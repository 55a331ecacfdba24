"""No adaptation: the row that every method has to beat."""

from typing import Any

import jax

from jdann.methods.contract import Dims, Method, Source


def source_only(config: Any) -> Method:
    """Trains on the labelled source alone: loss = source risk. Training never sees the target."""
    del config

    def init(key: jax.Array, dims: Dims) -> Any:
        del key, dims
        return {}

    def loss(
        params: Any, source: Source, target: None, *, strength: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del params, target, strength, key
        return source.risk, {}

    return Method(init, loss, uses_target=False)
