"""The functions of `jdann.training.step` and `outputs`, compiled once and batched over members.

A member is one training of a sweep: a seed with its own hyper-parameters. All members train in one
program, side by side or one after the other.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jdann.cluster import mesh as cluster
from jdann.data.batches import BatchIndices, Frames, StepData, TrainingData
from jdann.models import network
from jdann.training import outputs, step
from jdann.training.state import Hyper, Metrics, Outputs, Program, State

SEEDS_IN = ("auto", "vmap", "map")
_PLACED = 3  # source and target, and the source with utterances of the target that have labels


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

    def __init__(self, program: Program, seeds_in: str = "auto", mesh: Mesh | None = None):
        """Prepares compilation.

        Args:
          program: what is fixed.
          seeds_in: how the members of one device train. "vmap": side by side; "map": one after the
            other; "auto": vmap on a GPU or TPU, map on a CPU.
          mesh: the devices, from `jdann.cluster.mesh.make_mesh`; None: the first one.
        """
        self.program = program
        self.mesh = cluster.one_device() if mesh is None else mesh
        # Frames that were placed on several devices, by the array they were made of.
        self._placed: deque[tuple[Any, Frames]] = deque(maxlen=_PLACED)
        # Those of a pretrained encoder, which all members share.
        weights = network.weights_of(program.encoder)
        self._weights = cluster.place(self.mesh, jax.device_put(weights))
        over = partial(over_members, mesh=self.mesh)
        self._init = jax.jit(over(self._bind(step.init_state), (None, 0), "vmap"))
        self._enter = jax.jit(over(self._bind(step.enter_phase), (None, 0), "vmap"))
        self._epochs = tuple(
            jax.jit(partial(self._epoch, phase, seeds_in), donate_argnums=1)
            for phase in range(len(program.phase_steps))
        )
        self._outputs = {
            domain: jax.jit(
                over(self._bind(outputs.encode_utterances, domain), (None, 0, None, None), seeds_in)
            )
            for domain in ("source", "target")
        }
        self._statistics = jax.jit(
            over(self._bind(outputs.target_statistics), (None, 0, None, None), seeds_in)
        )
        self._with_statistics = jax.jit(over(outputs.with_target_statistics, (0, 0), "vmap"))

    def _bind(self, function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
        """A function of (weights, ...) from one of (program, *static, ...)."""

        def bound(weights: Any, *arguments: Any) -> Any:
            encoder = network.with_weights(self.program.encoder, weights)
            return function(self.program._replace(encoder=encoder), *static, *arguments)

        return bound

    def _epoch(self, phase: int, seeds_in: str, *arguments: Any) -> tuple[State, Metrics]:
        """One epoch of all members, to be compiled; takes weights and what `train_epoch` takes."""
        # Utterances that were read from disk are those of each member.
        data = 0 if isinstance(arguments[4], StepData) else None
        function, axes = self._bind(step.train_epoch, phase), (None, 0, 0, 0, data, 0, 0)
        return over_members(function, axes, seeds_in, self.mesh)(*arguments)

    def keys(self, members: Members) -> jax.Array:
        """The random key of each member, [members], on the devices."""
        if self.mesh.size == 1:
            return members.keys()
        sharding = NamedSharding(self.mesh, cluster.BY_MEMBER)
        return jax.jit(members.keys, out_shardings=sharding)()

    def _place_frames(self, frames: Frames) -> Frames:
        """The features on all devices; those of the last calls are remembered."""
        if self.mesh.size == 1:
            return frames
        for values, placed in self._placed:
            if values is frames.values:
                return placed
        placed = cluster.place(self.mesh, frames)
        self._placed.append((frames.values, placed))
        return placed

    def _place_data(self, data: TrainingData | StepData) -> TrainingData | StepData:
        if isinstance(data, StepData):  # its features are on the devices already
            emotion, speaker = cluster.place(
                self.mesh, (data.emotion, data.speaker), cluster.BY_MEMBER
            )
            return data._replace(emotion=emotion, speaker=speaker)
        assert isinstance(data.source, Frames) and isinstance(data.target, Frames)
        emotion, speaker = cluster.place(self.mesh, (data.emotion, data.speaker))
        source, target = self._place_frames(data.source), self._place_frames(data.target)
        return TrainingData(source, emotion, speaker, target)

    def init(self, keys: jax.Array) -> State:
        """The state before the first step."""
        return self._init(self._weights, keys)

    def enter_phase(self, state: State) -> State:
        """The state at the beginning of a later phase."""
        return self._enter(self._weights, state)

    def train_epoch(
        self,
        phase: int,
        state: State,
        keys: jax.Array,
        hyper: Hyper,
        data: TrainingData | StepData,
        indices: BatchIndices,
        pseudo_labels: jax.Array,
    ) -> tuple[State, Metrics]:
        """Trains for one epoch and donates the state; `jdann.training.step.train_epoch`."""
        by_member = cluster.place(self.mesh, (hyper, indices, pseudo_labels), cluster.BY_MEMBER)
        return self._epochs[phase](
            self._weights, state, keys, by_member[0], self._place_data(data), *by_member[1:]
        )

    def metric_names(self, *arguments: Any) -> tuple[str, ...]:
        """The names of the metrics of all phases; takes what `train_epoch` takes after `phase`."""
        names: dict[str, None] = {}
        for epoch in self._epochs:
            names |= dict.fromkeys(jax.eval_shape(epoch, self._weights, *arguments)[1])
        return tuple(names)

    def outputs(self, domain: str, state: State, frames: Frames, index: jax.Array) -> Outputs:
        """Outputs of utterances, [members, utterances, ...]."""
        return self._outputs[domain](
            self._weights, state, self._place_frames(frames), cluster.place(self.mesh, index)
        )

    def target_statistics(self, state: State, frames: Frames, index: jax.Array) -> Any:
        """Batch norm's statistics of target utterances, per batch."""
        return self._statistics(
            self._weights, state, self._place_frames(frames), cluster.place(self.mesh, index)
        )

    def with_target_statistics(self, state: State, per_batch: Any) -> State:
        """The state whose average uses these statistics for the target."""
        return self._with_statistics(state, per_batch)

    def compilations(self) -> tuple[int, ...]:
        """How often the epoch of each phase has been compiled."""
        return tuple(epoch._cache_size() for epoch in self._epochs)  # pyright: ignore


def over_members(
    function: Callable[..., Any], axes: tuple[int | None, ...], seeds_in: str, mesh: Mesh
) -> Callable[..., Any]:
    """Batches a function over the leading axis of those arguments whose axis is 0.

    Each row of the mesh takes its part of the members.

    Args:
      function: of one member.
      axes: 0 or None for each argument, as `in_axes` of `jax.vmap`.
      seeds_in: "vmap", "map" or "auto".
      mesh: the devices.
    """
    if seeds_in == "auto":
        # On a CPU members one after the other are as fast or faster (benchmarks/results/sweep.md).
        seeds_in = "map" if jax.default_backend() == "cpu" else "vmap"
    if seeds_in == "vmap":
        return cluster.split_members(mesh, jax.vmap(function, in_axes=axes), axes)

    def mapped(*arguments: Any) -> Any:
        batched = tuple(a for a, axis in zip(arguments, axes, strict=True) if axis == 0)

        def one_member(values: tuple[Any, ...]) -> Any:
            rest = iter(values)
            return function(
                *(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True))
            )

        return jax.lax.map(one_member, batched)

    return cluster.split_members(mesh, mapped, axes)
