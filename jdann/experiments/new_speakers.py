"""The reference that a run keeps for new speakers, and predictions for target speakers that a
training did not hear.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jdann.data.batches import Frames, StoredFrames, take_vectors
from jdann.data.pairs import Direction, is_by_speaker
from jdann.data.splits import Split
from jdann.evaluation.metrics import mean_probabilities
from jdann.features.prosody import has_two_views
from jdann.inference.model import NOT_ADAPTED, Reference
from jdann.inference.new_speakers import co_train, make_reference
from jdann.methods.one_speaker import mean_log_posteriors, mix, share_of_views
from jdann.training.members import CompiledTraining
from jdann.training.records import outputs
from jdann.training.task import Fitted

ADAPTED = ", adapted to each speaker"  # ends the method's name in a row of results.json


def can_co_train(direction: Direction) -> bool:
    """Whether the models of a direction can co-train on new speakers.

    That needs two views, normalised by speaker in both domains: new speakers are normalised so.
    """
    return has_two_views(direction.source.bins) and all(
        is_by_speaker(domain) for domain in (direction.source, direction.target)
    )


def make_ensemble_reference(
    method: str,
    splits: Sequence[Split],
    direction: Direction,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
) -> Reference:
    """What source and target tell about emotions, with the labels that the ensemble predicts.

    Args:
      method: a method that does not adapt to the target learns from labels alone.
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
    labelled = np.unique(np.concatenate([split.labelled for split in splits]))
    return _make_reference(method, direction, splits[0]._replace(labelled=labelled), totals)


def predict_new_speakers(
    method: str,
    splits: Sequence[Split],
    direction: Direction,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
) -> np.ndarray:
    """Log posteriors [seeds, n, classes] of the target, after adaptation to each new speaker.

    Each speaker of a split's test rows is a new one: the split's training has not heard them. The
    model that each seed has trained adapts to all clips of one speaker. It uses no labels of these
    clips, and co-trains on no clip of another new speaker. Utterances that no split tests have
    zeros. The arguments are those of `make_ensemble_reference`.
    """
    target = direction.target
    members, classes = fitted[0].test_logits.shape[1], _classes(fitted)
    answers = np.zeros((members, len(target.emotion), classes), np.float32)
    speakers = np.array(target.speaker, str)  # the inductive protocol refuses unknown ones
    for split, result in zip(splits, fitted, strict=True):
        logits = _target_logits(direction, training, split, result)
        tested = _target_logits(direction, training, split._replace(target=split.test), result)
        for member in range(members):
            labels = np.zeros((len(target.emotion), classes))
            labels[split.target] = np.nan_to_num(
                mean_probabilities(logits[member : member + 1], 1.0)
            )
            reference = _make_reference(method, direction, split, labels)
            for speaker in np.unique(speakers[split.test]):
                rows = split.test[speakers[split.test] == speaker]
                features = _vectors(direction.target_frames, rows)
                of_views = mean_log_posteriors(co_train(reference, features), jnp.asarray(features))
                of_network = jnp.asarray(tested[member, np.isin(split.test, rows)])
                answers[member, rows] = mix(of_network, of_views, share_of_views(len(rows)))
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
    method: str, direction: Direction, split: Split, predicted: np.ndarray
) -> Reference:
    """A reference in which source and adapted target have the same total weight.

    A class without any label gets nothing. A label that the user gives counts as one clip of the
    source if the method does not adapt.

    Args:
      method: as for `make_ensemble_reference`.
      direction: its domains.
      split: the source utterances and the user's labels to use.
      predicted: [n, classes] probabilities of the whole target, times any weight; 0: not adapted
        to.
    """
    one_hot, given = np.eye(predicted.shape[1]), split.labelled
    source = np.concatenate([split.source, split.validation])
    emotion = direction.source.emotion[source]
    source_labels = one_hot[emotion] * (emotion >= 0)[:, None]
    present = source_labels.sum(0) > 0
    present[direction.target.target_labels[given]] = True
    adapts = not method.startswith(NOT_ADAPTED)
    labels = predicted * present * adapts
    labels /= np.maximum(labels.sum(1, keepdims=True), 1e-12)
    labels[given] = one_hot[direction.target.target_labels[given]]
    used = np.flatnonzero(labels.sum(1) > 0)
    weight = source_labels.sum() / len(used) if adapts and len(used) else 1.0
    features = [_vectors(direction.source_frames, source), _vectors(direction.target_frames, used)]
    return make_reference(
        np.concatenate(features), np.concatenate([source_labels, labels[used] * weight])
    )


def _vectors(frames: Frames | StoredFrames, rows: np.ndarray) -> np.ndarray:
    """The normalised statistics [n, values] float32 of utterances."""
    assert isinstance(frames, Frames)  # vectors are few, so they are always on the device
    return np.asarray(take_vectors(frames, rows))
