"""Training as pure functions: init, a jitted scan over an epoch's steps, and the outputs, each for many seeds at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jdann.domains import Frames, Labelled, Unlabelled, take
from jdann.errors import InputError
from jdann.features.augment import spec_augment
from jdann.methods.contract import Dims, Method, Source, Target
from jdann.schedules import learning_rate_schedule, strength_schedule

OPTIMISERS = ("adamw", "adam", "sgd")
SEEDS_IN = ("auto", "vmap", "map")


class Hyper(NamedTuple):
    """What a sweep varies without compiling again: traced scalars, or one entry for each seed."""

    learning_rate: jax.Array
    weight_decay: jax.Array
    strength: jax.Array  # the largest lambda


class State(NamedTuple):
    """All that training changes. Random keys are derived from the seed and `step`, so that this is all a checkpoint needs."""

    params: Any  # {"encoder", "classifier", "method"}
    batch_stats: Any
    opt_state: Any
    step: jax.Array  # int32, steps done


class Batches(NamedTuple):
    """Which utterances each step of an epoch sees."""

    source: jax.Array  # [steps, batch] int32
    target: jax.Array  # [steps, batch] int32


class Outputs(NamedTuple):
    """What a trained model says of utterances."""

    logits: jax.Array  # [utterances, classes]
    representation: jax.Array  # [utterances, representation]


class Train(NamedTuple):
    """The functions of one run. Every one takes and returns arrays with a leading axis of seeds."""

    init: Callable[[jax.Array, Hyper], State]  # (keys [seeds], hyper [seeds])
    epoch: Callable[..., tuple[State, dict[str, jax.Array]]]  # (state, keys, hyper, source, emotion, target, batches)
    outputs: Callable[[State, Frames, jax.Array], Outputs]  # (state, frames, index [batches, batch])


def check(config: Any) -> None:
    """Refuses names in a config that nothing here answers to, before anything is trained.

    Raises:
      InputError: an optimiser, a schedule or `seeds_in` has no such name.
    """
    make_optimiser(config.optimiser, Hyper(*[jnp.zeros(())] * 3), total_steps=2)
    strength_schedule(config.strength, total_steps=2)
    if config.seeds_in not in SEEDS_IN:
        raise InputError(f"config.seeds_in is {config.seeds_in!r}; choose one of {', '.join(SEEDS_IN)}")


def make_optimiser(config: Any, hyper: Hyper, total_steps: int) -> optax.GradientTransformation:
    """Clipping, the optimiser, its weight decay and its learning rate, whose peak and decay are traced.

    Weight decay acts on matrices and kernels only: decoupled in adamw (Loshchilov & Hutter 2019), added to the gradient
    in adam and sgd.

    Raises:
      InputError: the optimiser has no such name.
    """
    relative = learning_rate_schedule(config, total_steps)
    rate = optax.scale_by_learning_rate(lambda step: hyper.learning_rate * relative(step))
    decay = optax.add_decayed_weights(hyper.weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm > 0 else optax.identity()
    if config.name == "adamw":
        return optax.chain(clip, optax.scale_by_adam(), decay, rate)
    if config.name == "adam":
        return optax.chain(clip, decay, optax.scale_by_adam(), rate)
    if config.name == "sgd":
        return optax.chain(clip, decay, optax.trace(config.momentum), rate)
    raise InputError(f"config.optimiser.name is {config.name!r}; choose one of {', '.join(OPTIMISERS)}")


def source_risk(logits: jax.Array, emotion: jax.Array, label_smoothing: float) -> jax.Array:
    """Mean cross-entropy with smoothed labels (Szegedy et al. 2016, section 7).

    Args:
      logits: [batch, classes].
      emotion: [batch] int32.
      label_smoothing: probability shared by all classes, in [0, 1).
    """
    labels = optax.smooth_labels(jax.nn.one_hot(emotion, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, labels).mean()


def make_train(config: Any, encoder: nn.Module, method: Method, *, bins: int, window: int, total_steps: int) -> Train:
    """Makes the functions of one run.

    Args:
      config: a whole jdann config; read are emotions, augment, optimiser, strength, label_smoothing and seeds_in.
      encoder: maps (features, length, train) to a dict with "representation".
      method: from `jdann.methods.make_method`.
      bins: columns of the features.
      window: frames that every batch is padded to.
      total_steps: steps of the whole run, for the schedules.

    Returns:
      init, epoch (state is donated) and outputs, jitted and batched over seeds.
    """
    # Uniform: a normal draw's inverse error function takes seconds to compile.
    classifier = nn.Dense(len(config.emotions), kernel_init=nn.initializers.lecun_uniform())
    vector = bins == 1  # not frames over time: nothing to cut or to mask
    masks = {name: 0 if vector else value for name, value in config.augment.items() if name != "crop_frames"}
    crop = window if vector else min(window, config.augment.crop_frames or window)
    relative_strength = strength_schedule(config.strength, total_steps)
    relative_rate = learning_rate_schedule(config.optimiser, total_steps)

    def init(key: jax.Array, hyper: Hyper) -> State:
        encoder_key, classifier_key, method_key = jax.random.split(key, 3)
        features, length = jnp.zeros((2, window, bins)), jnp.full((2,), window, jnp.int32)
        variables = encoder.init(encoder_key, features, length, False)
        representation = _encode(encoder, variables["params"], variables.get("batch_stats", {}), features, length)
        dims = Dims(representation.shape[-1], len(config.emotions))
        params = {
            "encoder": variables["params"],
            "classifier": classifier.init(classifier_key, representation)["params"],
            "method": method.init(method_key, dims),
        }
        opt_state = make_optimiser(config.optimiser, hyper, total_steps).init(params)
        return State(params, variables.get("batch_stats", {}), opt_state, jnp.zeros((), jnp.int32))

    def classify(params: Any, representation: jax.Array) -> jax.Array:
        logits = classifier.apply({"params": params["classifier"]}, representation)
        assert isinstance(logits, jax.Array)
        return logits

    def objective(
        params: Any, batch_stats: Any, source: Labelled, target: Unlabelled | None, strength: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        features, length = source.features, source.length
        if target is not None:  # one joint pass: both domains share the batch statistics
            features = jnp.concatenate([features, target.features])
            length = jnp.concatenate([length, target.length])
        augment_key, dropout_key, method_key = jax.random.split(key, 3)
        features = spec_augment(augment_key, features, length, **masks)
        variables = {"params": params["encoder"], "batch_stats": batch_stats}
        encoded, changed = encoder.apply(variables, features, length, True, rngs={"dropout": dropout_key}, mutable=["batch_stats"])
        representation = encoded["representation"]
        logits = classify(params, representation)
        n = len(source.emotion)
        risk = source_risk(logits[:n], source.emotion, config.label_smoothing)
        accuracy = (logits[:n].argmax(-1) == source.emotion).mean()
        of_source = Source(representation[:n], logits[:n], source.emotion, risk)
        of_target = None if target is None else Target(representation[n:], logits[n:])
        loss, diagnostics = method.loss(params["method"], of_source, of_target, strength=strength, key=method_key)
        diagnostics = {"loss": loss, "source_risk": risk, "source_accuracy": accuracy, **diagnostics}
        return loss, (changed.get("batch_stats", {}), diagnostics)

    def epoch(
        state: State, key: jax.Array, hyper: Hyper, source: Frames, emotion: jax.Array, target: Frames, plan: Batches
    ) -> tuple[State, dict[str, jax.Array]]:
        optimiser = make_optimiser(config.optimiser, hyper, total_steps)

        def step(state: State, index: Batches) -> tuple[State, dict[str, jax.Array]]:
            strength = hyper.strength * relative_strength(state.step)
            crop_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
            part = jax.random.uniform(crop_key, (2, len(index.source)))
            labelled = Labelled(*take(source, index.source, crop, part[0]), emotion[index.source])
            unlabelled = take(target, index.target, crop, part[1]) if method.uses_target else None
            gradient, (batch_stats, diagnostics) = jax.grad(objective, has_aux=True)(
                state.params, state.batch_stats, labelled, unlabelled, strength, step_key
            )
            updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            diagnostics["gradient_norm"] = optax.tree.norm(gradient)
            diagnostics["strength"] = strength if method.uses_target else jnp.zeros(())
            diagnostics["learning_rate"] = hyper.learning_rate * relative_rate(state.step)
            return State(params, batch_stats, opt_state, state.step + 1), diagnostics

        return jax.lax.scan(step, state, plan)

    def outputs(state: State, frames: Frames, index: jax.Array) -> Outputs:
        def one(rows: jax.Array) -> Outputs:
            features, length = take(frames, rows, window)
            representation = _encode(encoder, state.params["encoder"], state.batch_stats, features, length)
            return Outputs(classify(state.params, representation), representation)

        logits, representation = jax.lax.map(one, index)  # [batches, batch, ...]
        return Outputs(logits.reshape(-1, logits.shape[-1]), representation.reshape(-1, representation.shape[-1]))

    return Train(
        jax.jit(jax.vmap(init)),
        jax.jit(_over_seeds(epoch, (0, 0, 0, None, None, None, 0), config.seeds_in), donate_argnums=0),
        jax.jit(_over_seeds(outputs, (0, None, None), config.seeds_in)),
    )


def _encode(encoder: nn.Module, params: Any, batch_stats: Any, features: jax.Array, length: jax.Array) -> jax.Array:
    """The representation [batch, d], without augmentation, dropout or batch statistics."""
    encoded = encoder.apply({"params": params, "batch_stats": batch_stats}, features, length, False)
    assert isinstance(encoded, dict)
    return encoded["representation"]


def _over_seeds(function: Callable[..., Any], axes: tuple[int | None, ...], seeds_in: str) -> Callable[..., Any]:
    """Batches `function` over the leading axis of the arguments whose axis is 0: side by side, or one after the other."""
    if seeds_in == "auto":  # on CPU a batch of small products is slower than the products one after the other
        seeds_in = "map" if jax.default_backend() == "cpu" else "vmap"
    if seeds_in == "vmap":
        return jax.vmap(function, in_axes=axes)

    def mapped(*arguments: Any) -> Any:
        batched = tuple(a for a, axis in zip(arguments, axes, strict=True) if axis == 0)

        def one(some: tuple[Any, ...]) -> Any:
            rest = iter(some)
            return function(*(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)))

        return jax.lax.map(one, batched)

    return mapped
