"""Training as pure functions of one member: a seed with its own hyper-parameters.

`init_state` makes a state and `train_epoch` scans `train_step` over an epoch.
`jdann.training.members` compiles these functions for many members at once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jdann.data.batches import (
    BatchIndices,
    Source,
    StepData,
    StoredFrames,
    Target,
    TrainingData,
    take,
)
from jdann.features.augment import spec_augment
from jdann.methods.contract import Context, Dims, Phase, Update
from jdann.models import network
from jdann.training.optimisation import apply_gradient, init_optimiser
from jdann.training.schedules import LEARNING_RATES, STRENGTHS, warmup_steps_of
from jdann.training.state import Hyper, Metrics, Program, State, TrainingSettings


class StepInputs(NamedTuple):
    """What all updates of one training step share."""

    source: Source
    target: Target
    strength: jax.Array  # lambda of this step
    progress: jax.Array  # part of the phase that is done, in [0, 1)
    learning_rate: jax.Array
    weight_decay: jax.Array


def source_risk(logits: jax.Array, emotion: jax.Array, label_smoothing: float) -> jax.Array:
    """Mean cross-entropy with smoothed labels (Szegedy et al. 2016, section 7).

    Args:
      logits: [batch, classes].
      emotion: [batch] int32.
      label_smoothing: probability shared by all classes, in [0, 1).
    """
    labels = optax.smooth_labels(jax.nn.one_hot(emotion, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, labels).mean()


def init_state(program: Program, key: jax.Array) -> State:
    """The state before the first step."""
    network_key, method_key = jax.random.split(key)
    features, length = network.blank_batch(program.window, program.bins)
    params, batch_stats = network.init_network(
        program.encoder, program.classes, network_key, features, length
    )
    representation = network.encode(
        program.encoder, params["encoder"], batch_stats["source"], features, length
    )
    average = {**params, "batch_stats": batch_stats}
    dims = Dims(representation.shape[-1], program.classes, program.speakers)
    params["method"] = program.method.init(method_key, dims)
    opt_state = init_optimiser(program.settings.optimiser, params)
    memory = program.method.remember(params)
    return State(params, batch_stats, average, opt_state, memory, jnp.zeros((), jnp.int32))


def enter_phase(program: Program, state: State) -> State:
    """The state at the beginning of a later phase: a new optimiser state and a new memory."""
    return state._replace(
        opt_state=init_optimiser(program.settings.optimiser, state.params),
        memory=program.method.remember(state.params),
    )


def train_epoch(
    program: Program,
    phase: int,
    state: State,
    key: jax.Array,
    hyper: Hyper,
    data: TrainingData | StepData,
    indices: BatchIndices,
    pseudo_labels: jax.Array,
) -> tuple[State, Metrics]:
    """Trains for one epoch.

    Args:
      program: what is fixed.
      phase: index of the method's phase; static.
      state: before the epoch.
      key: the member's random key, the same in every epoch.
      hyper: the member's hyper-parameters.
      data: the features of both domains, on the device.
      indices: the utterances of each step, [steps, batch].
      pseudo_labels: [target utterances, classes].

    Returns:
      The state after the epoch, and metrics [steps].
    """

    def step(state: State, index: BatchIndices) -> tuple[State, Metrics]:
        return train_step(program, phase, state, key, hyper, data, index, pseudo_labels)

    return jax.lax.scan(step, state, indices)


def train_step(
    program: Program,
    phase_index: int,
    state: State,
    key: jax.Array,
    hyper: Hyper,
    data: TrainingData | StepData,
    index: BatchIndices,
    pseudo_labels: jax.Array,
) -> tuple[State, Metrics]:
    """One training step: all updates of the phase on one batch; see `train_epoch`."""
    phase, settings = program.method.phases[phase_index], program.settings
    assert not isinstance(data.source, StoredFrames) and not isinstance(data.target, StoredFrames)
    first, length = sum(program.phase_steps[:phase_index]), program.phase_steps[phase_index]
    done = state.step - first
    strength, rate = _scheduled(settings, phase, hyper, done, length)
    crop_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
    offset = jax.random.uniform(crop_key, (2, len(index.source)))
    window = _crop_window(program)
    source = Source(
        *take(data.source, jnp.asarray(index.source), window, offset[0]),
        emotion=jnp.asarray(data.emotion)[index.source],
        speaker=jnp.asarray(data.speaker)[index.source],
    )
    target = Target(
        *take(data.target, jnp.asarray(index.target), window, offset[1]),
        pseudo_labels=pseudo_labels[index.target],
    )
    inputs = StepInputs(source, target, strength, done / length, rate, hyper.weight_decay)

    metrics: Metrics = {"loss": jnp.zeros(()), "gradient_norm": jnp.zeros(())}
    for i, update in enumerate(phase.updates):
        keys = jax.random.split(jax.random.fold_in(step_key, i), update.repeat)
        state, last = _repeat_update(program, phase, update, inputs, state, keys)
        last["loss"] += metrics["loss"]
        last["gradient_norm"] = jnp.maximum(last["gradient_norm"], metrics["gradient_norm"])
        metrics |= last
    no_strength = "target" not in phase.domains
    metrics |= {"strength": jnp.zeros(()) if no_strength else strength, "learning_rate": rate}
    average = _moving_average(state, settings.ema)
    return state._replace(average=average, step=state.step + 1), metrics


def _scheduled(
    settings: TrainingSettings, phase: Phase, hyper: Hyper, done: jax.Array, length: int
) -> tuple[jax.Array, jax.Array]:
    """Lambda and learning rate after `done` of the `length` steps of a phase."""
    strength_factor = STRENGTHS[settings.strength_schedule](length, settings.strength_gamma)
    total = max(2, length)
    warmup_steps = warmup_steps_of(total, settings.warmup_fraction)
    rate_factor = LEARNING_RATES[settings.learning_rate_schedule](total, warmup_steps)
    strength = hyper.strength * strength_factor(done)
    return strength, hyper.learning_rate * rate_factor(done) * phase.rate


def _crop_window(program: Program) -> int | None:
    if program.window is None:  # vectors have no frames to cut
        return None
    return min(program.window, program.settings.crop_frames or program.window)


def _repeat_update(
    program: Program,
    phase: Phase,
    update: Update,
    inputs: StepInputs,
    state: State,
    keys: jax.Array,
) -> tuple[State, Metrics]:
    """Makes one update per key; returns the last metrics."""

    def once(state: State, key: jax.Array) -> tuple[State, Metrics]:
        return _apply_update(program, phase, update, inputs, state, key)

    if update.repeat == 1:
        return once(state, keys[0])
    state, metrics = jax.lax.scan(once, state, keys)
    return state, {name: values[-1] for name, values in metrics.items()}


def _apply_update(
    program: Program,
    phase: Phase,
    update: Update,
    inputs: StepInputs,
    state: State,
    key: jax.Array,
) -> tuple[State, Metrics]:
    """One gradient step on the groups of parameters that the update trains."""

    def objective(trained: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
        params = {**state.params, **trained}
        return _objective(program, phase, update, inputs, params, state, key)

    trained = {group: state.params[group] for group in update.trains}
    gradient, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(trained)
    params, opt_state, norm = apply_gradient(
        program.settings.optimiser,
        gradient,
        state.params,
        state.opt_state,
        learning_rate=inputs.learning_rate,
        weight_decay=inputs.weight_decay,
    )
    if "encoder" not in update.trains:
        batch_stats = state.batch_stats
    state = state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
    return state, {**metrics, "gradient_norm": norm}


def _objective(
    program: Program,
    phase: Phase,
    update: Update,
    inputs: StepInputs,
    params: Any,
    state: State,
    key: jax.Array,
) -> tuple[jax.Array, tuple[Any, Metrics]]:
    """Source risk plus the method's loss, with the moved batch statistics and metrics."""
    settings = program.settings
    encode_key, method_key = jax.random.split(key)
    representation, batch_stats = _encode_augmented(
        program, phase, inputs, params, state.batch_stats, encode_key
    )
    logits = {d: network.classify(params["classifier"], r) for d, r in representation.items()}
    source = target = None
    metrics: Metrics = {}
    total = jnp.zeros(())
    if "source" in phase.domains:
        source = inputs.source._replace(
            representation=representation["source"], logits=logits["source"]
        )
        risk = source_risk(logits["source"], source.emotion, settings.label_smoothing)
        accuracy = (logits["source"].argmax(-1) == source.emotion).mean()
        metrics = {"source_risk": risk, "source_accuracy": accuracy}
        total = risk if update.source_risk else total
    if "target" in phase.domains:
        target = inputs.target._replace(
            representation=representation["target"], logits=logits["target"]
        )
    context = _make_context(program, params, state, inputs, method_key)
    value, diagnostics = update.loss(params["method"], source, target, context)
    return total + value, (batch_stats, {**metrics, **diagnostics, "loss": total + value})


def _encode_augmented(
    program: Program,
    phase: Phase,
    inputs: StepInputs,
    params: Any,
    batch_stats: Any,
    key: jax.Array,
) -> tuple[dict[str, jax.Array], Any]:
    """Representations of the phase's domains, from augmented features."""
    augment_key, dropout_key = jax.random.split(key)
    both = {"source": inputs.source, "target": inputs.target}
    batches = {d: (both[d].features, both[d].length) for d in phase.domains}
    if program.window is not None:
        masks = program.settings.masks._asdict()
        batches = {
            domain: (
                spec_augment(jax.random.fold_in(augment_key, i), features, length, **masks),
                length,
            )
            for i, (domain, (features, length)) in enumerate(batches.items())
        }
    return network.encode_for_training(
        program.encoder, params["encoder"], batch_stats, batches, dropout_key, phase.batch_norm
    )


def _make_context(
    program: Program, params: Any, state: State, inputs: StepInputs, key: jax.Array
) -> Context:
    """What a loss may use besides its batches."""
    encoder = program.encoder

    def forward(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        representation = network.encode(
            encoder, params["encoder"], state.batch_stats["target"], features, length
        )
        return representation, network.classify(params["classifier"], representation)

    def encode(encoder_params: Any, features: jax.Array, length: jax.Array) -> jax.Array:
        statistics = state.batch_stats["source"]
        return network.encode(encoder, encoder_params, statistics, features, length)

    def teacher(features: jax.Array, length: jax.Array) -> jax.Array:
        average = state.average
        representation = network.encode(
            encoder, average["encoder"], average["batch_stats"]["target"], features, length
        )
        return jax.lax.stop_gradient(network.classify(average["classifier"], representation))

    def classify(representation: jax.Array) -> jax.Array:
        return network.classify(params["classifier"], representation)

    return Context(
        strength=inputs.strength,
        progress=inputs.progress,
        key=key,
        params=params,
        label_smoothing=program.settings.label_smoothing,
        memory=state.memory,
        forward=forward,
        encode=encode,
        classify=classify,
        teacher=teacher,
    )


def _moving_average(state: State, decay: float) -> Any:
    """The moving average after a step; in the first steps it moves faster.

    The decay is min(decay, (1 + step) / (10 + step)), as in TensorFlow's
    ExponentialMovingAverage.
    """
    step = state.step.astype(jnp.float32)
    step_decay = (1.0 + step) / (10.0 + step)
    kept = jnp.minimum(decay, step_decay) if decay > 0 else 0.0
    present = {
        "encoder": state.params["encoder"],
        "classifier": state.params["classifier"],
        "batch_stats": state.batch_stats,
    }
    return optax.incremental_update(present, state.average, 1.0 - kept)
