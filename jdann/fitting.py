"""One training from first step to last: epochs, records of its outputs, checkpoints, resume."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.checkpoint import Checkpoints, open_checkpoints
from jdann.domains import Frames, batches
from jdann.errors import DivergenceError, InputError
from jdann.progress import track
from jdann.protocol import Split
from jdann.training import Batches, Hyper, State, Train

EVALUATION_BATCH = 64  # utterances
log = logging.getLogger("jdann")


class Task(NamedTuple):
    """What one training learns from. There is no field for the target's labels."""

    name: str  # for the log and the folder of its checkpoints
    split: Split
    source: Frames
    emotion: np.ndarray  # [source utterances] int32, -1 where unlabelled
    target: Frames
    test_size: int  # rows of the largest test split, so that every fold has the same shapes
    identity: bytes  # digest of all that the rows above mean; a checkpoint of another one is refused


class Budget(NamedTuple):
    """How long to train and how often to look."""

    epochs: int
    steps: int  # in an epoch
    batch_size: int
    record_at: tuple[int, ...]  # epochs done at which outputs are recorded, ascending; the last one is `epochs`
    checkpoint_every_s: float


class Fitted(NamedTuple):
    """What a training leaves."""

    state: State  # last
    best_state: State  # of the recorded epoch with the lowest source validation risk, seed by seed
    history: dict[str, np.ndarray]  # [epochs, seeds] means over each epoch's steps
    test_logits: np.ndarray  # [records, seeds, test, classes] float32, for selection and scoring afterwards
    record_at: tuple[int, ...]


def budget(config: Any, splits: list[Split]) -> Budget:
    """The budget that a config gives to trainings on `splits`, the same for each."""
    steps = max(-(-len(split.source) // config.batch_size) for split in splits)
    every = config.evaluate_every
    record_at = tuple(range(config.epochs, 0, -every))[::-1]
    return Budget(config.epochs, steps, config.batch_size, record_at, config.checkpoint_every_s)


def fit(
    train: Train,
    task: Task,
    plan: Budget,
    seeds: tuple[int, ...],
    hyper: Hyper,
    folder: Path,
    on_epoch: Callable[[int, dict[str, np.ndarray]], None] = lambda epoch, means: None,
) -> Fitted:
    """Trains, or continues from the newest checkpoint in `folder`: the outcome is the same, bit for bit.

    Args:
      train: the functions of `jdann.training.make_train`.
      task: what to learn from.
      plan: epochs, steps, records.
      seeds: one training for each, in one program.
      hyper: [seeds] each.
      folder: of the checkpoints.
      on_epoch: called with the epochs done and the epoch's means [seeds] of every diagnostic.

    Raises:
      DivergenceError: a loss or gradient is not finite; checkpoints of earlier epochs are kept.
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    state = train.init(keys, hyper)
    tree = _empty(train, task, plan, keys, hyper, state)
    with open_checkpoints(folder) as checkpoints:
        done, tree = _restored(checkpoints, task, tree)
        checkpoints.drop_after(done)
        if done:
            log.info("%s: continues after epoch %d of %d", task.name, done, plan.epochs)
        for epoch in range(done):
            on_epoch(epoch + 1, {name: values[epoch] for name, values in tree["history"].items()})
        saved, cost_s = time.monotonic(), 0.0
        for epoch in track(range(done, plan.epochs), task.name, plan.epochs - done, "epochs"):
            tree = _epoch(train, task, plan, seeds, keys, hyper, tree, epoch)
            on_epoch(epoch + 1, {name: values[epoch] for name, values in tree["history"].items()})
            begun = time.monotonic()
            # A large model's checkpoint takes seconds: at most a tenth of the time goes into them.
            if epoch + 1 == plan.epochs or begun - saved >= max(plan.checkpoint_every_s, 10 * cost_s):
                checkpoints.save(epoch + 1, tree)
                saved = time.monotonic()
                cost_s = saved - begun
    return _fitted(tree, plan)


def restore(train: Train, task: Task, plan: Budget, seeds: tuple[int, ...], hyper: Hyper, folder: Path) -> Fitted | None:
    """The finished training in `folder`, or None where there is none."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    template = _empty(train, task, plan, keys, hyper, train.init(keys, hyper))
    if not folder.exists():
        return None
    with open_checkpoints(folder) as checkpoints:
        done, tree = _restored(checkpoints, task, template)
    return _fitted(tree, plan) if done == plan.epochs else None


def restore_states(train: Train, seeds: tuple[int, ...], hyper: Hyper, folder: Path) -> tuple[State, State] | None:
    """The best (by source validation) and the last parameters in `folder`, or None. Neither corpus is needed."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    state = train.init(keys, hyper)
    with open_checkpoints(folder) as checkpoints:
        found = checkpoints.restore({"state": state, "best": (state.params, state.batch_stats)})
    if found is None:
        return None
    last, (params, batch_stats) = found[1]["state"], found[1]["best"]
    return last._replace(params=params, batch_stats=batch_stats), last


def _restored(checkpoints: Checkpoints, task: Task, tree: Any) -> tuple[int, Any]:
    """Epochs done and the newest checkpoint, or 0 and `tree`.

    Raises:
      InputError: the checkpoint belongs to other data: its rows would mean other utterances.
    """
    found = checkpoints.restore({"identity": tree["identity"]})
    if found is None:
        return 0, tree
    if found[1]["identity"]["digest"].tobytes() != task.identity:
        raise InputError(
            f"{task.name}: the utterances, source labels or folds are not those of this work directory's training; train in "
            "another --workdir, or score other utterances by jdann evaluate WORKDIR --target CORPUS"
        )
    return checkpoints.restore(tree) or (0, tree)


def outputs(train: Train, state: State, frames: Frames, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits [seeds, rows, classes] and representation [seeds, rows, representation] of utterances."""
    if not len(rows):
        seeds = len(state.step)
        return np.zeros((seeds, 0, 1), np.float32), np.zeros((seeds, 0, 1), np.float32)
    count = -(-len(rows) // EVALUATION_BATCH)
    index = np.resize(rows, (count, EVALUATION_BATCH)).astype(np.int32)  # repeats rows to fill up the last batch
    result = jax.device_get(train.outputs(state, frames, jnp.asarray(index)))
    return result.logits[:, : len(rows)], result.representation[:, : len(rows)]


def _epoch(
    train: Train, task: Task, plan: Budget, seeds: tuple[int, ...], keys: jax.Array, hyper: Hyper, tree: Any, epoch: int
) -> Any:
    def order(rows: np.ndarray, domain: int) -> jax.Array:
        orders = [batches(rows, plan.steps, plan.batch_size, (seed, domain, epoch)) for seed in seeds]
        return jnp.asarray(np.stack(orders))  # [seeds, steps, batch]

    plan_of_epoch = Batches(order(task.split.source, 0), order(task.split.target, 1))
    state, metrics = train.epoch(tree["state"], keys, hyper, task.source, task.emotion, task.target, plan_of_epoch)
    metrics = {name: np.asarray(values) for name, values in metrics.items()}  # [seeds, steps]
    _check_finite(task.name, metrics, seeds, epoch * plan.steps)
    history = dict(tree["history"])
    for name, values in metrics.items():
        history[name] = history[name].copy()
        history[name][epoch] = values.mean(1) if name not in ("learning_rate", "strength") else values[:, -1]
    tree = {**tree, "state": state, "history": history}
    return _record(train, task, plan, tree, epoch) if epoch + 1 in plan.record_at else tree


def _record(train: Train, task: Task, plan: Budget, tree: Any, epoch: int) -> Any:
    """Adds the outputs after this epoch, and keeps the parameters of every seed whose validation risk is the lowest yet."""
    state, which = tree["state"], plan.record_at.index(epoch + 1)
    test_logits = tree["record"]["test_logits"].copy()
    history = dict(tree["history"])
    rows = np.resize(task.split.test, task.test_size)  # every fold gets the shapes of the largest
    test_logits[which] = outputs(train, state, task.target, rows)[0]
    validation = task.split.validation
    if len(validation):
        logits, _ = outputs(train, state, task.source, validation)
        risk, uar = _validation(logits, task.emotion[validation])
        history["validation_risk"], history["validation_uar"] = (history[k].copy() for k in ("validation_risk", "validation_uar"))
        history["validation_risk"][epoch], history["validation_uar"][epoch] = risk, uar
    else:
        risk = np.full(len(state.step), -float(epoch), np.float32)  # nothing to select by: the last one
    better = risk < tree["best_risk"]["risk"]

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    kept = (state.params, state.batch_stats)
    best = jax.tree.map(keep, kept, tree["best"])
    return {
        **tree,
        "best": best,
        "best_risk": {"risk": np.where(better, risk, tree["best_risk"]["risk"])},
        "record": {"test_logits": test_logits},
        "history": history,
    }


def _validation(logits: np.ndarray, emotion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Risk (cross-entropy) and unweighted average recall [seeds] of the held-out source."""
    log_p = np.asarray(jax.nn.log_softmax(logits))  # [seeds, n, classes]
    risk = -log_p[:, np.arange(len(emotion)), emotion].mean(1)
    right = logits.argmax(-1) == emotion
    uar = np.mean([right[:, emotion == label].mean(1) for label in np.unique(emotion)], axis=0)
    return risk.astype(np.float32), uar.astype(np.float32)


def _check_finite(name: str, metrics: dict[str, np.ndarray], seeds: tuple[int, ...], steps_before: int) -> None:
    for quantity in ("loss", "gradient_norm"):
        bad = ~np.isfinite(metrics[quantity])
        if bad.any():
            step = int(bad.any(0).argmax())
            seed = seeds[int(bad[:, step].argmax())]
            raise DivergenceError(
                f"{name}: the {quantity.replace('_', ' ')} is not finite at step {steps_before + step + 1} (seed {seed}); lower "
                "--config.optimiser.learning_rate, or set --config.optimiser.clip_norm"
            )


def _empty(train: Train, task: Task, plan: Budget, keys: jax.Array, hyper: Hyper, state: State) -> Any:
    """What a checkpoint holds, before the first epoch: its shapes never change."""
    index = np.zeros((len(keys), plan.steps, plan.batch_size), np.int32)
    shapes = jax.eval_shape(
        train.epoch,
        state,
        keys,
        hyper,
        task.source,
        task.emotion,
        task.target,
        Batches(index, index),  # pyright: ignore
    )[1]
    names = (*shapes, "validation_risk", "validation_uar")
    seeds, records = len(keys), len(plan.record_at)
    classes = state.params["classifier"]["bias"].shape[-1]
    return {
        "state": state,
        "identity": {"digest": np.frombuffer(task.identity, np.uint8)},
        "best": jax.tree.map(jnp.copy, (state.params, state.batch_stats)),
        "best_risk": {"risk": np.full(seeds, np.inf, np.float32)},
        "history": {name: np.full((plan.epochs, seeds), np.nan, np.float32) for name in names},
        "record": {
            "test_logits": np.zeros((records, seeds, task.test_size, classes), np.float32),
        },
    }


def _fitted(tree: Any, plan: Budget) -> Fitted:
    state: State = tree["state"]
    params, batch_stats = tree["best"]
    best = state._replace(params=params, batch_stats=batch_stats)
    history = {name: np.asarray(values) for name, values in tree["history"].items()}
    return Fitted(state, best, history, np.asarray(tree["record"]["test_logits"]), plan.record_at)
