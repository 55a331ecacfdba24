"""Groups of persons are told from groups of emotions."""

import numpy as np
import pytest

from jdann.speakers.clusters import VoiceGroups
from jdann.speakers.voice_shares import Voices, explained, read_voices, share

COUNT = 240
PERSON, EMOTION = np.arange(COUNT) % 4, np.arange(COUNT) // 4 % 5


def make_voices() -> Voices:
    """Persons differ in pitch and formant; emotions differ in expression and, less, in pitch."""
    noise = np.random.default_rng(0).normal(size=(4, COUNT))
    return Voices(
        pitch=2 * PERSON + EMOTION + noise[0],
        formant=2 * PERSON + noise[1],
        expression=np.stack([EMOTION + noise[2], noise[3]], 1),
    )


def groups_of(number: np.ndarray, is_mixed: np.ndarray | None = None) -> VoiceGroups:
    return VoiceGroups(number, np.zeros(COUNT, bool) if is_mixed is None else is_mixed)


def test_share_is_the_omega_squared_of_an_analysis_of_variance():
    scipy_stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    group = random.integers(0, 5, 200)
    values = random.normal(size=200) + 0.7 * group
    f = scipy_stats.f_oneway(*(values[group == k] for k in range(5))).statistic
    assert share(values, group) == pytest.approx(4 * (f - 1) / (4 * (f - 1) + 200))
    assert share(np.ones(10), np.arange(10) % 2) == 0


def test_persons_differ_in_voice_and_emotions_in_expression():
    voices = make_voices()
    persons, emotions = explained(voices, PERSON), explained(voices, EMOTION)
    assert persons.formant > 0.5 > 0.1 > persons.expression and persons.are_of_persons
    assert emotions.expression > 0.5 > 0.1 > emotions.formant and not emotions.are_of_persons
    chosen = voices.select(EMOTION == 0)
    assert len(chosen.pitch) == len(chosen.expression) == (EMOTION == 0).sum()


def test_groups_of_emotions_and_one_group_of_all_follow_no_persons():
    voices = make_voices()
    assert groups_of(PERSON).follow_persons(voices)
    assert groups_of(PERSON // 2).follow_persons(voices)  # two persons in each
    assert not groups_of(EMOTION).follow_persons(voices)
    assert not groups_of(np.zeros(COUNT, int)).follow_persons(voices)
    # An emotion of a person, as in a clustering of vectors that tell both.
    assert not groups_of(2 * EMOTION + PERSON // 2).follow_persons(
        voices._replace(formant=voices.formant + 4 * np.random.default_rng(1).normal(size=COUNT))
    )


def test_without_formants_the_groups_are_taken_as_they_are():
    positions, bins = np.zeros((COUNT, 1)), ("pitch/range_20_80", "loudness/range_20_80")
    assert read_voices(positions, list, bins) is None
    assert read_voices(None, list, bins) is None
    assert groups_of(EMOTION).follow_persons(None)


def test_more_than_two_groups_of_many_persons_follow_no_persons():
    assert not groups_of(PERSON, PERSON > 0).follow_persons(make_voices())
    assert groups_of(PERSON, PERSON > 1).follow_persons(make_voices())
