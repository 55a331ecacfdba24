"""Splits keep apart what must be kept apart."""

import numpy as np
import pytest

from jdann.data import splits
from jdann.errors import InputError

EMOTION = np.tile(np.arange(5), 24).astype(np.int32)  # 120 utterances
TEN = [f"s{i % 10}" for i in range(120)]
FOUR = [f"t{i // 30}" for i in range(120)]


def test_hold_out_is_by_speaker_where_there_are_enough():
    train, validation = splits.hold_out(EMOTION, TEN, 0.2, seed=0)
    assert not {TEN[i] for i in train} & {TEN[i] for i in validation}
    assert sorted([*train, *validation]) == list(range(120))
    train, validation = splits.hold_out(EMOTION, FOUR, 0.2, seed=0)
    assert {FOUR[i] for i in train} == set(FOUR)
    np.testing.assert_array_equal(np.bincount(EMOTION[validation]), [5] * 5)


@pytest.mark.parametrize("known", [80, 600, 1000])
def test_utterances_of_unknown_speaker_are_not_held_out_as_one_speaker(known):
    emotion = np.tile(np.arange(5), 200)
    speaker = [f"s{i % 8}" if i < known else None for i in range(1000)]
    train, validation = splits.hold_out(emotion, speaker, 0.1, seed=0)
    assert sorted([*train, *validation]) == list(range(1000))
    if known == 80:  # too few utterances have a speaker: a tenth of each emotion
        np.testing.assert_array_equal(np.bincount(emotion[validation]), [20] * 5)
    else:  # one of eight speakers
        assert len(validation) == known // 8
        assert len({speaker[i] for i in validation}) == 1


def test_unlabelled_source_rows_are_never_learnt_from():
    emotion = EMOTION.copy()
    emotion[:20] = -1
    train, validation = splits.hold_out(emotion, FOUR, 0.1, seed=0)
    assert min([*train, *validation]) == 20
    assert len(splits.hold_out(emotion, FOUR, 0.0, seed=0)[1]) == 0


def test_transductive_scores_what_it_adapts_to():
    (split,) = splits.transductive(EMOTION, TEN, targets=7, validation_fraction=0.1, seed=0)
    np.testing.assert_array_equal(split.target, np.arange(7))
    np.testing.assert_array_equal(split.test, np.arange(7))


def test_inductive_scores_unseen_speakers_once_each():
    folds = splits.inductive(EMOTION, TEN, FOUR, folds=5, validation_fraction=0.1, seed=0)
    assert len(folds) == 4  # as many as there are speakers
    for split in folds:
        assert not {FOUR[i] for i in split.target} & {FOUR[i] for i in split.test}
    assert sorted(np.concatenate([s.test for s in folds])) == list(range(120))


@pytest.mark.parametrize("by_speaker", [False, True])
def test_supervised_predicts_every_labelled_utterance_once(by_speaker):
    emotion = EMOTION.copy()
    emotion[:4] = -1
    folds = splits.supervised(emotion, FOUR, 4, by_speaker, 0.1, seed=0)
    assert sorted(np.concatenate([s.test for s in folds])) == list(range(4, 120))
    for split in folds:
        training_rows = {*split.source, *split.validation}
        assert not training_rows & set(split.test)
        assert (emotion[list(training_rows)] >= 0).all()
        overlap = {FOUR[i] for i in training_rows} & {FOUR[i] for i in split.test}
        assert bool(overlap) != by_speaker


def test_what_folds_need_is_named():
    with pytest.raises(InputError, match="no speaker"):
        splits.inductive(EMOTION, TEN, [None] * 120, 5, 0.1, 0)
    with pytest.raises(InputError, match="one speaker"):
        splits.inductive(EMOTION, TEN, ["x"] * 120, 5, 0.1, 0)
    with pytest.raises(InputError, match="labelled utterances"):
        splits.supervised(np.full(120, -1), FOUR, 5, False, 0.1, 0)


def test_labels_of_test_speakers_are_not_used_and_no_labelled_utterance_is_scored():
    labelled = np.array([2, 31, 32, 119])
    folds = splits.inductive(EMOTION, TEN, FOUR, folds=5, validation_fraction=0.1, seed=0)
    changed = [splits.with_target_labels(split, labelled) for split in folds]
    for before, after in zip(folds, changed, strict=True):
        np.testing.assert_array_equal(after.target, before.target)  # adapted to as before
        assert {FOUR[i] for i in after.labelled}.isdisjoint(FOUR[i] for i in after.test)
        assert set(after.labelled) == set(labelled) & set(before.target)
    scored = np.concatenate([s.test for s in changed])
    np.testing.assert_array_equal(np.sort(scored), np.setdiff1d(np.arange(120), labelled))
    with pytest.raises(InputError, match="names every utterance of the target speakers of a fold"):
        splits.with_target_labels(folds[0], folds[0].test)
