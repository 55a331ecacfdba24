"""Who is trained on, adapted to and scored: splits of the source and the target, as rows.

Target labels serve the supervised ceiling alone; the splits of every other method are made without them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann.errors import InputError

_SPEAKERS_TO_HOLD_OUT = (
    8  # with fewer source speakers, validation holds out utterances: a speaker is too dear
)


class Split(NamedTuple):
    """Rows of one training. The source of a supervised split is the target itself."""

    name: str
    source: np.ndarray  # [n] int, labelled rows to learn from
    validation: np.ndarray  # [v] int, labelled rows of the source to select by; may be empty
    target: np.ndarray  # [m] int, rows to adapt to, without labels
    test: np.ndarray  # [t] int, rows of the target to predict


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
      speaker: [n] the source's speakers.
      targets: utterances of the target.
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
      speaker: [n] the source's speakers.
      target_speaker: [m] the target's speakers.
      folds: at most; with fewer speakers, one each.
      validation_fraction: part of the source to hold out.
      seed: of the draws.

    Raises:
      InputError: a target speaker is unknown, or there is but one.
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
    """The ceiling: learns from labelled target utterances and predicts the others, in folds.

    Args:
      emotion: [m] int, the target's labels, -1 where unlabelled (neither learnt from nor predicted).
      speaker: [m] the target's speakers.
      folds: at most.
      by_speaker: True: no speaker is on both sides. False: a random split, stratified by emotion, as in the poster; it
        recognises speakers and sentences again, and flatters.
      validation_fraction: part of the training rows to hold out.
      seed: of the draws.

    Raises:
      InputError: by_speaker, and a speaker is unknown or there is but one; or too few labelled utterances.
    """
    labelled = np.flatnonzero(emotion >= 0)
    if len(labelled) < 2 * folds:
        raise InputError(
            f"config.methods names supervised, and the target has {len(labelled)} labelled utterances; expected at least "
            f"{2 * folds}: leave it out, or label the target"
        )
    if by_speaker:
        fold = np.full(len(emotion), -1)
        fold[labelled] = speaker_folds(
            [speaker[i] for i in labelled.tolist()], folds, seed, "config.methods=supervised"
        )
    else:
        fold = np.zeros(len(emotion), int)
        random = np.random.default_rng([seed, 17])
        for label in np.unique(emotion[labelled]):
            rows = random.permutation(np.flatnonzero(emotion == label))
            fold[rows] = (np.arange(len(rows)) + label) % folds
    splits = []
    for k in range(fold.max() + 1):
        rows = np.flatnonzero((fold != k) & (emotion >= 0))
        source, validation = hold_out(emotion, speaker, validation_fraction, seed, rows)
        splits.append(
            Split(
                f"fold{k}", source, validation, rows, np.flatnonzero((fold == k) & (emotion >= 0))
            )
        )
    return splits


def hold_out(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    fraction: float,
    seed: int,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides labelled rows into those to learn from and those to validate on.

    By speaker where there are at least eight, so that validation hears new voices; else by utterance within each emotion.

    Args:
      emotion: [n] int, -1 where unlabelled.
      speaker: [n], None where unknown.
      fraction: of the rows (or the speakers, at least one) to hold out; 0: none.
      seed: of the draw.
      rows: [r] int, the rows to divide; None: all.

    Returns:
      Rows to learn from and rows to validate on, both labelled and in ascending order.
    """
    rows = np.flatnonzero(emotion >= 0) if rows is None else rows[emotion[rows] >= 0]
    random = np.random.default_rng([seed, 11])
    if fraction == 0:
        return rows, rows[:0]
    of_row = np.array([speaker[i] or "" for i in rows])
    names = np.unique(of_row)
    if len(names) >= _SPEAKERS_TO_HOLD_OUT:
        chosen = random.permutation(names)[: max(1, round(fraction * len(names)))]
        held = np.isin(of_row, chosen)
        if set(emotion[rows[~held]]) == set(emotion[rows]):
            return rows[~held], rows[held]
    held = np.zeros(len(rows), bool)
    for label in np.unique(emotion[rows]):
        of_label = random.permutation(np.flatnonzero(emotion[rows] == label))
        held[of_label[: min(round(fraction * len(of_label)), len(of_label) - 1)]] = True
    return rows[~held], rows[held]


def speaker_folds(
    speaker: Sequence[str | None], folds: int, seed: int, wanted_by: str
) -> np.ndarray:
    """Gives each speaker to one of `folds` folds of nearly equal size.

    Returns:
      [n] int, each utterance's fold.

    Raises:
      InputError: a speaker is unknown, or there is but one; `wanted_by` names the option that needs them.
    """
    unknown = sum(s is None for s in speaker)
    if unknown:
        raise InputError(
            f"{wanted_by}: {unknown} of {len(speaker)} target utterances have no speaker; name them, or drop it"
        )
    names = sorted({s for s in speaker if s is not None})
    if len(names) < 2:
        raise InputError(
            f"{wanted_by}: the target has one speaker, {names[0]}; expected at least two, or drop it"
        )
    folds = min(folds, len(names))
    order = np.random.default_rng([seed, 13]).permutation(len(names))
    fold_of = {names[i]: k % folds for k, i in enumerate(order)}
    return np.array([fold_of[s] for s in speaker if s is not None])
