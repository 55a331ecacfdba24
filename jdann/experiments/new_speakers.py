"""What a run leaves for new speakers, and what the target's unheard speakers get from it."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jdann.data.batches import Frames, StoredFrames, read_frames, take_vectors
from jdann.data.pairs import Direction
from jdann.data.splits import Split
from jdann.evaluation.metrics import mean_probabilities
from jdann.inference.model import NOT_ADAPTED, Reference
from jdann.inference.new_speakers import co_train, make_reference
from jdann.methods.one_speaker import mean_log_posteriors
from jdann.training.members import CompiledTraining
from jdann.training.records import outputs
from jdann.training.task import Fitted


def can_co_train(config: Any) -> bool:
    """Whether the models of a run can co-train on new speakers.

    That needs statistics which can be normalised for each speaker.
    """
    by = config.features.normalise
    return config.features.recipe == "statistics" and by in ("speaker", "voice", "corpus")


def make_ensemble_reference(
    method: str,
    splits: Sequence[Split],
    direction: Direction,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
) -> Reference:
    """What source and target tell about emotions, with the labels that the ensemble predicts.

    Args:
      method: a method that does not adapt to the target learns from the source alone.
      splits: of a job, which is not supervised.
      direction: its domains.
      training: its compiled functions.
      fitted: what each split's training has left.
    """
    totals = np.zeros((len(direction.target.emotion), _classes(fitted)))
    for split, result in zip(splits, fitted, strict=True):
        finite = [place is None for place in result.diverged]
        if any(finite):
            logits = _target_logits(direction, training, split, result)[finite]
            totals[split.target] += mean_probabilities(logits, 1.0)
    labels = totals / np.maximum(totals.sum(1, keepdims=True), 1e-12)
    return _make_reference(method, direction, splits[0], labels)


def predict_new_speakers(
    method: str,
    splits: Sequence[Split],
    direction: Direction,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
) -> np.ndarray:
    """Log posteriors [seeds, n, classes] of the target, after co-training on each new speaker.

    Each speaker of a split's test rows is a new one: the split's training has not heard them. The
    model that each seed has trained adapts to all clips of one speaker, without their labels and
    without those of any other new speaker. Utterances that no split tests have zeros. The
    arguments are those of `make_ensemble_reference`.
    """
    target = direction.target
    members, classes = fitted[0].test_logits.shape[1], _classes(fitted)
    answers = np.zeros((members, len(target.emotion), classes), np.float32)
    speakers = np.array([speaker or "" for speaker in target.speaker])
    for split, result in zip(splits, fitted, strict=True):
        logits = _target_logits(direction, training, split, result)
        for member in range(members):
            labels = np.zeros((len(target.emotion), classes))
            labels[split.target] = mean_probabilities(logits[member : member + 1], 1.0)
            reference = _make_reference(method, direction, split, np.nan_to_num(labels))
            for speaker in np.unique(speakers[split.test]):
                rows = split.test[speakers[split.test] == speaker]
                features = _vectors(direction.target_frames, rows)
                views = co_train(reference, features)
                answers[member, rows] = mean_log_posteriors(views, jnp.asarray(features))
    return answers


def _classes(fitted: Sequence[Fitted]) -> int:
    return fitted[0].test_logits.shape[-1]


def _target_logits(
    direction: Direction, training: CompiledTraining, split: Split, result: Fitted
) -> np.ndarray:
    """Logits [members, m, classes] of the rows that a training has adapted to."""
    frames = direction.target_frames
    evaluated = outputs(training, result.chosen_state, frames, split.target, "target")
    return np.asarray(evaluated.logits)


def _make_reference(
    method: str, direction: Direction, split: Split, target_labels: np.ndarray
) -> Reference:
    """A reference in which source and target have the same weight.

    Args:
      method: as for `make_ensemble_reference`.
      direction: its domains.
      split: the source utterances to use.
      target_labels: [n, classes] of the whole target; rows of zeros are not used. They are
        replaced by the labels that the user gave.
    """
    classes = target_labels.shape[1]
    one_hot = np.eye(classes)
    source, target = np.concatenate([split.source, split.validation]), direction.target
    source_emotion = direction.source.emotion[source]
    source_labels = one_hot[source_emotion] * (source_emotion >= 0)[:, None]
    labels = target_labels * (not method.startswith(NOT_ADAPTED))
    given = split.labelled
    labels[given] = one_hot[target.target_labels[given]]
    used = np.flatnonzero(labels.sum(1) > 0)
    weight = source_labels.sum() / max(len(used), 1)
    features = [_vectors(direction.source_frames, source), _vectors(direction.target_frames, used)]
    return make_reference(
        np.concatenate(features), np.concatenate([source_labels, labels[used] * weight])
    )


def _vectors(frames: Frames | StoredFrames, rows: np.ndarray) -> np.ndarray:
    """The normalised statistics [n, values] float32 of utterances."""
    if isinstance(frames, StoredFrames):
        frames, rows = read_frames(frames, rows), np.arange(len(rows))
    return np.asarray(take_vectors(frames, rows))
