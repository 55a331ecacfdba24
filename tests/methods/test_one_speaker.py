"""Co-training on one speaker: the estimate of its moments, what it learns, and what it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant, one_speaker
from jdann.methods.co_training import co_training
from jdann.methods.discriminant import Moments

CLASSES, FIRST, REST = 3, len(PROSODIC), 40
PRESENT = jnp.ones(CLASSES, bool)


def draw(random, means, count, noise=1.0):
    """Clips [count, values] of classes with these means, and their labels."""
    label = np.arange(count) % CLASSES
    clips = means[label] + noise * random.normal(size=(count, means.shape[1]))
    return jnp.asarray(np.clip(clips, -5, 5), jnp.float32), label


@pytest.fixture(scope="module")
def voices():
    """A reference, and the means of a speaker who has its prosody but not its other statistics."""
    random = np.random.default_rng(0)
    prosody = 0.25 * random.normal(size=(CLASSES, FIRST))
    reference, speaker = (
        np.concatenate([prosody, 0.8 * random.normal(size=(CLASSES, REST))], 1) for _ in range(2)
    )
    clips, label = draw(random, reference, 300)
    moments = discriminant.moments(clips, jax.nn.one_hot(label, CLASSES))
    return moments, speaker


def accuracy(views, clips, label) -> float:
    return float((one_speaker.mean_log_posteriors(views, clips).argmax(1) == label).mean())


def test_moments_are_those_of_a_weighted_mixture():
    """NumPy's weighted averages, where the reference is a cloud that is the same in each class."""
    random = np.random.default_rng(1)
    means, cloud = random.normal(size=(CLASSES, 6)), random.normal(size=(50, 6))
    cloud -= cloud.mean(0)
    reference = Moments(jnp.asarray(means), jnp.asarray(cloud.T @ cloud / 50))
    clips, label = random.normal(size=(40, 6)), random.integers(0, CLASSES, 40)
    actual = one_speaker.adapted_moments(
        reference, PRESENT, jnp.asarray(clips), jax.nn.one_hot(label, CLASSES)
    )
    covariances = []
    for k in range(CLASSES):
        own = clips[label == k]
        weight = len(own) / (len(own) + one_speaker.RELEVANCE)
        points = np.concatenate([means[k] + cloud, own])
        weights = np.concatenate(
            [np.full(50, (1 - weight) / 50), np.full(len(own), weight / len(own))]
        )
        np.testing.assert_allclose(actual.mean[k], np.average(points, 0, weights), atol=1e-5)
        covariances.append(np.cov(points.T, aweights=weights, ddof=0))
    np.testing.assert_allclose(actual.covariance, np.mean(covariances, 0), atol=1e-5)


def test_learns_a_speaker_from_many_clips_and_little_from_few(voices):
    reference, speaker = voices
    random, fit_views = np.random.default_rng(2), jax.jit(one_speaker.fit_views)
    unheard, label = draw(random, speaker, 300)
    scores = {}
    for count in (4, 64):
        clips = jnp.zeros((64, FIRST + REST)).at[:count].set(draw(random, speaker, count)[0])
        is_clip = (jnp.arange(64) < count).astype(jnp.float32)
        views = fit_views(reference, PRESENT, clips, is_clip)
        scores[count] = accuracy(views, unheard, label)
        disturbed = clips.at[count:].set(3.0)  # what lies in padding changes nothing
        again = fit_views(reference, PRESENT, disturbed, is_clip)
        np.testing.assert_allclose(again.weight, views.weight, atol=1e-5)
    nothing = fit_views(reference, PRESENT, clips, jnp.zeros(64))
    before = accuracy(nothing, unheard, label)
    assert abs(scores[4] - before) < 0.1 and scores[64] > before + 0.1


@pytest.mark.slow
def test_an_emotion_that_the_reference_does_not_know_is_never_predicted(voices):
    reference, speaker = voices
    clips, _ = draw(np.random.default_rng(3), speaker, 60)
    present = jnp.array([True, False, True])
    known = reference._replace(mean=reference.mean.at[1].set(0.0))
    views = one_speaker.fit_views(known, present, clips, jnp.ones(60))
    assert not (one_speaker.mean_log_posteriors(views, clips).argmax(1) == 1).any()


def test_only_speakers_with_enough_clips_are_listed():
    speaker = np.array([7] * 25 + [-1] * 30 + [2] * 20 + [5] * 19)
    rows = one_speaker.rows_of_speakers(speaker)
    assert rows is not None
    np.testing.assert_array_equal(rows[0], [*range(55, 75), *[-1] * 12])  # speaker 2
    np.testing.assert_array_equal(rows[1], [*range(25), *[-1] * 7])
    assert one_speaker.rows_of_speakers(np.array([-1] * 50 + [1] * 19)) is None


def test_co_training_labels_each_speaker_anew(voices):
    """Two speakers share the prosody and differ in all else; the third has too few clips."""
    random = np.random.default_rng(4)
    first = voices[1] * np.where(np.arange(FIRST + REST) < FIRST, 1.6, 1.0)  # clearer prosody
    second = first.copy()
    second[:, FIRST:] = first[[1, 2, 0], FIRST:]  # as one voice is angry, the other is sad
    parts = [draw(random, means, 75) for means in (first, second, second)]
    target, hidden = (np.concatenate([part[i] for part in parts]) for i in range(2))
    source, emotion = draw(random, np.concatenate([first[:, :FIRST], 0 * first[:, FIRST:]], 1), 90)
    rows = jnp.asarray(np.arange(150).reshape(2, 75))
    given = np.zeros((len(target), CLASSES), np.float32)
    given[0, (hidden[0] + 1) % CLASSES] = 1  # the user's label stays, even if it is wrong
    label = jax.jit(co_training(least_share=0.0).initial_labels)
    domains = source, jax.nn.one_hot(emotion, CLASSES), jnp.asarray(target), jnp.asarray(given)
    together, apart = (
        np.asarray(label(jax.random.key(0), *domains, r).labels) for r in (None, rows)
    )
    right = [(labels.argmax(1) == hidden)[1:150].mean() for labels in (together, apart)]
    assert right[1] > right[0] + 0.05
    np.testing.assert_allclose(apart[150:], together[150:], atol=1e-5)
    np.testing.assert_array_equal(apart[0], given[0])
