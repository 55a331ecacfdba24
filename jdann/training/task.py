"""What one training is given, and what it leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.data.batches import TrainingData
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.methods import Method
from jdann.training.members import CompiledTraining, Members
from jdann.training.state import State

LAST = "last"  # the selection that takes the last record


class Task(NamedTuple):
    """What one training learns from. There is no field for the target's labels."""

    name: str  # for the log
    split: Split
    data: TrainingData
    group: np.ndarray  # [rows of data.source] int, their corpus: batches are balanced over them
    test_size: int  # rows of the largest test split, so that every fold has the same shapes
    evidence_sizes: tuple[int, int, int]
    # How many rows the selection criteria see: of held-out source, trained-on source, and target.
    identity: bytes  # digest of what the rows mean; a checkpoint with another digest is refused
    target_speaker: np.ndarray  # [rows of data.target] int, -1 where unknown


def labelled_rows(task: Task) -> np.ndarray:
    """The rows of `data.source` [k] that are the utterances of `split.labelled`: the last ones."""
    count = len(task.data.emotion)
    return np.arange(count - len(task.split.labelled), count)


def target_labels(task: Task, classes: int) -> jax.Array:
    """The labels that the user gives, one-hot [k, classes], for the rows of `split.labelled`."""
    return jax.nn.one_hot(jnp.asarray(task.data.emotion)[labelled_rows(task)], classes)


class Budget(NamedTuple):
    """How long to train and how often to record."""

    epochs: int
    phases: tuple[int, ...]  # epochs of each phase
    steps: int  # in an epoch
    batch_size: int
    record_at: tuple[int, ...]  # epochs done at which outputs are recorded; the last is `epochs`
    checkpoint_every_s: float


class Progress(NamedTuple):
    """All that a training has so far, which is what a checkpoint holds. Shapes never change."""

    state: State
    chosen: Any  # the moving average at the record that the selection prefers, per member
    history: dict[str, np.ndarray]  # [epochs, members], NaN where not yet known
    criteria: dict[str, np.ndarray]  # [records, members], NaN where there is no value
    test_logits: np.ndarray  # [records, members, test, classes] float32
    diverged_at: np.ndarray  # [members] int32, the step of the first non-finite number, else -1


class Fitted(NamedTuple):
    """What a training leaves."""

    state: State  # after the last step
    chosen_state: State  # at the record that the selection prefers, per member
    history: dict[str, np.ndarray]  # [epochs, members] means over the steps of each epoch
    test_logits: np.ndarray  # [records, members, test, classes] float32, for scoring afterwards
    criteria: dict[str, np.ndarray]  # [records, members], NaN where a criterion has no value
    record_at: tuple[int, ...]  # epochs
    diverged: tuple[str | None, ...]  # per member, where its numbers ceased to be finite


class Run(NamedTuple):
    """What stays the same during one training."""

    training: CompiledTraining
    task: Task
    budget: Budget
    members: Members
    keys: jax.Array  # [members]
    selection: str  # LAST, or a criterion of `jdann.selection`


def make_budget(
    splits: Sequence[Split],
    method: Method,
    *,
    epochs: int,
    batch_size: int,
    evaluate_every: int,
    checkpoint_every_s: float,
) -> Budget:
    """The budget of trainings on `splits`, the same for each.

    Raises:
      InputError: there are fewer epochs than the method has phases.
    """
    sizes = [len(split.source) + len(split.labelled) for split in splits]
    steps = -(-max(sizes) // batch_size)
    record_at = tuple(range(epochs, 0, -evaluate_every))[::-1]
    phases = _epochs_per_phase(epochs, method)
    return Budget(epochs, phases, steps, batch_size, record_at, checkpoint_every_s)


def _epochs_per_phase(epochs: int, method: Method) -> tuple[int, ...]:
    """Divides the epochs by the phases' fractions; each phase has at least one."""
    count = len(method.phases)
    if epochs < count:
        names = ", ".join(phase.name for phase in method.phases)
        raise InputError(
            f"config.epochs is {epochs}, but a method of config.methods has {count} phases "
            f"({names}); allow at least one epoch for each"
        )
    fractions = np.array([phase.fraction for phase in method.phases])
    ends = [0]
    for i, end in enumerate(np.cumsum(fractions) / sum(fractions)):
        latest = epochs - (count - 1 - i)
        ends.append(min(max(round(float(end) * epochs), ends[-1] + 1), latest))
    return tuple(int(n) for n in np.diff(ends))
