"""Training as pure functions: init, a jitted scan over an epoch's steps, and the outputs, each for many members at once.

A member is one training of a sweep: a seed with its own hyper-parameters.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jdann.data.batches import Frames, Labelled, Unlabelled, take
from jdann.errors import InputError
from jdann.features.augment import spec_augment
from jdann.methods.contract import Context, Dims, Method, Phase, Source, Target, Update
from jdann.models.network import Network, make_network
from jdann.training import optimisation
from jdann.training.schedules import learning_rate_schedule, strength_schedule

SEEDS_IN = ("auto", "vmap", "map")


class Hyper(NamedTuple):
    """What a sweep varies without compiling again: traced scalars, or one entry for each member."""

    learning_rate: jax.Array
    weight_decay: jax.Array
    strength: jax.Array  # the largest lambda


class State(NamedTuple):
    """All that training changes. Random keys are derived from the seed and `step`, so that this is all a checkpoint needs."""

    params: Any  # {"encoder", "classifier", "method"}
    batch_stats: Any  # {"source", "target"}
    average: Any  # {"encoder", "classifier", "batch_stats"}: the moving average, which is evaluated
    opt_state: Any  # of each group of parameters
    memory: Any  # the method's own, constant within a phase
    step: jax.Array  # int32, steps done


class Data(NamedTuple):
    """What all members learn from. There is no field for the target's labels."""

    source: Frames
    emotion: jax.Array  # [source utterances] int32
    speaker: jax.Array  # [source utterances] int32, -1 where unknown
    target: Frames


class Batches(NamedTuple):
    """Which utterances each step of an epoch sees."""

    source: jax.Array  # [steps, batch] int32
    target: jax.Array  # [steps, batch] int32


class Outputs(NamedTuple):
    """What a trained model says of utterances."""

    logits: jax.Array  # [utterances, classes]
    representation: jax.Array  # [utterances, representation]


class Train(NamedTuple):
    """The functions of one run. Every one takes and returns arrays with a leading axis of members."""

    method: Method
    init: Callable[[jax.Array, Hyper], State]  # (keys [members], hyper)
    enter: Callable[[State], State]  # at the beginning of a phase
    epochs: tuple[Callable[..., tuple[State, dict[str, jax.Array]]], ...]  # of each phase:
    # (state, keys, hyper, data, batches, pseudo [members, target utterances, classes])
    outputs: Callable[
        ..., Outputs
    ]  # (state, frames, index [batches, batch], domain: "source" or "target")
    batch_statistics: Callable[
        [State, Frames, jax.Array], Any
    ]  # of target utterances: (state, frames, index [batches, batch])
    recompute: Callable[
        [State, Any], State
    ]  # the target's statistics, from those of all its batches


def check(config: Any) -> None:
    """Refuses names in a config that nothing here answers to, before anything is trained.

    Raises:
      InputError: an optimiser, a schedule or `seeds_in` has no such name.
    """
    optimisation.check(config.optimiser)
    strength_schedule(config.strength, total_steps=2)
    if config.seeds_in not in SEEDS_IN:
        raise InputError(
            f"config.seeds_in is {config.seeds_in!r}; choose one of {', '.join(SEEDS_IN)}"
        )


def source_risk(logits: jax.Array, emotion: jax.Array, label_smoothing: float) -> jax.Array:
    """Mean cross-entropy with smoothed labels (Szegedy et al. 2016, section 7).

    Args:
      logits: [batch, classes].
      emotion: [batch] int32.
      label_smoothing: probability shared by all classes, in [0, 1).
    """
    labels = optax.smooth_labels(jax.nn.one_hot(emotion, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, labels).mean()


def make_train(
    config: Any,
    encoder: nn.Module,
    method: Method,
    *,
    bins: int,
    window: int,
    speakers: int,
    phase_steps: Sequence[int],
) -> Train:
    """Makes the functions of one run.

    Args:
      config: a whole jdann config; read are emotions, augment, optimiser, strength, ema, label_smoothing and seeds_in.
      encoder: maps (features, length, train) to a dict with "representation".
      method: from `jdann.methods.make_method`.
      bins: columns of the features.
      window: frames that every batch is padded to.
      speakers: of the source.
      phase_steps: steps of each of the method's phases, for the schedules.

    Returns:
      The functions, jitted and batched over members; `epochs` donate the state.
    """
    network = make_network(encoder, len(config.emotions))

    def init(key: jax.Array, hyper: Hyper) -> State:
        network_key, method_key = jax.random.split(key)
        del hyper
        features, length = jnp.zeros((2, window, bins)), jnp.full((2,), window, jnp.int32)
        params, batch_stats = network.init(network_key, features, length)
        width = network.encode(params["encoder"], batch_stats["source"], features, length).shape[-1]
        average = {**params, "batch_stats": batch_stats}
        params["method"] = method.init(method_key, Dims(width, len(config.emotions), speakers))
        opt_state, memory = optimisation.begin(config.optimiser, params), method.remember(params)
        return State(params, batch_stats, average, opt_state, memory, jnp.zeros((), jnp.int32))

    def enter(state: State) -> State:
        return state._replace(
            opt_state=optimisation.begin(config.optimiser, state.params),
            memory=method.remember(state.params),
        )

    def outputs(state: State, frames: Frames, index: jax.Array, domain: str) -> Outputs:
        model = state.average

        def one(rows: jax.Array) -> Outputs:
            features, length = take(frames, rows, window)
            representation = network.encode(
                model["encoder"], model["batch_stats"][domain], features, length
            )
            return Outputs(network.classify(model["classifier"], representation), representation)

        logits, representation = jax.lax.map(one, index)  # [batches, batch, ...]
        return Outputs(
            logits.reshape(-1, logits.shape[-1]),
            representation.reshape(-1, representation.shape[-1]),
        )

    def batch_statistics(state: State, frames: Frames, index: jax.Array) -> Any:
        model = state.average
        return network.batch_statistics(
            model["encoder"], model["batch_stats"]["target"], frames, index, window
        )

    def recompute(state: State, each: Any) -> State:
        batch_stats = {**state.average["batch_stats"], "target": network.statistics(each)}
        return state._replace(average={**state.average, "batch_stats": batch_stats})

    ends = [sum(phase_steps[: i + 1]) for i in range(len(phase_steps))]
    steps = [
        _make_step(
            config, network, phase, bins=bins, window=window, first=end - length, length=length
        )
        for phase, end, length in zip(method.phases, ends, phase_steps, strict=True)
    ]

    def make_epoch(step: Callable[..., Any]) -> Callable[..., Any]:
        def epoch(
            state: State, key: jax.Array, hyper: Hyper, data: Data, plan: Batches, pseudo: jax.Array
        ) -> Any:
            return jax.lax.scan(
                lambda state, index: step(state, key, hyper, data, index, pseudo), state, plan
            )

        return jax.jit(
            _over_members(epoch, (0, 0, 0, None, 0, 0), config.seeds_in), donate_argnums=0
        )

    def evaluated(state: State, frames: Frames, index: jax.Array, domain: str) -> Outputs:
        mapped = _over_members(
            lambda s, f, i: outputs(s, f, i, domain), (0, None, None), config.seeds_in
        )
        return mapped(state, frames, index)

    return Train(
        method,
        jax.jit(jax.vmap(init)),
        jax.jit(jax.vmap(enter)),
        tuple(make_epoch(step) for step in steps),
        jax.jit(evaluated, static_argnames="domain"),
        jax.jit(_over_members(batch_statistics, (0, None, None), config.seeds_in)),
        jax.jit(jax.vmap(recompute)),
    )


def _make_step(
    config: Any, network: Network, phase: Phase, *, bins: int, window: int, first: int, length: int
) -> Callable[..., tuple[State, dict[str, jax.Array]]]:
    """One training step of a phase that begins at step `first` and is `length` steps long."""
    vector = bins == 1  # not frames over time: nothing to cut
    crop = window if vector else min(window, config.augment.crop_frames or window)
    relative_strength = strength_schedule(config.strength, length)
    relative_rate = learning_rate_schedule(config.optimiser, length)

    def step(
        state: State, key: jax.Array, hyper: Hyper, data: Data, index: Batches, pseudo: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        done = state.step - first
        strength, rate = (
            hyper.strength * relative_strength(done),
            hyper.learning_rate * relative_rate(done) * phase.rate,
        )
        crop_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
        part = jax.random.uniform(crop_key, (2, len(index.source)))
        labelled = Labelled(
            *take(data.source, index.source, crop, part[0]), data.emotion[index.source]
        )
        unlabelled = take(data.target, index.target, crop, part[1])
        batch = _Batch(labelled, data.speaker[index.source], unlabelled, pseudo[index.target])

        diagnostics = {"loss": jnp.zeros(()), "gradient_norm": jnp.zeros(())}
        for i, update in enumerate(phase.updates):
            once = _make_update(
                config,
                network,
                phase,
                update,
                batch,
                strength,
                done / length,
                rate,
                hyper.weight_decay,
            )
            keys = jax.random.split(jax.random.fold_in(step_key, i), update.repeat)
            if update.repeat == 1:
                state, seen = once(state, keys[0])
            else:
                state, seen = jax.lax.scan(once, state, keys)
                seen = {name: value[-1] for name, value in seen.items()}
            seen["loss"] += diagnostics["loss"]
            seen["gradient_norm"] = jnp.maximum(seen["gradient_norm"], diagnostics["gradient_norm"])
            diagnostics |= seen
        diagnostics |= {
            "strength": strength if "target" in phase.domains else jnp.zeros(()),
            "learning_rate": rate,
        }
        average = _moved(state, config.ema)
        return state._replace(average=average, step=state.step + 1), diagnostics

    return step


class _Batch(NamedTuple):
    labelled: Labelled
    speaker: jax.Array
    unlabelled: Unlabelled
    pseudo: jax.Array


def _make_update(
    config: Any, network: Network, phase: Phase, update: Update, batch: _Batch, strength: jax.Array, progress: jax.Array,
    rate: jax.Array, weight_decay: jax.Array,
) -> Callable[[State, jax.Array], tuple[State, dict[str, jax.Array]]]:  # fmt: skip
    """One gradient step of `update`: (state, key) -> (state, diagnostics)."""
    masks = {
        name: value
        for name, value in config.augment.items()
        if name.startswith(("time_", "frequency_"))
    }
    inputs = {"source": batch.labelled[:2], "target": batch.unlabelled}
    inputs = {domain: inputs[domain] for domain in phase.domains}

    def encode(params: Any, batch_stats: Any, key: jax.Array) -> tuple[dict[str, jax.Array], Any]:
        augment_key, dropout_key = jax.random.split(key)
        augmented = inputs
        if batch.labelled.features.shape[-1] > 1:
            augmented = {
                domain: (spec_augment(jax.random.fold_in(augment_key, i), *x, **masks), x[1])
                for i, (domain, x) in enumerate(inputs.items())
            }
        return network.encode_training(
            params["encoder"], batch_stats, augmented, dropout_key, phase.batch_norm
        )

    def objective(
        trained: Any, state: State, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        params = {**state.params, **trained}
        encode_key, method_key = jax.random.split(key)
        representation, batch_stats = encode(params, state.batch_stats, encode_key)
        logits = {
            domain: network.classify(params["classifier"], r)
            for domain, r in representation.items()
        }
        source = target = None
        diagnostics: dict[str, jax.Array] = {}
        loss = jnp.zeros(())
        if "source" in phase.domains:
            emotion = batch.labelled.emotion
            source = Source(
                *batch.labelled[:2],
                representation["source"],
                logits["source"],
                emotion,
                batch.speaker,
            )
            risk = source_risk(source.logits, emotion, config.label_smoothing)
            diagnostics = {
                "source_risk": risk,
                "source_accuracy": (source.logits.argmax(-1) == emotion).mean(),
            }
            loss = risk if update.source_risk else loss
        if "target" in phase.domains:
            target = Target(
                *batch.unlabelled, representation["target"], logits["target"], batch.pseudo
            )
        context = _context(network, params, state, strength, progress, method_key)
        value, seen = update.loss(params["method"], source, target, context)
        return loss + value, (batch_stats, {**diagnostics, **seen, "loss": loss + value})

    def once(state: State, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        trained = {group: state.params[group] for group in update.trains}
        gradient, (batch_stats, diagnostics) = jax.grad(objective, has_aux=True)(
            trained, state, key
        )
        params, opt_state, norm = optimisation.descend(
            config.optimiser, weight_decay, rate, gradient, state.params, state.opt_state
        )
        if "encoder" not in update.trains:
            batch_stats = state.batch_stats
        diagnostics["gradient_norm"] = norm
        return state._replace(
            params=params, batch_stats=batch_stats, opt_state=opt_state
        ), diagnostics

    return once


def _context(
    network: Network,
    params: Any,
    state: State,
    strength: jax.Array,
    progress: jax.Array,
    key: jax.Array,
) -> Context:
    def forward(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        representation = network.encode(
            params["encoder"], state.batch_stats["target"], features, length
        )
        return representation, network.classify(params["classifier"], representation)

    def encode(encoder: Any, features: jax.Array, length: jax.Array) -> jax.Array:
        return network.encode(encoder, state.batch_stats["source"], features, length)

    def teacher(features: jax.Array, length: jax.Array) -> jax.Array:
        model = state.average
        representation = network.encode(
            model["encoder"], model["batch_stats"]["target"], features, length
        )
        return jax.lax.stop_gradient(network.classify(model["classifier"], representation))

    def classify(representation: jax.Array) -> jax.Array:
        return network.classify(params["classifier"], representation)

    return Context(
        strength, progress, key, params, state.memory, forward, encode, classify, teacher
    )


def _moved(state: State, decay: float) -> Any:
    """The moving average after a step; young ones move faster, as (1 + step) / (10 + step)."""
    kept = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step)) if decay > 0 else 0.0
    present = {
        "encoder": state.params["encoder"],
        "classifier": state.params["classifier"],
        "batch_stats": state.batch_stats,
    }
    return jax.tree.map(lambda old, new: new + kept * (old - new), state.average, present)


def _over_members(
    function: Callable[..., Any], axes: tuple[int | None, ...], seeds_in: str
) -> Callable[..., Any]:
    """Batches `function` over the leading axis of the arguments whose axis is 0: side by side, or one after the other."""
    if (
        seeds_in == "auto"
    ):  # on CPU products one after the other are as fast or faster (benchmarks/results/sweep.md)
        seeds_in = "map" if jax.default_backend() == "cpu" else "vmap"
    if seeds_in == "vmap":
        return jax.vmap(function, in_axes=axes)

    def mapped(*arguments: Any) -> Any:
        batched = tuple(a for a, axis in zip(arguments, axes, strict=True) if axis == 0)

        def one(some: tuple[Any, ...]) -> Any:
            rest = iter(some)
            return function(
                *(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True))
            )

        return jax.lax.map(one, batched)

    return mapped
