"""One training from first step to last: epochs, records of its outputs, checkpoints, resume."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann import selection
from jdann.data.batches import Frames, batches, vectors
from jdann.data.splits import Split
from jdann.errors import DivergenceError, InputError
from jdann.methods import Method
from jdann.progress import track
from jdann.training import streaming
from jdann.training.checkpoint import Checkpoints, open_checkpoints
from jdann.training.step import Batches, Data, Hyper, State, Train
from jdann.training.streaming import Stored, StoredData

EVALUATION_BATCH = 64  # utterances
log = logging.getLogger("jdann")


class Task(NamedTuple):
    """What one training learns from. There is no field for the target's labels."""

    name: str  # for the log and the folder of its checkpoints
    split: Split
    data: Data | StoredData
    group: (
        np.ndarray
    )  # [source utterances] int, the corpus and language of each: batches are balanced over them
    test_size: int  # rows of the largest test split, so that every fold has the same shapes
    evidence_sizes: tuple[
        int, int, int
    ]  # rows of held-out source, other source and target that the selection criteria see
    identity: (
        bytes  # digest of all that the rows above mean; a checkpoint of another one is refused
    )


class Budget(NamedTuple):
    """How long to train and how often to look."""

    epochs: int
    phases: tuple[int, ...]  # epochs of each phase
    steps: int  # in an epoch
    batch_size: int
    record_at: tuple[
        int, ...
    ]  # epochs done at which outputs are recorded, ascending; the last one is `epochs`
    checkpoint_every_s: float


class Fitted(NamedTuple):
    """What a training leaves. `chosen_state` is at the record that the config's selection prefers, member by member."""

    state: State  # last
    chosen_state: State
    history: dict[str, np.ndarray]  # [epochs, members] means over each epoch's steps
    test_logits: np.ndarray  # [records, members, test, classes] float32, for scoring afterwards
    criteria: dict[
        str, np.ndarray
    ]  # [records, members] of each criterion of `jdann.selection`, NaN where it has no value
    record_at: tuple[int, ...]
    diverged: tuple[str | None, ...]  # of each member, where its numbers ceased to be finite


def budget(config: Any, splits: list[Split], method: Method) -> Budget:
    """The budget that a config gives to trainings on `splits`, the same for each.

    Raises:
      InputError: there are fewer epochs than phases.
    """
    steps = max(-(-len(split.source) // config.batch_size) for split in splits)
    every = config.evaluate_every
    record_at = tuple(range(config.epochs, 0, -every))[::-1]
    return Budget(
        config.epochs,
        _phases(config.epochs, method),
        steps,
        config.batch_size,
        record_at,
        config.checkpoint_every_s,
    )


def _phases(epochs: int, method: Method) -> tuple[int, ...]:
    """Epochs of each phase: by their fractions, one at least."""
    count = len(method.phases)
    if epochs < count:
        names = ", ".join(phase.name for phase in method.phases)
        raise InputError(
            f"config.epochs is {epochs}, but a method of config.methods has {count} phases ({names}); allow one each"
        )
    part = np.cumsum([phase.fraction for phase in method.phases]) / sum(
        phase.fraction for phase in method.phases
    )
    ends = [0]
    for i, end in enumerate(part):
        ends.append(min(max(round(float(end) * epochs), ends[-1] + 1), epochs - (count - 1 - i)))
    return tuple(int(n) for n in np.diff(ends))


def fit(
    train: Train,
    task: Task,
    plan: Budget,
    seeds: tuple[int, ...],
    hyper: Hyper,
    folder: Path,
    selection: str,
    on_epoch: Callable[[int, dict[str, np.ndarray]], None] = lambda epoch, means: None,
    *,
    on_record: Callable[[int, dict[str, np.ndarray]], None] = lambda epoch, criteria: None,
    members: Sequence[str] = (),
) -> Fitted:
    """Trains, or continues from the newest checkpoint in `folder`: the outcome is the same, bit for bit.

    Args:
      train: the functions of `jdann.training.step.make_train`.
      task: what to learn from.
      plan: epochs, steps, records.
      seeds: of each member; all members are trained in one program.
      hyper: [members] each.
      folder: of the checkpoints.
      selection: the criterion of `jdann.selection` that chooses among the records, or "last".
      on_epoch: called with the epochs done and the epoch's means [members] of every diagnostic.
      on_record: called, before `on_epoch`, with the epochs done and every criterion [members] at a record.
      members: what messages call each member; empty: by its seed.

    Raises:
      DivergenceError: no member's loss and gradient are finite any more; checkpoints of earlier epochs are kept.
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    names = members or tuple(f"seed {seed}" for seed in seeds)
    tree = _empty(train, task, plan, keys, hyper, train.init(keys, hyper))
    with open_checkpoints(folder) as checkpoints:
        done, tree = _restored(checkpoints, task, tree)
        checkpoints.drop_after(done)
        if done:
            log.info("%s: continues after epoch %d of %d", task.name, done, plan.epochs)
        for epoch in range(done):
            _tell(plan, tree, epoch, on_epoch, on_record)
        labelled = _labelled(train, task, keys) if done < plan.epochs else None
        saved, cost_s = time.monotonic(), 0.0
        for epoch in track(range(done, plan.epochs), task.name, plan.epochs - done, "epochs"):
            tree = _epoch(train, task, plan, seeds, keys, hyper, tree, epoch, labelled, names)
            if epoch + 1 in plan.record_at:
                tree = _record(train, task, plan, tree, epoch, selection)
            _tell(plan, tree, epoch, on_epoch, on_record)
            begun = time.monotonic()
            # A large model's checkpoint takes seconds: at most a tenth of the time goes into them.
            if epoch + 1 == plan.epochs or begun - saved >= max(
                plan.checkpoint_every_s, 10 * cost_s
            ):
                checkpoints.save(epoch + 1, tree)
                saved = time.monotonic()
                cost_s = saved - begun
    return _fitted(tree, plan, seeds)


def _tell(
    plan: Budget,
    tree: Any,
    epoch: int,
    on_epoch: Callable[..., None],
    on_record: Callable[..., None],
) -> None:
    """Calls back with what is known of an epoch."""
    if epoch + 1 in plan.record_at:
        which = plan.record_at.index(epoch + 1)
        on_record(epoch + 1, {name: values[which] for name, values in tree["criteria"].items()})
    on_epoch(epoch + 1, {name: values[epoch] for name, values in tree["history"].items()})


def restore(
    train: Train, task: Task, plan: Budget, seeds: tuple[int, ...], hyper: Hyper, folder: Path
) -> Fitted | None:
    """The finished training in `folder`, or None where there is none."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    template = _empty(train, task, plan, keys, hyper, train.init(keys, hyper))
    if not folder.exists():
        return None
    with open_checkpoints(folder) as checkpoints:
        done, tree = _restored(checkpoints, task, template)
    return _fitted(tree, plan, seeds) if done == plan.epochs else None


def restore_states(
    train: Train, seeds: tuple[int, ...], hyper: Hyper, folder: Path
) -> tuple[State, State] | None:
    """The chosen and the last state in `folder`, or None. Neither corpus is needed."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    state = train.init(keys, hyper)
    with open_checkpoints(folder) as checkpoints:
        found = checkpoints.restore({"state": state, "chosen": state.average})
    if found is None:
        return None
    return found[1]["state"]._replace(average=found[1]["chosen"]), found[1]["state"]


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


def outputs(
    train: Train, state: State, frames: Frames | Stored, rows: np.ndarray, domain: str
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [members, rows, classes] and representation [members, rows, representation] of utterances of a domain."""
    if not len(rows):
        members = len(state.step)
        return np.zeros((members, 0, 1), np.float32), np.zeros((members, 0, 1), np.float32)
    pieces = streaming.batches(frames, rows, EVALUATION_BATCH)
    found = [jax.device_get(train.outputs(state, *piece, domain=domain)) for piece in pieces]
    logits, representation = (
        np.concatenate(of, 1)[:, : len(rows)] for of in zip(*found, strict=True)
    )
    return logits, representation


def _epoch(
    train: Train, task: Task, plan: Budget, seeds: tuple[int, ...], keys: jax.Array, hyper: Hyper, tree: Any, epoch: int,
    labelled: jax.Array | None, names: Sequence[str],
) -> Any:  # fmt: skip
    def order(rows: np.ndarray, group: np.ndarray, domain: int) -> jax.Array:
        orders = [
            batches(rows, group, plan.steps, plan.batch_size, (seed, domain, epoch))
            for seed in seeds
        ]
        return jnp.asarray(np.stack(orders))  # [members, steps, batch]

    ends = np.cumsum(plan.phases)
    phase = int(np.searchsorted(ends, epoch, side="right"))
    first = int(ends[phase]) - plan.phases[phase]
    state = train.enter(tree["state"]) if epoch == first and phase else tree["state"]
    pseudo = _pseudo_labels(
        train, task, state, phase, (epoch - first) / plan.phases[phase], labelled
    )
    source, target = task.split.source, task.split.target
    plan_of_epoch = Batches(
        order(source, task.group[source], 0), order(target, np.zeros(len(target), int), 1)
    )
    state, metrics = streaming.epoch(
        train.epochs[phase], state, keys, hyper, task.data, plan_of_epoch, pseudo
    )
    metrics = {name: np.asarray(values) for name, values in metrics.items()}  # [members, steps]
    diverged = _diverged(task.name, metrics, names, epoch * plan.steps, tree["diverged_at"]["step"])
    history = dict(tree["history"])
    for name, values in metrics.items():
        history[name] = history[name].copy()
        history[name][epoch] = (
            values.mean(1) if name not in ("learning_rate", "strength") else values[:, -1]
        )
    return {**tree, "state": state, "history": history, "diverged_at": {"step": diverged}}


def _labelled(train: Train, task: Task, keys: jax.Array) -> jax.Array | None:
    """What the method's `label` gives the unlabelled target, [members, n, classes]."""
    label = train.method.label
    if label is None:
        return None
    assert isinstance(task.data, Data)  # vectors are few: they always fit
    source, target = (
        vectors(task.data.source, task.split.source),
        vectors(task.data.target, task.split.target),
    )
    return _labelling_once(label)(
        keys, source, jnp.asarray(task.data.emotion)[task.split.source], target
    )


@lru_cache(maxsize=8)
def _labelling_once(label: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`label` over members, compiled once a shape: folds of the same size share it."""
    return jax.jit(lambda keys, *domains: jax.lax.map(lambda key: label(key, *domains), keys))


def _pseudo_labels(
    train: Train, task: Task, state: State, phase: int, progress: float, labelled: jax.Array | None
) -> jax.Array:
    """[members, target utterances, classes], zero where there are none."""
    members, classes = state.average["classifier"]["bias"].shape
    pseudo = jnp.zeros((members, len(task.data.target.length), classes))
    if labelled is not None:
        return pseudo.at[:, task.split.target].set(labelled)
    make = train.method.phases[phase].pseudo_labels
    if make is None:
        return pseudo
    logits, representation = outputs(train, state, task.data.target, task.split.target, "target")
    found = _labelling(make)(representation, logits, jnp.float32(progress))
    return pseudo.at[:, task.split.target].set(found)


@lru_cache(maxsize=8)
def _labelling(make: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`make` over members, compiled once a shape."""
    return jax.jit(lambda r, g, p: jax.lax.map(lambda member: make(*member, p), (r, g)))


def _record(train: Train, task: Task, plan: Budget, tree: Any, epoch: int, chosen_by: str) -> Any:
    """Adds the outputs after this epoch, and keeps every member's average that its criterion prefers to all before."""
    split, data = task.split, task.data
    state, which = tree["state"], plan.record_at.index(epoch + 1)
    if train.method.recompute_statistics:
        state = _recomputed(train, state, data.target, split.target)
    rows = np.resize(split.test, task.test_size)  # every fold gets the shapes of the largest
    test = outputs(train, state, data.target, rows, "target")
    target = (
        test
        if np.array_equal(split.target, rows)
        else outputs(train, state, data.target, split.target, "target")
    )
    validation = outputs(train, state, data.source, split.validation, "source")
    history = dict(tree["history"])
    if len(split.validation):
        risk, uar = _validation(validation[0], np.asarray(data.emotion)[split.validation])
        for name, value in (("validation_risk", risk), ("validation_uar", uar)):
            history[name] = history[name].copy()
            history[name][epoch] = value
    values = _criteria(train, task, state, validation, target)
    criteria = {name: of.copy() for name, of in tree["criteria"].items()}
    for name, value in values.items():
        criteria[name][which] = value
    test_logits = tree["record"]["test_logits"].copy()
    test_logits[which] = test[0]
    tree = {
        **tree,
        "state": state,
        "criteria": criteria,
        "history": history,
        "record": {"test_logits": test_logits},
    }
    if chosen_by == "last":
        better = np.ones(len(state.step), bool)
    else:
        better = selection.choose(criteria[chosen_by][: which + 1], chosen_by) == which  # [members]

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return {**tree, "chosen": jax.tree.map(keep, state.average, tree["chosen"])}


def _recomputed(train: Train, state: State, frames: Frames | Stored, rows: np.ndarray) -> State:
    """With batch norm's statistics of these utterances of the target."""
    pieces = streaming.batches(frames, rows, EVALUATION_BATCH)
    each = [train.batch_statistics(state, *piece) for piece in pieces]
    count = -(
        -len(rows) // EVALUATION_BATCH
    )  # a last piece from disk is filled up by whole batches
    return train.recompute(
        state, jax.tree.map(lambda *of: jnp.concatenate(of, 1)[:, :count], *each)
    )


def _criteria(
    train: Train, task: Task, state: State, validation: Any, target: Any
) -> dict[str, np.ndarray]:
    """Every criterion's value [members], of evenly spaced rows: as many in every fold, so that shapes are the same."""
    split = task.split
    held, other, aimed = (
        _spaced(len(rows), size)
        for rows, size in zip(
            (split.validation, split.source, split.target), task.evidence_sizes, strict=True
        )
    )
    learnt = outputs(train, state, task.data.source, split.source[other], "source")
    emotion = np.asarray(task.data.emotion)[split.validation[held]]
    logits, representation = (x[:, held] for x in validation)
    return selection.evaluate(
        selection.Evidence(
            logits, emotion, representation, learnt[1], target[0][:, aimed], target[1][:, aimed]
        )  # pyright: ignore
    )


def _spaced(count: int, wanted: int) -> np.ndarray:
    """`wanted` of `count` rows, evenly spaced."""
    return np.floor(np.linspace(0, count, wanted, endpoint=False)).astype(int)


def _validation(logits: np.ndarray, emotion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Risk (cross-entropy) and unweighted average recall [members] of the held-out source."""
    log_p = np.asarray(jax.nn.log_softmax(logits))  # [members, n, classes]
    risk = -log_p[:, np.arange(len(emotion)), emotion].mean(1)
    right = logits.argmax(-1) == emotion
    uar = np.mean([right[:, emotion == label].mean(1) for label in np.unique(emotion)], axis=0)
    return risk.astype(np.float32), uar.astype(np.float32)


def _diverged(
    name: str,
    metrics: dict[str, np.ndarray],
    members: Sequence[str],
    steps_before: int,
    before: np.ndarray,
) -> np.ndarray:
    """The step [members] at which each member's numbers ceased to be finite, -1 where they have not.

    Raises:
      DivergenceError: none is left.
    """
    bad = ~(
        np.isfinite(metrics["loss"]) & np.isfinite(metrics["gradient_norm"])
    )  # [members, steps]
    step = np.where((before < 0) & bad.any(1), steps_before + bad.argmax(1) + 1, before).astype(
        np.int32
    )
    for member in np.flatnonzero((step >= 0) & (before < 0)):
        log.warning("%s: %s diverged at step %d", name, members[int(member)], step[member])
    if (step >= 0).all():
        first = int(step.argmin())
        raise DivergenceError(
            f"{name}: loss or gradient are not finite at step {step[first]} ({members[first]}); lower "
            "--config.optimiser.learning_rate, or set --config.optimiser.clip_norm"
        )
    return step


def _empty(
    train: Train, task: Task, plan: Budget, keys: jax.Array, hyper: Hyper, state: State
) -> Any:
    """What a checkpoint holds, before the first epoch: its shapes never change."""
    members, classes = state.average["classifier"]["bias"].shape
    index = jax.ShapeDtypeStruct((members, plan.steps, plan.batch_size), jnp.int32)
    pseudo = jax.ShapeDtypeStruct((members, len(task.data.target.length), classes), jnp.float32)
    seen = task.data, Batches(index, index), pseudo  # pyright: ignore
    if isinstance(task.data, StoredData):
        first = np.zeros((members, 1, plan.batch_size), np.int32)
        seen = streaming.one_step(task.data, Batches(first, first), jnp.zeros(pseudo.shape))  # pyright: ignore
    names: dict[str, None] = {}
    for epoch in train.epochs:
        names |= dict.fromkeys(jax.eval_shape(epoch, state, keys, hyper, *seen)[1])
    records = len(plan.record_at)

    def unknown(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, np.float32)

    return {
        "state": state,
        "identity": {"digest": np.frombuffer(task.identity, np.uint8)},
        "chosen": jax.tree.map(jnp.copy, state.average),
        "history": {
            name: unknown(plan.epochs, members)
            for name in (*names, "validation_risk", "validation_uar")
        },
        "criteria": {name: unknown(records, members) for name in selection.CRITERIA},
        "diverged_at": {"step": np.full(members, -1, np.int32)},
        "record": {
            "test_logits": np.zeros((records, members, task.test_size, classes), np.float32)
        },
    }


def _fitted(tree: Any, plan: Budget, seeds: tuple[int, ...]) -> Fitted:
    state: State = tree["state"]
    steps = np.asarray(tree["diverged_at"]["step"])
    return Fitted(
        state,
        state._replace(average=tree["chosen"]),
        {name: np.asarray(values) for name, values in tree["history"].items()},
        np.asarray(tree["record"]["test_logits"]),
        {name: np.asarray(values) for name, values in tree["criteria"].items()},
        plan.record_at,
        tuple(f"step {step}" if step >= 0 else None for step in steps),
    )
