"""The functions of `jdann.training.step` and `outputs`, compiled once and batched over members.

A member is one training of a sweep: a seed with its own hyper-parameters. All members train in one
program, side by side or one after the other.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdann.data.batches import BatchIndices, Frames, TrainingData
from jdann.training import outputs, step
from jdann.training.state import Hyper, Metrics, Outputs, Program, State

SEEDS_IN = ("auto", "vmap", "map")


class Members(NamedTuple):
    """Who is trained in one program."""

    seeds: tuple[int, ...]
    hyper: Hyper  # [members] each
    names: tuple[str, ...] = ()  # what messages call each member; empty: by its seed

    def name(self, member: int) -> str:
        """What messages call a member."""
        return self.names[member] if self.names else f"seed {self.seeds[member]}"

    def keys(self) -> jax.Array:
        """The random key of each member, [members]."""
        return jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))


class CompiledTraining:
    """The functions of one training, each compiled at its first call.

    Every array that they take or return has a leading axis of members, except features and indices
    of evaluation, which all members share.
    """

    def __init__(self, program: Program, seeds_in: str = "auto"):
        """Prepares compilation.

        Args:
          program: what is fixed.
          seeds_in: "vmap": members side by side; "map": one after the other; "auto": vmap on a GPU
            or TPU, map on a CPU.
        """
        self.program = program
        self._init = jax.jit(jax.vmap(partial(step.init_state, program)))
        self._enter = jax.jit(jax.vmap(partial(step.enter_phase, program)))
        self._epochs = tuple(
            jax.jit(
                over_members(
                    partial(step.train_epoch, program, phase), (0, 0, 0, None, 0, 0), seeds_in
                ),
                donate_argnums=0,
            )
            for phase in range(len(program.phase_steps))
        )
        self._outputs = {
            domain: jax.jit(
                over_members(
                    partial(outputs.encode_utterances, program, domain), (0, None, None), seeds_in
                )
            )
            for domain in ("source", "target")
        }
        self._statistics = jax.jit(
            over_members(partial(outputs.target_statistics, program), (0, None, None), seeds_in)
        )
        self._with_statistics = jax.jit(jax.vmap(outputs.with_target_statistics))

    def init(self, keys: jax.Array) -> State:
        """The state before the first step."""
        return self._init(keys)

    def enter_phase(self, state: State) -> State:
        """The state at the beginning of a later phase."""
        return self._enter(state)

    def train_epoch(
        self,
        phase: int,
        state: State,
        keys: jax.Array,
        hyper: Hyper,
        data: TrainingData,
        indices: BatchIndices,
        pseudo_labels: jax.Array,
    ) -> tuple[State, Metrics]:
        """Trains for one epoch and donates the state; `jdann.training.step.train_epoch`."""
        return self._epochs[phase](state, keys, hyper, data, indices, pseudo_labels)

    def metric_names(self, *arguments: Any) -> tuple[str, ...]:
        """The names of the metrics of all phases; takes what `train_epoch` takes after `phase`."""
        names: dict[str, None] = {}
        for epoch in self._epochs:
            names |= dict.fromkeys(jax.eval_shape(epoch, *arguments)[1])
        return tuple(names)

    def outputs(self, domain: str, state: State, frames: Frames, index: jax.Array) -> Outputs:
        """Outputs of utterances, [members, utterances, ...]."""
        return self._outputs[domain](state, frames, index)

    def target_statistics(self, state: State, frames: Frames, index: jax.Array) -> Any:
        """Batch norm's statistics of target utterances, per batch."""
        return self._statistics(state, frames, index)

    def with_target_statistics(self, state: State, per_batch: Any) -> State:
        """The state whose average uses these statistics for the target."""
        return self._with_statistics(state, per_batch)

    def compilations(self) -> tuple[int, ...]:
        """How often the epoch of each phase has been compiled."""
        return tuple(epoch._cache_size() for epoch in self._epochs)  # pyright: ignore


def over_members(
    function: Callable[..., Any], axes: tuple[int | None, ...], seeds_in: str
) -> Callable[..., Any]:
    """Batches a function over the leading axis of those arguments whose axis is 0.

    Args:
      function: of one member.
      axes: 0 or None for each argument, as `in_axes` of `jax.vmap`.
      seeds_in: "vmap", "map" or "auto".
    """
    if seeds_in == "auto":
        # On a CPU members one after the other are as fast or faster (benchmarks/results/sweep.md).
        seeds_in = "map" if jax.default_backend() == "cpu" else "vmap"
    if seeds_in == "vmap":
        return jax.vmap(function, in_axes=axes)

    def mapped(*arguments: Any) -> Any:
        batched = tuple(a for a, axis in zip(arguments, axes, strict=True) if axis == 0)

        def one_member(values: tuple[Any, ...]) -> Any:
            rest = iter(values)
            return function(
                *(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True))
            )

        return jax.lax.map(one_member, batched)

    return mapped
