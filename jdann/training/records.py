"""Records of a training's outputs, from which selection and scoring work afterwards."""

import jax
import jax.numpy as jnp
import numpy as np

from jdann import selection
from jdann.cluster.mesh import gather
from jdann.data import batches
from jdann.data.batches import Frames, StoredFrames
from jdann.evaluation.metrics import unweighted_average_recall
from jdann.training.members import CompiledTraining
from jdann.training.state import Outputs, State
from jdann.training.task import LAST, Progress, Run

EVALUATION_BATCH = 64  # utterances


def outputs(
    training: CompiledTraining,
    state: State,
    frames: Frames | StoredFrames,
    rows: np.ndarray,
    domain: str,
) -> Outputs:
    """Logits [members, rows, classes] and representation [members, rows, d] of a domain's rows."""
    if not len(rows):
        nothing = np.zeros((len(state.step), 0, 1), np.float32)
        return Outputs(nothing, nothing)  # pyright: ignore[reportArgumentType]
    parts = [
        gather(training.outputs(domain, state, part, index))
        for part, index in batches.evaluation_batches(frames, rows, EVALUATION_BATCH)
    ]
    joined = (np.concatenate(values, 1)[:, : len(rows)] for values in zip(*parts, strict=True))
    return Outputs(*joined)  # pyright: ignore[reportArgumentType]


def record_outputs(run: Run, progress: Progress, epoch: int) -> Progress:
    """Adds the outputs after an epoch, and keeps each average that the selection prefers."""
    task, training, state = run.task, run.training, progress.state
    split, data, record = task.split, task.data, run.budget.record_at.index(epoch + 1)
    if training.program.method.recompute_statistics:
        state = _with_target_statistics(training, state, data.target, split.target)
    rows = np.resize(split.test, task.test_size)  # every fold gets the shapes of the largest
    target = outputs(training, state, data.target, split.target, "target")
    if np.isin(rows, split.target).all():
        test_logits = np.asarray(target.logits)[:, np.searchsorted(split.target, rows)]
    else:
        test_logits = outputs(training, state, data.target, rows, "target").logits
    validation = outputs(training, state, data.source, split.validation, "source")
    history = dict(progress.history)
    if len(split.validation):
        emotion = np.asarray(data.emotion)[split.validation]
        risk, uar = _validation_scores(np.asarray(validation.logits), emotion)
        for name, value in (("validation_risk", risk), ("validation_uar", uar)):
            history[name] = history[name].copy()
            history[name][epoch] = value
    criteria = {name: values.copy() for name, values in progress.criteria.items()}
    for name, value in _criteria(run, state, validation, target).items():
        criteria[name][record] = value
    recorded_logits = progress.test_logits.copy()
    recorded_logits[record] = test_logits
    better = np.ones(len(state.step), bool)
    if run.selection != LAST:
        best = selection.choose(criteria[run.selection][: record + 1], run.selection)
        better = best == record  # [members]

    def prefer(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    chosen = jax.tree.map(prefer, state.average, progress.chosen)
    return progress._replace(
        state=state,
        chosen=chosen,
        history=history,
        criteria=criteria,
        test_logits=recorded_logits,
    )


def _with_target_statistics(
    training: CompiledTraining, state: State, frames: Frames | StoredFrames, rows: np.ndarray
) -> State:
    """The state whose average uses batch norm's statistics of these target utterances."""
    parts = [
        training.target_statistics(state, part, index)
        for part, index in batches.evaluation_batches(frames, rows, EVALUATION_BATCH)
    ]
    # From disk the last reading is filled up by whole batches, which are left out.
    count = -(-len(rows) // EVALUATION_BATCH)
    per_batch = jax.tree.map(lambda *values: jnp.concatenate(values, 1)[:, :count], *parts)
    return training.with_target_statistics(state, per_batch)


def _criteria(
    run: Run, state: State, validation: Outputs, target: Outputs
) -> dict[str, np.ndarray]:
    """Every criterion [members], on as many evenly spaced rows in every fold."""
    task = run.task
    split, sizes = task.split, task.evidence_sizes
    held_out = _evenly_spaced(len(split.validation), sizes[0])
    trained_on = _evenly_spaced(len(split.source), sizes[1])
    targets = _evenly_spaced(len(split.target), sizes[2])
    source = outputs(run.training, state, task.data.source, split.source[trained_on], "source")
    evidence = selection.Evidence(
        source_logits=validation.logits[:, held_out],
        source_emotion=np.asarray(task.data.emotion)[split.validation[held_out]],  # pyright: ignore
        source_representation=validation.representation[:, held_out],
        train_representation=source.representation,
        target_logits=target.logits[:, targets],
        target_representation=target.representation[:, targets],
    )
    return selection.evaluate(evidence)


def _evenly_spaced(count: int, size: int) -> np.ndarray:
    """`size` of `count` rows, evenly spaced."""
    return np.floor(np.linspace(0, count, size, endpoint=False)).astype(int)


def _validation_scores(logits: np.ndarray, emotion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy and unweighted average recall [members] of the held-out source."""
    log_p = np.asarray(jax.nn.log_softmax(logits))  # [members, n, classes]
    risk = -log_p[:, np.arange(len(emotion)), emotion].mean(1)
    uar = unweighted_average_recall(emotion, logits.argmax(-1))
    return risk.astype(np.float32), uar.astype(np.float32)
