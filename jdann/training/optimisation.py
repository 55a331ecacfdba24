"""The optimiser: one for each group of parameters, so that an update may leave groups as they are."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jdann.errors import InputError
from jdann.training.schedules import learning_rate_schedule

OPTIMISERS = ("adamw", "adam", "sgd")


def make_optimiser(config: Any, weight_decay: jax.typing.ArrayLike) -> optax.GradientTransformation:
    """The optimiser of one group without its learning rate: what it returns is scaled by `descend`.

    Weight decay acts on matrices and kernels only: decoupled in adamw (Loshchilov & Hutter 2019), added to the gradient
    in adam and sgd.

    Args:
      config: `config.optimiser`: its `name` and `momentum`.
      weight_decay: may be traced.

    Raises:
      InputError: the optimiser has no such name.
    """
    decay = optax.add_decayed_weights(
        jnp.asarray(weight_decay), mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
    )
    if config.name == "adamw":
        return optax.chain(optax.scale_by_adam(), decay)
    if config.name == "adam":
        return optax.chain(decay, optax.scale_by_adam())
    if config.name == "sgd":
        return optax.chain(decay, optax.trace(config.momentum))
    raise InputError(
        f"config.optimiser.name is {config.name!r}; choose one of {', '.join(OPTIMISERS)}"
    )


def begin(config: Any, params: dict[str, Any]) -> dict[str, Any]:
    """A fresh optimiser state for each group of `params`."""
    return {group: make_optimiser(config, 0.0).init(tree) for group, tree in params.items()}


def descend(
    config: Any,
    weight_decay: jax.Array,
    rate: jax.Array,
    gradient: dict[str, Any],
    params: Any,
    opt_state: Any,
) -> tuple[Any, Any, jax.Array]:
    """Takes one step down a gradient, clipped by its norm over all groups that it has.

    Args:
      config: `config.optimiser`.
      weight_decay: scalar, traced.
      rate: scalar, traced, the learning rate.
      gradient: of some of the groups.
      params: of all groups.
      opt_state: from `begin`.

    Returns:
      Parameters and optimiser state of all groups, and the gradient's norm before clipping.
    """
    norm = optax.tree.norm(gradient)
    if config.clip_norm > 0:
        factor = jnp.minimum(1.0, config.clip_norm / jnp.maximum(norm, 1e-12))
        gradient = jax.tree.map(lambda g: g * factor, gradient)
    params, opt_state = dict(params), dict(opt_state)
    for group, of_group in gradient.items():
        updates, opt_state[group] = make_optimiser(config, weight_decay).update(
            of_group, opt_state[group], params[group]
        )
        params[group] = jax.tree.map(lambda p, u: p - rate * u, params[group], updates)
    return params, opt_state, norm


def check(config: Any) -> None:
    """Refuses an optimiser or a schedule of its rate that has no such name.

    Raises:
      InputError: names the key.
    """
    make_optimiser(config, 0.0)
    learning_rate_schedule(config, 2)
