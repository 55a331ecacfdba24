"""Who is trained on, adapted to and scored: splits of the source and the target, as rows.

Target labels serve only the supervised ceiling. The splits of every other method are made without
them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann.errors import InputError

# With fewer source speakers, validation holds out utterances, because a whole speaker would cost
# too much training data.
_MINIMUM_SPEAKERS = 8
# Purposes of random draws, so that no two draws of one seed are the same.
_HOLD_OUT, _SPEAKER_FOLDS, _RANDOM_FOLDS = 11, 13, 17


class Split(NamedTuple):
    """Rows of one training. In a supervised split the source is the target itself."""

    name: str
    source: np.ndarray  # [n] int, labelled rows to train on
    validation: np.ndarray  # [v] int, labelled rows of the source to select by; may be empty
    target: np.ndarray  # [m] int, rows to adapt to, without labels
    test: np.ndarray  # [t] int, rows of the target to predict
    # [k] int, rows among `target` whose labels are trained on (config.target_labels)
    labelled: np.ndarray = np.zeros(0, int)


def transductive(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    targets: int,
    validation_fraction: float,
    seed: int,
) -> list[Split]:
    """Adapts to all target audio and predicts that audio.

    Args:
      emotion: [n] int, the source's labels, -1 where unlabelled.
      speaker: [n] the source's speakers, None where unknown.
      targets: number of target utterances.
      validation_fraction: part of the source to hold out.
      seed: of the draw.
    """
    source, validation = hold_out(emotion, speaker, validation_fraction, seed)
    everything = np.arange(targets)
    return [Split("all", source, validation, everything, everything)]


def inductive(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    target_speaker: Sequence[str | None],
    folds: int,
    validation_fraction: float,
    seed: int,
) -> list[Split]:
    """Adapts to some target speakers and predicts the others, in speaker-disjoint folds.

    Args:
      emotion: [n] int, the source's labels, -1 where unlabelled.
      speaker: [n] the source's speakers, None where unknown.
      target_speaker: [m] the target's speakers.
      folds: at most; with fewer speakers, one fold per speaker.
      validation_fraction: part of the source to hold out.
      seed: of the draws.

    Raises:
      InputError: a target speaker is unknown, or there is only one.
    """
    source, validation = hold_out(emotion, speaker, validation_fraction, seed)
    fold = speaker_folds(target_speaker, folds, seed, "config.protocol=inductive")
    return [
        Split(f"fold{k}", source, validation, np.flatnonzero(fold != k), np.flatnonzero(fold == k))
        for k in range(fold.max() + 1)
    ]


def supervised(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    folds: int,
    by_speaker: bool,
    validation_fraction: float,
    seed: int,
) -> list[Split]:
    """The ceiling: trains on labelled target utterances and predicts the others, in folds.

    Args:
      emotion: [m] int, the target's labels. Utterances with -1 are neither trained on nor
        predicted.
      speaker: [m] the target's speakers.
      folds: at most.
      by_speaker: True: each speaker is in one fold only. False: a random split, stratified by
        emotion, as in the poster. It recognises speakers and sentences again, so that its figures
        are too good.
      validation_fraction: part of the training rows to hold out.
      seed: of the draws.

    Raises:
      InputError: with `by_speaker`, a speaker is unknown or there is only one; or there are too few
        labelled utterances.
    """
    labelled = np.flatnonzero(emotion >= 0)
    if len(labelled) < 2 * folds:
        raise InputError(
            f"config.methods names supervised, and the target has {len(labelled)} labelled "
            f"utterances; expected at least {2 * folds}: leave it out, or label the target"
        )
    fold = np.full(len(emotion), -1)
    if by_speaker:
        speakers = [speaker[i] for i in labelled.tolist()]
        fold[labelled] = speaker_folds(speakers, folds, seed, "config.methods=supervised")
    else:
        random = np.random.default_rng([seed, _RANDOM_FOLDS])
        for label in np.unique(emotion[labelled]):
            rows = random.permutation(np.flatnonzero(emotion == label))
            fold[rows] = (np.arange(len(rows)) + label) % folds
    splits = []
    for k in range(fold.max() + 1):
        rows = np.flatnonzero((fold != k) & (emotion >= 0))
        source, validation = hold_out(emotion, speaker, validation_fraction, seed, rows)
        splits.append(Split(f"fold{k}", source, validation, rows, np.flatnonzero(fold == k)))
    return splits


def with_target_labels(split: Split, labelled: np.ndarray) -> Split:
    """Trains on the labels of some of the adapted utterances, and predicts none of them.

    In an inductive split the labels of test speakers are not used.

    Args:
      split: of any method but the supervised ceiling.
      labelled: [k] int, rows of the target whose labels the user gives.

    Raises:
      InputError: no utterance is left to predict.
    """
    test = without_labelled(split.test, labelled)
    return split._replace(test=test, labelled=np.intersect1d(labelled, split.target))


def without_labelled(test: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The rows to predict without those whose labels the user gives.

    Raises:
      InputError: no row is left.
    """
    rest = np.setdiff1d(test, labelled)
    if not len(rest):
        raise InputError(
            "config.target_labels names every utterance of the target speakers of a fold; leave "
            "some to be scored, or lower config.folds"
        )
    return rest


def hold_out(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    fraction: float,
    seed: int,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides labelled rows into those to train on and those to validate on.

    Whole speakers are held out, so that validation hears new voices, if at least eight speakers are
    known and most utterances have one. Utterances of unknown speaker are then trained on. Otherwise
    utterances are held out, within each emotion.

    Args:
      emotion: [n] int, -1 where unlabelled.
      speaker: [n], None where unknown.
      fraction: of the rows, or of the speakers (at least one), to hold out; 0: none.
      seed: of the draw.
      rows: [r] int, the rows to divide; None: all.

    Returns:
      Rows to train on and rows to validate on, both labelled and in ascending order.
    """
    rows = np.flatnonzero(emotion >= 0) if rows is None else rows[emotion[rows] >= 0]
    random = np.random.default_rng([seed, _HOLD_OUT])
    if fraction == 0:
        return rows, rows[:0]
    row_speaker = np.array([speaker[i] or "" for i in rows])
    names = np.unique(row_speaker[row_speaker != ""])
    if len(names) >= _MINIMUM_SPEAKERS and np.mean(row_speaker != "") > 0.5:
        chosen = random.permutation(names)[: max(1, round(fraction * len(names)))]
        held_out = np.isin(row_speaker, chosen)
        if set(emotion[rows[~held_out]]) == set(emotion[rows]):
            return rows[~held_out], rows[held_out]
    held_out = np.zeros(len(rows), bool)
    for label in np.unique(emotion[rows]):
        candidates = random.permutation(np.flatnonzero(emotion[rows] == label))
        count = min(round(fraction * len(candidates)), len(candidates) - 1)
        held_out[candidates[:count]] = True
    return rows[~held_out], rows[held_out]


def speaker_folds(
    speaker: Sequence[str | None], folds: int, seed: int, wanted_by: str
) -> np.ndarray:
    """Puts each speaker into one of `folds` folds of nearly equal size.

    Returns:
      [n] int, the fold of each utterance.

    Raises:
      InputError: a speaker is unknown, or there is only one; `wanted_by` names the option that
        needs speakers.
    """
    unknown = sum(s is None for s in speaker)
    if unknown:
        raise InputError(
            f"{wanted_by}: {unknown} of {len(speaker)} target utterances have no speaker; "
            "name the speakers, or drop the option"
        )
    names = sorted({s for s in speaker if s is not None})
    if len(names) < 2:
        raise InputError(
            f"{wanted_by}: the target has one speaker, {names[0]}; expected at least two, or drop "
            "the option"
        )
    folds = min(folds, len(names))
    order = np.random.default_rng([seed, _SPEAKER_FOLDS]).permutation(len(names))
    fold_of_speaker = {names[i]: k % folds for k, i in enumerate(order)}
    return np.array([fold_of_speaker[s] for s in speaker if s is not None])
