"""One training from the first step to the last: epochs, checkpoints, resume."""

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jdann import selection
from jdann.cluster import processes
from jdann.cluster.mesh import gather, place
from jdann.data import batches
from jdann.data.batches import BatchIndices, Frames, StoredFrames, take_vectors
from jdann.errors import DivergenceError, InputError
from jdann.methods.contract import InitialLabels, MakeInitialLabels
from jdann.methods.one_speaker import rows_of_speakers
from jdann.progress import track
from jdann.training.checkpoint import Checkpoints, open_checkpoints
from jdann.training.members import CompiledTraining, Members, over_members
from jdann.training.records import outputs, record_outputs
from jdann.training.state import State
from jdann.training.task import (
    LAST,
    Budget,
    Fitted,
    Progress,
    Run,
    Task,
    labelled_rows,
    target_labels,
)

_LAST_OF_EPOCH = ("learning_rate", "strength")  # metrics whose last value stands for the epoch
_CHECKPOINT_SHARE = 10  # checkpoints take at most one part in so many of the time
log = logging.getLogger("jdann")


OnEpoch = Callable[[int, dict[str, np.ndarray]], None]  # (epochs done, values [members] by name)


def ignore(epoch: int, values: dict[str, np.ndarray]) -> None:
    """A callback that does nothing."""
    del epoch, values


def fit(
    training: CompiledTraining,
    task: Task,
    budget: Budget,
    members: Members,
    folder: Path,
    *,
    selection: str = LAST,
    on_epoch: OnEpoch = ignore,
    on_record: OnEpoch = ignore,
) -> Fitted:
    """Trains, or continues from the newest checkpoint in `folder` to the same bits.

    Args:
      training: the compiled functions.
      task: what to learn from.
      budget: epochs, steps, records.
      members: seeds and hyper-parameters.
      folder: of the checkpoints.
      selection: the criterion of `jdann.selection` that chooses among the records, or "last".
      on_epoch: called with the epochs done and the epoch's metrics [members]; where outputs were
        recorded, also the criteria.
      on_record: called before `on_epoch` with the epochs done and the criteria [members].

    Raises:
      DivergenceError: no member's loss and gradient are finite any more. Checkpoints of earlier
        epochs are kept.
    """
    processes.check_same(
        {"the corpora": task.identity.hex(), "features on disk": _is_stored(task)},
        "give all processes the same corpora, and --config.features_gib",
    )
    run = Run(training, task, budget, members, training.keys(members), selection)
    progress = _start(run)
    with open_checkpoints(folder) as checkpoints:
        done, progress = _restored(checkpoints, task, progress)
        processes.check_same(
            {"epochs in the checkpoint": done}, "start all of them again with --resume"
        )
        checkpoints.tidy(done)
        if done:
            log.info("%s: continues after epoch %d of %d", task.name, done, budget.epochs)
        for epoch in range(done):
            _report(budget, progress, epoch, on_epoch, on_record)
        initial = _initial_labels(run) if done < budget.epochs else None
        saved, cost_s = time.monotonic(), 0.0
        epochs = range(done, budget.epochs)
        for epoch in track(epochs, task.name, budget.epochs - done, "epochs"):
            progress = _train_epoch(run, progress, epoch, initial)
            if epoch + 1 in budget.record_at:
                progress = record_outputs(run, progress, epoch)
            _report(budget, progress, epoch, on_epoch, on_record)
            begun = time.monotonic()
            # Saving a large model takes seconds, so the pause grows with the cost.
            pause_s = max(budget.checkpoint_every_s, _CHECKPOINT_SHARE * cost_s)
            is_due = processes.of_first(begun - saved >= pause_s)
            if epoch + 1 == budget.epochs or is_due:
                checkpoints.save(epoch + 1, _to_items(progress, task))
                saved = time.monotonic()
                cost_s = saved - begun
    return _fitted(progress, budget)


def restore(
    training: CompiledTraining, task: Task, budget: Budget, members: Members, folder: Path
) -> Fitted | None:
    """The finished training in `folder`, or None where there is none."""
    if not folder.exists():
        return None
    template = _start(Run(training, task, budget, members, training.keys(members), LAST))
    with open_checkpoints(folder) as checkpoints:
        done, progress = _restored(checkpoints, task, template)
    return _fitted(progress, budget) if done == budget.epochs else None


def restore_states(
    training: CompiledTraining, members: Members, folder: Path
) -> tuple[State, State] | None:
    """The chosen and the last state in `folder`, or None. Neither corpus is needed."""
    state = training.init(training.keys(members))
    with open_checkpoints(folder) as checkpoints:
        restored = checkpoints.restore({"state": state, "chosen": state.average})
    if restored is None:
        return None
    items = restored[1]
    return items["state"]._replace(average=items["chosen"]), items["state"]


def _is_stored(task: Task) -> bool:
    """Whether the features stay on disk."""
    return isinstance(task.data.source, StoredFrames)


def _start(run: Run) -> Progress:
    """What a training has before its first epoch."""
    training, task, budget = run.training, run.task, run.budget
    state = training.init(run.keys)
    members, classes = len(run.members.seeds), training.program.classes
    index = jax.ShapeDtypeStruct((members, budget.steps, budget.batch_size), jnp.int32)
    targets = len(task.data.target.length)
    pseudo_labels = jax.ShapeDtypeStruct((members, targets, classes), jnp.float32)
    epoch_inputs = (task.data, BatchIndices(index, index), pseudo_labels)  # pyright: ignore
    if _is_stored(task):
        first = np.zeros((members, 1, budget.batch_size), np.int32)
        zeros = np.zeros(pseudo_labels.shape, np.float32)
        epoch_inputs = batches.read_step(
            task.data, BatchIndices(first, first), zeros, training.mesh
        )
    names = training.metric_names(state, run.keys, run.members.hyper, *epoch_inputs)
    records = len(budget.record_at)

    def unknown(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, np.float32)

    evidence = training.program.method.evidence
    history_names = (*names, *evidence, "validation_risk", "validation_uar")
    return Progress(
        state=state,
        chosen=jax.tree.map(jnp.copy, state.average),
        history={name: unknown(budget.epochs, members) for name in history_names},
        criteria={name: unknown(records, members) for name in selection.CRITERIA},
        test_logits=np.zeros((records, members, task.test_size, classes), np.float32),
        diverged_at=np.full(members, -1, np.int32),
    )


def _to_items(progress: Progress, task: Task) -> dict[str, Any]:
    """The named trees of a checkpoint."""
    return {
        "state": progress.state,
        "identity": {"digest": np.frombuffer(task.identity, np.uint8)},
        "chosen": progress.chosen,
        "history": progress.history,
        "criteria": progress.criteria,
        "diverged_at": {"step": progress.diverged_at},
        "record": {"test_logits": progress.test_logits},
    }


def _from_items(items: dict[str, Any]) -> Progress:
    return Progress(
        state=items["state"],
        chosen=items["chosen"],
        history=items["history"],
        criteria=items["criteria"],
        test_logits=items["record"]["test_logits"],
        diverged_at=items["diverged_at"]["step"],
    )


def _restored(checkpoints: Checkpoints, task: Task, progress: Progress) -> tuple[int, Progress]:
    """Epochs done and the newest checkpoint, or 0 and `progress`.

    Raises:
      InputError: the checkpoint belongs to other data, so its rows would mean other utterances.
    """
    items = _to_items(progress, task)
    identity = checkpoints.restore({"identity": items["identity"]})
    if identity is None:
        return 0, progress
    if identity[1]["identity"]["digest"].tobytes() != task.identity:
        raise InputError(
            f"{task.name}: the utterances, source labels, config.target_labels or folds are not "
            "those of this work directory's training; train in another --workdir, or score other "
            "utterances by jdann evaluate WORKDIR --target CORPUS"
        )
    restored = checkpoints.restore(items)
    if restored is None:
        return 0, progress
    epochs_done, values = restored[0], _from_items(restored[1])
    # Orbax sorts names. The columns of history.csv keep the order of an uninterrupted training.
    return epochs_done, values._replace(
        history={name: values.history[name] for name in progress.history},
        criteria={name: values.criteria[name] for name in progress.criteria},
    )


def _report(
    budget: Budget, progress: Progress, epoch: int, on_epoch: OnEpoch, on_record: OnEpoch
) -> None:
    """Calls back with what is known of an epoch."""
    values = {name: history[epoch] for name, history in progress.history.items()}
    if epoch + 1 in budget.record_at:
        record = budget.record_at.index(epoch + 1)
        criteria = {name: rows[record] for name, rows in progress.criteria.items()}
        on_record(epoch + 1, criteria)
        values |= criteria
    on_epoch(epoch + 1, values)


def _train_epoch(
    run: Run, progress: Progress, epoch: int, initial: InitialLabels | None
) -> Progress:
    """Trains for one epoch, and adds its metrics to the history."""
    task, budget, training = run.task, run.budget, run.training
    ends = np.cumsum(budget.phases)
    phase = int(np.searchsorted(ends, epoch, side="right"))
    first = int(ends[phase]) - budget.phases[phase]
    state = progress.state
    if epoch == first and phase:
        state = training.enter_phase(state)
    phase_progress = (epoch - first) / budget.phases[phase]
    pseudo_labels = _pseudo_labels(run, state, phase, phase_progress, initial)
    source = np.concatenate([task.split.source, labelled_rows(task)])
    target = task.split.target
    indices = BatchIndices(
        _order(run, source, task.group[source], 0, epoch),
        _order(run, target, np.zeros(len(target), int), 1, epoch),
    )
    state, metrics = _run_steps(run, phase, state, indices, pseudo_labels)
    diverged_at = _check_divergence(run, metrics, epoch * budget.steps, progress.diverged_at)
    history = dict(progress.history)
    for name, values in metrics.items():
        history[name] = history[name].copy()
        history[name][epoch] = values[:, -1] if name in _LAST_OF_EPOCH else values.mean(1)
    for name, values in (initial.evidence if initial else {}).items():
        history[name] = history[name].copy()
        history[name][epoch] = values
    return progress._replace(state=state, history=history, diverged_at=diverged_at)


def _order(run: Run, rows: np.ndarray, group: np.ndarray, domain: int, epoch: int) -> jax.Array:
    """The utterances of each step, [members, steps, batch]."""
    budget = run.budget
    orders = [
        batches.epoch_order(rows, group, budget.steps, budget.batch_size, (seed, domain, epoch))
        for seed in run.members.seeds
    ]
    return jnp.asarray(np.stack(orders))


def _run_steps(
    run: Run, phase: int, state: State, indices: BatchIndices, pseudo_labels: jax.Array
) -> tuple[State, dict[str, np.ndarray]]:
    """Runs an epoch, step by step where the features are on disk; metrics are [members, steps]."""
    data, training, hyper = run.task.data, run.training, run.members.hyper
    if isinstance(data.source, Frames):
        state, metrics = training.train_epoch(
            phase, state, run.keys, hyper, data, indices, pseudo_labels
        )
        return state, gather(metrics)
    labels = np.asarray(pseudo_labels)
    steps = (
        BatchIndices(*(np.asarray(rows)[:, [i]] for rows in indices))
        for i in range(indices.source.shape[1])
    )
    per_step = []

    def read(step: BatchIndices) -> tuple[Any, ...]:
        return batches.read_step(data, step, labels, training.mesh)

    for part in batches.read_ahead(read, steps):
        state, metrics = training.train_epoch(phase, state, run.keys, hyper, *part)
        # Waiting for the metrics keeps no more than two steps' features in memory.
        per_step.append(gather(metrics))
    return state, {name: np.concatenate([m[name] for m in per_step], 1) for name in per_step[0]}


def _initial_labels(run: Run) -> InitialLabels | None:
    """The labels that a method makes once before training, and their evidence, for all members."""
    make = run.training.program.method.initial_labels
    if make is None:
        return None
    data, split, classes = run.task.data, run.task.split, run.training.program.classes
    # Vectors are few, so they always fit on the device.
    assert isinstance(data.source, Frames) and isinstance(data.target, Frames)
    source, target = (
        take_vectors(data.source, split.source),
        take_vectors(data.target, split.target),
    )
    emotion = jnp.asarray(data.emotion)[split.source]
    known = None
    if len(split.labelled):
        known = jnp.zeros((len(data.target.length), classes))
        known = known.at[split.labelled].set(target_labels(run.task, classes))[split.target]
    clips_of_speaker = rows_of_speakers(run.task.target_speaker[split.target])
    mesh, one_hot = run.training.mesh, jax.nn.one_hot(emotion, classes)
    domains = place(mesh, (source, one_hot, target, known, clips_of_speaker))
    return gather(_compiled_initial_labels(make, mesh)(run.keys, *domains))


@lru_cache(maxsize=8)
def _compiled_initial_labels(make: MakeInitialLabels, mesh: Mesh) -> MakeInitialLabels:
    """A method's `initial_labels` over members; folds of the same size share the program."""
    return jax.jit(over_members(make, (0, *[None] * 5), "map", mesh))


def _pseudo_labels(
    run: Run, state: State, phase: int, phase_progress: float, initial: InitialLabels | None
) -> jax.Array:
    """[members, target utterances, classes], zero where there are none.

    Where a method makes labels, those that the user gives replace them.
    """
    task, training = run.task, run.training
    members, classes = len(run.members.seeds), training.program.classes
    labels = jnp.zeros((members, len(task.data.target.length), classes))
    make = training.program.method.phases[phase].pseudo_labels
    if initial is not None:
        new_labels = initial.labels
    elif make is not None:
        logits, representation = outputs(
            training, state, task.data.target, task.split.target, "target"
        )
        new_labels = _compiled_pseudo_labels(make)(
            representation, logits, jnp.float32(phase_progress)
        )
    else:
        return labels
    labels = labels.at[:, task.split.target].set(new_labels)
    return labels.at[:, task.split.labelled].set(target_labels(task, classes)[None])


@lru_cache(maxsize=8)
def _compiled_pseudo_labels(make: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A phase's `pseudo_labels` over members."""
    return jax.jit(
        lambda representation, logits, progress: jax.lax.map(
            lambda member: make(*member, progress), (representation, logits)
        )
    )


def _check_divergence(
    run: Run, metrics: dict[str, np.ndarray], steps_before: int, before: np.ndarray
) -> np.ndarray:
    """The step [members] at which a member's numbers ceased to be finite, -1 where they have not.

    Raises:
      DivergenceError: every member has diverged.
    """
    finite = np.isfinite(metrics["loss"]) & np.isfinite(metrics["gradient_norm"])
    first_bad = steps_before + (~finite).argmax(1) + 1  # [members]
    step = np.where((before < 0) & ~finite.all(1), first_bad, before).astype(np.int32)
    name = run.task.name
    for member in np.flatnonzero((step >= 0) & (before < 0)).tolist():
        log.warning("%s: %s diverged at step %d", name, run.members.name(member), step[member])
    if (step >= 0).all():
        first = int(step.argmin())
        raise DivergenceError(
            f"{name}: loss or gradient are not finite at step {step[first]} "
            f"({run.members.name(first)}); lower --config.optimiser.learning_rate, or set "
            "--config.optimiser.clip_norm"
        )
    return step


def _fitted(progress: Progress, budget: Budget) -> Fitted:
    steps = np.asarray(progress.diverged_at)
    return Fitted(
        state=progress.state,
        chosen_state=progress.state._replace(average=progress.chosen),
        history={name: np.asarray(values) for name, values in progress.history.items()},
        test_logits=np.asarray(progress.test_logits),
        criteria={name: np.asarray(values) for name, values in progress.criteria.items()},
        record_at=budget.record_at,
        diverged=tuple(f"step {step}" if step >= 0 else None for step in steps),
    )
