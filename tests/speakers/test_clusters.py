"""Groups of voices: clusters that are none, emotions in the vectors, and the number of groups."""

import numpy as np
import pytest

from jdann.speakers.clusters import divide, group_voices, holds_many, without_emotion

DIMENSIONS, CLASSES = 20, 4


def draw(speakers: int, n: int, *, of_speaker: float, of_emotion: float, seed: int = 0):
    """Vectors [speakers * n, DIMENSIONS] with the speaker and emotion of each."""
    rng = np.random.default_rng(seed)
    speaker, emotion = np.repeat(np.arange(speakers), n), np.tile(np.arange(n), speakers) % CLASSES
    voices = rng.normal(size=(speakers, DIMENSIONS)) * of_speaker
    shifts = rng.normal(size=(CLASSES, DIMENSIONS)) * of_emotion
    noise = rng.normal(size=(len(speaker), DIMENSIONS))
    return voices[speaker] + shifts[emotion] + noise, speaker, emotion


def purity(group: np.ndarray, truth: np.ndarray) -> float:
    """The share of utterances that belong to the most frequent truth of their group."""
    most = sum(np.bincount(truth[group == number]).max() for number in np.unique(group))
    return most / len(truth)


@pytest.mark.parametrize("seed", range(2))
def test_one_cloud_is_not_divided(seed):
    vectors, _, _ = draw(1, 200, of_speaker=0, of_emotion=0, seed=seed)
    stretched = vectors * np.linspace(0.1, 3, DIMENSIONS)
    assert divide(vectors).max() == divide(stretched).max() == 0


def test_distinct_clusters_are_found():
    vectors, speaker, _ = draw(4, 60, of_speaker=2, of_emotion=0)
    group = divide(vectors)
    assert sorted(np.unique(group)) == list(range(4))
    assert purity(group, speaker) == purity(speaker, group) == 1


def test_few_vectors_stay_together():
    vectors, _, _ = draw(2, 15, of_speaker=5, of_emotion=0)
    assert divide(vectors).max() == 0


def test_emotions_are_removed_and_speakers_stay():
    vectors, speaker, emotion = draw(2, 200, of_speaker=1, of_emotion=2)
    cleaned = without_emotion(vectors, np.eye(CLASSES)[emotion], np.zeros(400, int))

    def spread(by, x):
        means = np.stack([x[by == number].mean(0) for number in np.unique(by)])
        return np.square(means - means.mean(0)).sum()

    assert spread(emotion, cleaned) < 0.02 * spread(emotion, vectors)
    assert spread(speaker, cleaned) == pytest.approx(spread(speaker, vectors), rel=0.05)


def test_an_emotion_that_nobody_shows_removes_nothing():
    vectors, _, _ = draw(2, 40, of_speaker=1, of_emotion=0)
    nobody = np.zeros((80, CLASSES))
    np.testing.assert_array_equal(without_emotion(vectors, nobody, np.zeros(80, int)), vectors)


def test_uncertain_probabilities_remove_as_much():
    vectors, _, emotion = draw(2, 200, of_speaker=1, of_emotion=2)
    certain, group = np.eye(CLASSES)[emotion], np.zeros(400, int)
    cleaned = [without_emotion(vectors, p, group) for p in (certain, 0.6 * certain + 0.1)]
    centred = [x - x.mean(0) for x in cleaned]
    np.testing.assert_allclose(centred[0], centred[1], atol=0.1)


def test_groups_are_speakers_although_emotions_differ_more():
    vectors, speaker, emotion = draw(4, 40, of_speaker=2, of_emotion=1.5)
    vectors[speaker >= 2] += 3  # women and men
    probabilities = np.eye(CLASSES)[emotion] * 0.6 + 0.1
    group = group_voices(vectors, lambda _: probabilities).number
    assert purity(group, speaker) > 0.95 and group.max() == 3
    assert divide(vectors).max() > 3  # the emotions, too


def test_one_speaker_remains_one_group():
    vectors, _, emotion = draw(1, 200, of_speaker=0, of_emotion=0.4)
    probabilities = np.eye(CLASSES)[emotion]
    groups = group_voices(vectors, lambda _: probabilities)
    assert groups.number.max() == 0 and not groups.is_mixed.any()


def test_the_same_seed_gives_the_same_groups():
    vectors, _, emotion = draw(2, 30, of_speaker=1, of_emotion=0.5)
    first, second = (group_voices(vectors, lambda _: np.eye(CLASSES)[emotion]) for _ in range(2))
    np.testing.assert_array_equal(first.number, second.number)


@pytest.mark.parametrize("seed", range(3))
def test_a_group_of_many_persons_is_recognised(seed):
    # The persons differ so little that no division in two stands out.
    vectors, _, _ = draw(10, 25, of_speaker=1.0, of_emotion=0, seed=seed)
    cloud, _, _ = draw(1, 250, of_speaker=0, of_emotion=0, seed=seed)
    assert holds_many(vectors) and not holds_many(cloud)
    assert not holds_many(vectors[::3])  # too few to tell
