"""How the learning rate and lambda move over a run. Both are functions of the step, traced, with a traced height."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jdann.errors import InputError

LEARNING_RATES = ("warmup_cosine", "constant", "one_cycle")
STRENGTHS = ("ganin", "constant")


def ganin(progress: jax.typing.ArrayLike, gamma: jax.typing.ArrayLike = 10.0) -> jax.Array:
    """Ganin's lambda: 2 / (1 + exp(-gamma p)) - 1.

    Source: Ganin et al. 2016, JMLR 17, section 5.2.2.

    Args:
      progress: p, the part of the training that is done; clamped to [0, 1].
      gamma: the steepness.

    Returns:
      lambda in [0, 1), the shape of `progress`: 0 at p = 0, .9866 at p = .5 and .9999 at p = 1 for gamma = 10.
    """
    progress = jnp.clip(jnp.asarray(progress, jnp.float32), 0.0, 1.0)
    return 2.0 / (1.0 + jnp.exp(-jnp.asarray(gamma) * progress)) - 1.0


def strength_schedule(config: Any, total_steps: int) -> optax.Schedule:
    """The relative lambda of each step, in [0, 1].

    Args:
      config: `config.strength`, with `schedule` (one of STRENGTHS) and `gamma`.
      total_steps: steps of the whole run; p = step / total_steps.

    Raises:
      InputError: the schedule has no such name.
    """
    if config.schedule == "ganin":
        gamma = config.gamma
        return lambda step: ganin(step / total_steps, gamma)
    if config.schedule == "constant":
        return lambda step: jnp.ones((), jnp.float32)
    raise InputError(
        f"config.strength.schedule is {config.schedule!r}; choose one of {', '.join(STRENGTHS)}"
    )


def learning_rate_schedule(config: Any, total_steps: int) -> optax.Schedule:
    """The learning rate of each step relative to its peak, in [0, 1].

    Args:
      config: `config.optimiser`, with `schedule` (one of LEARNING_RATES) and `warmup_fraction` of all steps.
      total_steps: steps of the whole run, the warm-up included.

    Raises:
      InputError: the schedule has no such name.
    """
    total_steps = max(2, total_steps)
    warmup_steps = min(round(config.warmup_fraction * total_steps), total_steps - 1)
    if config.schedule == "warmup_cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup_steps else 1.0, 1.0, warmup_steps, total_steps
        )
    if config.schedule == "constant":
        return optax.constant_schedule(1.0)
    if config.schedule == "one_cycle":
        return optax.cosine_onecycle_schedule(total_steps, 1.0)
    raise InputError(
        f"config.optimiser.schedule is {config.schedule!r}; choose one of {', '.join(LEARNING_RATES)}"
    )
