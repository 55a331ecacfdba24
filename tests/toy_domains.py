"""Two shifted domains in a plane and a small driver that runs any method's phases and updates on them by plain optax."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdann.methods import Context, Dims, Source, Target

FRAMES, BINS = 3, 2
DIMS = Dims(representation=2, classes=2, speakers=4)


class Domains(NamedTuple):
    """Both domains, [utterances, frames, bins]; the target's labels are for the score alone."""

    source: np.ndarray
    length: np.ndarray
    emotion: np.ndarray
    speaker: np.ndarray
    target: np.ndarray
    answer: np.ndarray


def shifted(utterances=64, shift=2.0, seed=0):
    """Both bins tell the class; the target's first is moved so far that a boundary that uses it cuts through a class."""
    random = np.random.default_rng(seed)
    emotion, answer = random.integers(0, 2, (2, utterances))

    def features(label):
        points = np.repeat((2.0 * label - 1)[:, None], BINS, 1) + 0.35 * random.normal(size=(utterances, BINS))
        return np.repeat(points[:, None], FRAMES, 1).astype(np.float32)

    source, target = features(emotion), features(answer)
    target[..., 0] += shift
    length = random.integers(1, FRAMES + 1, utterances)
    speaker = random.integers(-1, DIMS.speakers, utterances)
    return Domains(source, length, emotion, speaker, target, answer)


def encode(encoder, features, length):
    """An affine map of the mean over valid frames."""
    valid = (jnp.arange(features.shape[1]) < length[:, None])[..., None]
    return jnp.where(valid, features, 0).sum(1) / length[:, None] @ encoder["kernel"] + encoder["bias"]


def classify(classifier, representation):
    return representation @ classifier["kernel"] + classifier["bias"]


def parameters(method, key=0, dims=DIMS):
    """The identity as encoder, a classifier of small weights, and the method's own."""
    kernel = 0.1 * np.random.default_rng(3).normal(size=(dims.representation, dims.classes))
    return {
        "encoder": {"kernel": jnp.eye(BINS, dims.representation), "bias": jnp.zeros(dims.representation)},
        "classifier": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(dims.classes)},
        "method": method.init(jax.random.key(key), dims),
    }


def objective(update, trained, params, data, *, strength, key, memory=None, average=None, domains=("source", "target")):
    """The loss of an update, without the source risk, and its diagnostics; `trained` replaces groups of `params`."""
    params = {**params, **trained}
    average = params if average is None else average

    def logits(params, features, length):
        representation = encode(params["encoder"], features, length)
        return representation, classify(params["classifier"], representation)

    context = Context(
        strength=jnp.asarray(strength, jnp.float32),
        progress=jnp.zeros(()),
        key=key,
        params=params,
        memory=memory,
        forward=partial(logits, params),
        encode=encode,
        classify=partial(classify, params["classifier"]),
        teacher=lambda features, length: jax.lax.stop_gradient(logits(average, features, length)[1]),
    )
    source = target = None
    if "source" in domains:
        of_source = logits(params, data.source, data.length)
        source = Source(data.source, data.length, *of_source, jnp.asarray(data.emotion), jnp.asarray(data.speaker))
    if "target" in domains:
        of_target = logits(params, data.target, data.length)
        target = Target(data.target, data.length, *of_target, jnp.zeros_like(of_target[1]))
    loss, diagnostics = update.loss(params["method"], source, target, context)
    if source is not None and update.source_risk:
        risk = optax.softmax_cross_entropy_with_integer_labels(source.logits, source.emotion).mean()
        return loss + risk, {**diagnostics, "source_risk": risk}
    return loss, diagnostics


def train(method, data, *, strength=1.0, steps=600, rate=0.05, key=0):
    """Runs all phases, each in one jitted scan.

    Returns:
      The last parameters and a list of each phase's diagnostics, {name: [steps]}.
    """
    params = parameters(method, key)
    history = []
    for phase in method.phases:
        memory = method.remember(params)
        optimiser = optax.sgd(rate * phase.rate)

        def update_once(carry, key, update, phase=phase, optimiser=optimiser, memory=memory):
            params, states, average = carry
            trained = {group: params[group] for group in update.trains}
            run = partial(objective, update, strength=strength, key=key, memory=memory, average=average, domains=phase.domains)
            gradient, seen = jax.grad(lambda t: run(t, params, data), has_aux=True)(trained)
            for group, of_group in gradient.items():
                moved, state = optimiser.update(of_group, states[group])
                states = {**states, group: state}
                params = {**params, group: optax.apply_updates(params[group], moved)}
            return (params, states, average), seen

        def step(carry, key, phase=phase, update_once=update_once):
            diagnostics = {}
            for i, update in enumerate(phase.updates):
                keys = jax.random.split(jax.random.fold_in(key, i), update.repeat)
                carry, seen = jax.lax.scan(partial(update_once, update=update), carry, keys)
                diagnostics |= {name: value[-1] for name, value in seen.items()}
            params, states, average = carry
            average = jax.tree.map(lambda a, p: 0.95 * a + 0.05 * p, average, params)
            return (params, states, average), diagnostics

        states = {group: optimiser.init(tree) for group, tree in params.items()}
        keys = jax.random.split(jax.random.key(1), max(1, round(steps * phase.fraction)))
        (params, _, _), seen = jax.jit(partial(jax.lax.scan, step))((params, states, params), keys)
        history.append(seen)
    return params, history


def accuracy(params, data):
    """On the target."""
    logits = classify(params["classifier"], encode(params["encoder"], data.target, data.length))
    return float((logits.argmax(-1) == data.answer).mean())
