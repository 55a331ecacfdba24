"""How the learning rate and lambda change over a run.

A schedule is a function of the step that returns a factor in [0, 1]. The step may be traced, and so
may the peak that the factor is multiplied with.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def ganin(progress: jax.typing.ArrayLike, gamma: jax.typing.ArrayLike = 10.0) -> jax.Array:
    """Ganin's lambda: 2 / (1 + exp(-gamma p)) - 1.

    Source: Ganin et al. 2016, JMLR 17, section 5.2.2.

    Args:
      progress: p, the part of the training that is done; clamped to [0, 1].
      gamma: the steepness.

    Returns:
      lambda in [0, 1), of the shape of `progress`. For gamma = 10 it is 0 at p = 0, .9866 at p = .5
      and .9999 at p = 1.
    """
    progress = jnp.clip(jnp.asarray(progress, jnp.float32), 0.0, 1.0)
    return 2.0 / (1.0 + jnp.exp(-jnp.asarray(gamma) * progress)) - 1.0


def ganin_schedule(total_steps: int, gamma: float) -> optax.Schedule:
    """`ganin` of p = step / total_steps."""
    return lambda step: ganin(step / total_steps, gamma)


def constant_strength(total_steps: int, gamma: float) -> optax.Schedule:
    """The factor 1 at every step, so that lambda has its peak from the first step on."""
    del total_steps, gamma
    return lambda step: jnp.ones((), jnp.float32)


def warmup_cosine(total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Rises linearly over the warm-up, then falls as a half cosine.

    It reaches 0 at step `total_steps`, just after the last one.
    """
    first = 0.0 if warmup_steps else 1.0
    # Optax counts the warm-up among the steps of the decay.
    factor = optax.warmup_cosine_decay_schedule(first, 1.0, warmup_steps, total_steps)
    return lambda step: factor(jnp.asarray(step, jnp.float32))


def constant_rate(total_steps: int, warmup_steps: int) -> optax.Schedule:
    """The factor 1 at every step, so that the learning rate stays at its peak."""
    del total_steps, warmup_steps
    return optax.constant_schedule(1.0)


def one_cycle(total_steps: int, warmup_steps: int) -> optax.Schedule:
    """One cycle of cosine annealing (Smith and Topin 2017, "Super-convergence").

    Rises from 1/25 to 1 in the first 30 % of the steps, then falls to 4e-6 (optax's defaults).
    `warmup_steps` is ignored.
    """
    del warmup_steps
    factor = optax.cosine_onecycle_schedule(total_steps, 1.0)

    def schedule(step: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        # Optax multiplies truth values by floats, which JAX does under its standard rules only.
        with jax.numpy_dtype_promotion("standard"):
            return factor(step)

    return schedule


# (total steps, gamma) -> factor of lambda at each step
STRENGTHS: dict[str, Callable[[int, float], optax.Schedule]] = {
    "ganin": ganin_schedule,
    "constant": constant_strength,
}
# (total steps, warm-up steps) -> factor of the learning rate at each step
LEARNING_RATES: dict[str, Callable[[int, int], optax.Schedule]] = {
    "warmup_cosine": warmup_cosine,
    "constant": constant_rate,
    "one_cycle": one_cycle,
}


def warmup_steps_of(total_steps: int, warmup_fraction: float) -> int:
    """Steps of the warm-up: the fraction of all steps, but never all of them."""
    return min(round(warmup_fraction * total_steps), total_steps - 1)
