"""Gradient reversal: the identity forwards, minus `strength` times the gradient backwards.

This module depends on jax alone, so that other projects can use it without the rest of jdann.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import jax

Tree = TypeVar("Tree")


def gradient_reversal(x: Tree, strength: "jax.typing.ArrayLike") -> Tree:
    """Returns `x` unchanged and multiplies the gradient that flows back through it by `-strength`.

    Forward R(x) = x, backward dR/dx = -strength I (Ganin et al. 2016, "Domain-Adversarial Training
    of Neural Networks", JMLR 17, equation 18). `strength` is a traced argument: it can change from
    step to step under `jit`, be batched by `vmap` and carried by `scan`. Its gradient is zero.

    Args:
      x: a pytree of arrays of any floating dtype; integer leaves pass through.
      strength: a scalar, usually in [0, 1]: 0 stops the gradient, 1 reverses all of it.

    Returns:
      A pytree equal to `x`, with its dtypes.
    """
    return _primitive()(x, strength)


@cache
def _primitive() -> Callable[[Any, Any], Any]:
    import jax  # not at the top: jax takes a second, and `import jdann` is to take none
    import jax.numpy as jnp

    @jax.custom_vjp
    def reversal(x: Any, strength: jax.Array) -> Any:
        return x

    def forward(x: Any, strength: jax.Array) -> tuple[Any, jax.Array]:
        return x, strength

    def backward(strength: jax.Array, gradient: Any) -> tuple[Any, jax.Array]:
        def reverse(leaf: jax.Array) -> jax.Array:
            if leaf.dtype == jax.dtypes.float0:  # the cotangent of an integer leaf
                return leaf
            return -strength.astype(leaf.dtype) * leaf

        return jax.tree.map(reverse, gradient), jnp.zeros_like(strength)

    reversal.defvjp(forward, backward)
    return lambda x, strength: reversal(x, jnp.asarray(strength, jnp.float32))
