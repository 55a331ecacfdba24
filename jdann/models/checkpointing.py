"""Gradient checkpointing: a gradient computes a function again instead of keeping what is inside.

Only the arguments are kept between the function and its gradient (Chen et al., 2016, "Training deep
nets with sublinear memory cost").
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# From (trained, fixed), two trees of arrays, to an array.
Function = Callable[[Any, Any], jax.Array]


def checkpointed(function: Function) -> Function:
    """The same function, of which a gradient keeps the arguments only.

    Args:
      function: of `trained`, a tree of float arrays, and `fixed`, a tree of arrays that no gradient
        is asked of.

    Returns:
      A function with the same results and gradients. (On a CPU, a NaN in the gradient of the result
      makes the whole gradient NaN.) On a CPU, memory is saved only where no `vmap`
      runs over the function, because JAX then computes both branches of a condition.
    """
    if jax.default_backend() == "cpu":
        return _checkpointed_for_cpu(function)
    return jax.checkpoint(function)


def _checkpointed_for_cpu(function: Function) -> Function:
    """As `jax.checkpoint`, which saves nothing on a CPU.

    XLA's CPU backend recognises that the gradient computes the function again, and keeps the first
    results instead. It does not look into the branches of a condition. So the gradient is computed
    in a branch, and the condition is one that only the running program can decide.
    """

    def forward(trained: Any, fixed: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        return function(trained, fixed), (trained, fixed)

    def backward(kept: tuple[Any, Any], gradient: jax.Array) -> tuple[Any, None]:
        trained, fixed = kept

        def of_trained(trained: Any, gradient: jax.Array) -> Any:
            _, pull_back = jax.vjp(lambda values: function(values, fixed), trained)
            return pull_back(gradient)[0]

        def not_a_number(trained: Any, _: jax.Array) -> Any:
            return jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), trained)

        has_diverged = jnp.isnan(gradient).any()
        return lax.cond(has_diverged, not_a_number, of_trained, trained, gradient), None

    differentiable = jax.custom_vjp(function)
    differentiable.defvjp(forward, backward)
    return differentiable
