"""The optimiser: each group of parameters has one, so that an update may leave a group as it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class OptimiserSettings(NamedTuple):
    """How parameters are updated; the learning rate and weight decay are traced and come later."""

    name: str = "adamw"  # a key of OPTIMISERS
    momentum: float = 0.9  # of sgd
    clip_norm: float = 5.0  # largest norm of the gradient over all groups; 0: no clipping


def _decay(weight_decay: jax.typing.ArrayLike) -> optax.GradientTransformation:
    """Weight decay of matrices and kernels; biases and scales are left out."""
    return optax.add_decayed_weights(
        jnp.asarray(weight_decay), mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
    )


def adamw(
    settings: OptimiserSettings, weight_decay: jax.typing.ArrayLike
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    del settings
    return optax.chain(optax.scale_by_adam(), _decay(weight_decay))


def adam(
    settings: OptimiserSettings, weight_decay: jax.typing.ArrayLike
) -> optax.GradientTransformation:
    """Adam, with weight decay added to the gradient."""
    del settings
    return optax.chain(_decay(weight_decay), optax.scale_by_adam())


def sgd(
    settings: OptimiserSettings, weight_decay: jax.typing.ArrayLike
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum, with weight decay added to the gradient."""
    return optax.chain(_decay(weight_decay), optax.trace(settings.momentum))


# Each maps (settings, weight decay) to the direction of a step; the learning rate scales it later.
OPTIMISERS: dict[
    str, Callable[[OptimiserSettings, jax.typing.ArrayLike], optax.GradientTransformation]
] = {"adamw": adamw, "adam": adam, "sgd": sgd}


def init_optimiser(settings: OptimiserSettings, params: dict[str, Any]) -> dict[str, Any]:
    """A new optimiser state for each group of `params`."""
    optimiser = OPTIMISERS[settings.name](settings, 0.0)
    return {group: optimiser.init(tree) for group, tree in params.items()}


def apply_gradient(
    settings: OptimiserSettings,
    gradient: dict[str, Any],
    params: dict[str, Any],
    opt_state: dict[str, Any],
    *,
    learning_rate: jax.Array,
    weight_decay: jax.Array,
) -> tuple[dict[str, Any], dict[str, Any], jax.Array]:
    """Takes one step against a gradient, clipped by its norm over all groups that it has.

    Args:
      settings: how.
      gradient: of some of the groups; the other groups stay as they are.
      params: of all groups.
      opt_state: of all groups, from `init_optimiser`.
      learning_rate: scalar, traced.
      weight_decay: scalar, traced.

    Returns:
      Parameters and optimiser state of all groups, and the norm of the gradient before clipping.
    """
    norm = optax.tree.norm(gradient)
    if settings.clip_norm > 0:
        clip = optax.clip_by_global_norm(settings.clip_norm)
        clipped: Any = clip.update(gradient, clip.init(gradient))[0]
        gradient = clipped
    optimiser = OPTIMISERS[settings.name](settings, weight_decay)
    params, opt_state = dict(params), dict(opt_state)
    for group, tree in gradient.items():
        # Optax's Adam raises a float to the power of an integer, which is the number of steps. JAX
        # does that under its standard rules only.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state[group] = optimiser.update(tree, opt_state[group], params[group])
        params[group] = jax.tree.map(lambda p, u: p - learning_rate * u, params[group], updates)
    return params, opt_state, norm
