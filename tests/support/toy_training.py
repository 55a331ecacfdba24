"""Three clusters, turned and shifted in the target: data for trainings, and batches for losses."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jdann.configuration import base_config
from jdann.data.batches import Frames, Source, StoredFrames, Target, TrainingData
from jdann.data.splits import Split
from jdann.experiments.settings import make_training_settings
from jdann.features.prosody import PROSODIC
from jdann.methods import Context, Dims, Method, make_method
from jdann.models.layers import MaskedBatchNorm, mean_pool
from jdann.training import loop, state
from jdann.training.members import CompiledTraining, Members
from jdann.training.state import Hyper
from jdann.training.task import Budget, Fitted, Task, make_budget

CLASSES, SPEAKERS, WIDTH, BINS, WINDOW = 3, 4, 8, 5, 4
UTTERANCES, BATCH, EPOCHS, STEPS, SEEDS = 240, 32, 8, 30, (0, 1)
RATE, DECAY = 5e-3, 1e-2
# What a short training on the toy needs: as many epochs with as without the source, and confident
# predictions that are less confident than those of long trainings.
SETTINGS = {"dirt_t": {"fraction": 0.5}, "fixmatch": {"threshold": 0.6}}
DIMS = Dims(representation=16, classes=CLASSES, speakers=SPEAKERS)  # of `make_batch`


class Toy(NamedTuple):
    data: TrainingData
    answer: np.ndarray  # [UTTERANCES], the target's labels, for scoring


@cache
def make_toy(
    turn: float = 0.8, shift: tuple[float, float] = (1.0, -0.6), invariant: float = 0.8
) -> Toy:
    """Clusters around three directions of the first two bins.

    The target's clusters are turned by `turn` radians and shifted by `shift`.

    The next two bins hold the clusters again, at a distance `invariant` from the origin and the
    same in both domains. The last bin tells the speaker. Utterances have two to four frames; a
    sixth of the source has no known speaker.
    """
    random = np.random.default_rng(0)

    def draw(turn: float, shift: tuple[float, float]) -> tuple[Frames, np.ndarray, np.ndarray]:
        label, speaker = np.arange(UTTERANCES) % CLASSES, random.integers(0, SPEAKERS, UTTERANCES)
        angle = 2 * np.pi * label / CLASSES
        planes = [2 * circle(angle + turn) + shift, invariant * circle(angle)]
        points = np.concatenate([*planes, speaker[:, None] - 1.5], 1)
        points[:, :4] += 0.3 * random.normal(size=(UTTERANCES, 4))
        length = random.integers(2, WINDOW + 1, UTTERANCES).astype(np.int32)
        values = np.repeat(points, length, 0) + 0.1 * random.normal(size=(length.sum(), BINS))
        values = np.concatenate([values, np.zeros((WINDOW, BINS))]).astype(np.float16)
        return (
            Frames(jnp.asarray(values), (np.cumsum(length) - length).astype(np.int32), length),
            label,
            speaker,
        )

    def circle(angle: np.ndarray) -> np.ndarray:
        return np.stack([np.cos(angle), np.sin(angle)], 1)

    source, emotion, speaker = draw(0.0, (0.0, 0.0))
    target, answer, _ = draw(turn, shift)
    speaker[::6] = -1
    return Toy(
        TrainingData(
            source, jnp.asarray(emotion, jnp.int32), jnp.asarray(speaker, jnp.int32), target
        ),
        answer,
    )


@cache
def make_vectors() -> Toy:
    """One vector per utterance: prosody that both domains share, and values that they do not."""
    random = np.random.default_rng(1)
    shared = random.normal(size=(CLASSES, len(PROSODIC)))
    label = np.arange(UTTERANCES) % CLASSES

    def draw() -> Frames:
        others = random.normal(size=(CLASSES, 12))
        clean = np.concatenate([shared[label], 2 * others[label]], 1)
        values = (clean + random.normal(size=clean.shape)).astype(np.float16)
        rows = np.arange(UTTERANCES, dtype=np.int32)
        return Frames(jnp.asarray(values), rows, np.ones(UTTERANCES, np.int32))

    unknown = jnp.full(UTTERANCES, -1, jnp.int32)
    data = TrainingData(draw(), jnp.asarray(label, jnp.int32), unknown, draw())
    return Toy(data, label)


def on_disk(toy: Toy) -> Toy:
    """The same utterances as if their features were on disk."""

    def stored(frames: Any) -> StoredFrames:
        values = np.asarray(frames.values)

        def read(rows: Iterable[int]) -> Iterator[np.ndarray]:
            return (values[frames.start[i] : frames.start[i] + frames.length[i]] for i in rows)

        return StoredFrames(frames.length, WINDOW, BINS, read)

    data = toy.data
    emotion, speaker = np.asarray(data.emotion), np.asarray(data.speaker)
    return toy._replace(
        data=TrainingData(stored(data.source), emotion, speaker, stored(data.target))
    )


class ToyEncoder(nn.Module):
    """Two layers with the mean over valid frames between them, and no dropout."""

    batch_norm: bool

    @nn.compact
    def __call__(self, features: jax.Array, length: jax.Array, train: bool) -> dict[str, jax.Array]:
        uniform = nn.initializers.lecun_uniform()
        x = nn.Dense(32, use_bias=not self.batch_norm, kernel_init=uniform)(features)
        if self.batch_norm:
            x = MaskedBatchNorm()(x, length, train)
        return {
            "representation": nn.Dense(WIDTH, kernel_init=uniform)(mean_pool(nn.relu(x), length))
        }


def toy_config(augment: bool = False, how: str = "map") -> Any:
    """A config of three emotions, without clipping: it would couple encoder and discriminator."""
    config = base_config()
    config.emotions, config.seeds_in = ("angry", "happy", "sad"), how
    config.optimiser.clip_norm, config.ema = 0.0, 0.95
    config.augment.frequency_masks = 0
    config.augment.time_masks, config.augment.time_mask_frames = (1, 2) if augment else (0, 0)
    return config


class Program(NamedTuple):
    """A method as compiled for the toy."""

    training: CompiledTraining
    budget: Budget


@cache  # compiling costs more than all the steps
def make_program(
    name: str,
    *,
    batch_norm: bool = False,
    augment: bool = False,
    how: str = "map",
    epochs: int = EPOCHS,
    **weights: float,
) -> Program:
    """The compiled functions and the budget of a method, or a sum.

    `weights` replace the default ones, by method.
    """
    config = toy_config(augment, how)
    method = make_method(name, {**SETTINGS, **{part: {"weight": w} for part, w in weights.items()}})
    task = make_task(make_toy())
    budget = make_budget(
        [task.split],
        method,
        epochs=epochs,
        batch_size=BATCH,
        evaluate_every=epochs,
        checkpoint_every_s=0.5,
    )._replace(steps=STEPS)
    program = state.Program(
        encoder=ToyEncoder(batch_norm),
        method=method,
        settings=make_training_settings(config),
        classes=CLASSES,
        speakers=SPEAKERS,
        bins=BINS,
        window=WINDOW,
        phase_steps=tuple(STEPS * n for n in budget.phases),
    )
    return Program(CompiledTraining(program, how), budget)


def make_task(toy: Toy) -> Task:
    """All of the source but sixty utterances, and all of the target."""
    rows = np.arange(UTTERANCES)
    split = Split("all", rows[60:], rows[:60], rows, rows)
    group = np.zeros(UTTERANCES, int)
    speaker = np.full(UTTERANCES, -1)
    return Task("toy", split, toy.data, group, UTTERANCES, (60, 60, 60), bytes(16), speaker)


def make_hyper(
    strength: float = 1.0, rate: float = RATE, decay: float = DECAY, members: int = len(SEEDS)
) -> Hyper:
    return Hyper(*(jnp.full(members, value, jnp.float32) for value in (rate, decay, strength)))


def fit(
    program: Program,
    toy: Toy,
    hyper: Hyper | None = None,
    *,
    folder: Path | None = None,
    on_epoch: Callable[..., None] = lambda epoch, means: None,
) -> Fitted:
    """Trains all seeds, in a temporary folder where none is given."""
    with tempfile.TemporaryDirectory() as temporary:
        members = Members(SEEDS, make_hyper() if hyper is None else hyper)
        return loop.fit(
            program.training,
            make_task(toy),
            program.budget,
            members,
            folder or Path(temporary),
            on_epoch=on_epoch,
        )


def accuracy(fitted: Fitted, toy: Toy) -> float:
    """Of the target, the mean over seeds."""
    return float((fitted.test_logits[-1].argmax(-1) == toy.answer).mean())


class Batch(NamedTuple):
    """What a loss sees, with the outputs of the network as given numbers."""

    source: jax.Array  # representation
    target: jax.Array
    source_logits: jax.Array
    target_logits: jax.Array
    clean_source_logits: jax.Array
    clean_target_logits: jax.Array
    emotion: jax.Array
    speaker: jax.Array
    pseudo: jax.Array


def make_batch(seed: int = 0, n: int = 4, m: int = 4, width: int = DIMS.representation) -> Batch:
    """A random batch, smaller than the representation is wide."""
    random = np.random.default_rng(seed)
    representations = [
        random.normal(size=(rows, width)) + shift for rows, shift in ((n, 0.0), (m, 0.5))
    ]
    logits = [2 * random.normal(size=(rows, CLASSES)) for rows in (n, m, n, m)]
    pseudo = np.eye(CLASSES)[random.integers(0, CLASSES, m)] * (np.arange(m) % 2)[:, None]
    floats = [jnp.asarray(x, jnp.float32) for x in (*representations, *logits)]
    whole = [
        jnp.asarray(x, jnp.int32)
        for x in (np.arange(n) % CLASSES, np.arange(n) % (SPEAKERS + 1) - 1)
    ]
    return Batch(*floats, *whole, jnp.asarray(pseudo, jnp.float32))


@jax.jit
def degenerate_batches() -> Batch:
    """Batches at which a formula may divide by zero or take its root, stacked along a new axis."""
    batch = make_batch()
    one_hot = 1e4 * jax.nn.one_hot(jnp.arange(len(batch.source)) % CLASSES, CLASSES)
    zero = jnp.zeros_like(batch.source_logits)

    def with_logits(logits: jax.Array) -> Batch:
        return batch._replace(**{name: logits for name in Batch._fields if name.endswith("logits")})

    cases = [
        batch,
        batch._replace(target=batch.source, target_logits=batch.source_logits),  # identical domains
        batch._replace(source=jnp.ones_like(batch.source), target=jnp.ones_like(batch.target)),
        batch._replace(source=jnp.zeros_like(batch.source), target=jnp.zeros_like(batch.target)),
        batch._replace(source=1e4 * batch.source, target=1e4 * batch.target),
        with_logits(one_hot),
        with_logits(1e4 * batch.source_logits),
        with_logits(zero),
        with_logits(zero.at[:, 0].set(1e4)),  # all one class
        batch._replace(pseudo=jnp.zeros_like(batch.pseudo)),
        batch._replace(speaker=jnp.full_like(batch.speaker, -1)),
    ]
    return jax.tree.map(lambda *x: jnp.stack(x), *cases)


def loss_of(
    method: Method,
    batch: Batch,
    strength: float = 1.0,
    *,
    params: Any = None,
    phase: int = -1,
    update: int = -1,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of an update on a batch, with diagnostics; `params` are the method's parameters."""
    return jax.jit(_loss, static_argnums=(0, 4, 5))(method, batch, strength, params, phase, update)


def gradients_of(
    method: Method,
    batch: Batch,
    strength: float = 1.0,
    *,
    params: Any = None,
    phase: int = -1,
    update: int = -1,
) -> tuple[jax.Array, Batch, Any]:
    """The loss, and its gradients for the real values of the batch and the method's parameters."""
    return jax.jit(gradients_with, static_argnums=(0, 4, 5))(
        method, batch, strength, params, phase, update
    )


def _loss(method: Method, batch: Batch, strength: Any, params: Any, phase: int, update: int) -> Any:
    params = {} if params is None else params
    context = Context(
        jnp.asarray(strength, jnp.float32),
        progress=jnp.zeros(()),
        key=jax.random.key(0),
        params={"encoder": {}, "classifier": {}, "method": params},
        label_smoothing=0.1,
        memory={"encoder": {}},
        forward=lambda features, length: (batch.target, batch.clean_target_logits),
        encode=lambda encoder, features, length: batch.source,
        classify=lambda representation: batch.clean_source_logits,
        teacher=lambda features, length: jax.lax.stop_gradient(batch.clean_target_logits),
    )
    features = [jnp.zeros((len(x), 1, 2)) for x in (batch.source, batch.target)]
    length = [jnp.ones(len(x), jnp.int32) for x in (batch.source, batch.target)]
    source = Source(
        features[0], length[0], batch.emotion, batch.speaker, batch.source, batch.source_logits
    )
    target = Target(features[1], length[1], batch.pseudo, batch.target, batch.target_logits)
    domains = method.phases[phase].domains
    batches = (source if "source" in domains else None, target if "target" in domains else None)
    return method.phases[phase].updates[update].loss(params, *batches, context)


def gradients_with(
    method: Method, batch: Batch, strength: Any, params: Any, phase: int, update: int
) -> Any:
    """`gradients_of`, to be traced."""
    real = {name: x for name, x in batch._asdict().items() if name not in ("emotion", "speaker")}

    def value(real: Any, params: Any) -> jax.Array:
        return _loss(method, batch._replace(**real), strength, params, phase, update)[0]

    value, (gradient, of_params) = jax.value_and_grad(value, (0, 1))(real, params)
    return value, Batch(**gradient, emotion=batch.emotion, speaker=batch.speaker), of_params


def softmax(logits: Any) -> np.ndarray:
    """By NumPy, in float64, over the last axis."""
    logits = np.asarray(logits, np.float64)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def perceptron(params: Any, x: Any) -> np.ndarray:
    """Dense layers with ReLU between them, by NumPy in float64: [..., inputs] to [..., outputs]."""
    x = np.asarray(x, np.float64)
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x = (np.maximum(x, 0) if i else x) @ np.asarray(layer["kernel"], np.float64) + np.asarray(
            layer["bias"], np.float64
        )
    return x
