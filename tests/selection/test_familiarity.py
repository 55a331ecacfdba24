"""Unfamiliar speech: the distance against SciPy, and how often it calls what unfamiliar."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from jdann.selection.familiarity import (
    FALSE_ALARMS,
    Speech,
    distance,
    fit_familiarity,
    is_unfamiliar,
)

VALUES = 8


def draw(random: np.random.Generator, speakers: int, mean: float = 0.0, clips: int = 20) -> Speech:
    """Each speaker has an offset of their own, and each clip a deviation from it."""
    offset = random.normal(mean, 1.0, (speakers, 1, VALUES))
    features = offset + random.normal(size=(speakers, clips, VALUES)) @ np.diag(np.arange(1, 9) / 4)
    return Speech(features.reshape(-1, VALUES), np.repeat(np.arange(speakers), clips))


def test_the_distance_is_that_of_mahalanobis():
    """With few values all directions are kept, and the smallest one is the rest."""
    random = np.random.default_rng(0)
    source, target = draw(random, 6, 3.0), draw(random, 4)
    deviations = [s.features - s.features.mean(0) for s in (source, target)]
    covariance = np.mean([x.T @ x / len(x) for x in deviations], axis=0)
    mean, inverse = target.features.mean(0), np.linalg.inv(covariance)
    clips = random.normal(size=(5, VALUES))
    expected = [mahalanobis(clip, mean, inverse) ** 2 for clip in clips]
    fitted = fit_familiarity(source, target)
    # No score of these clips is above 5; a few of the fit may be, and are clipped.
    np.testing.assert_allclose(distance(fitted, clips), expected, rtol=0.01)


@pytest.mark.parametrize("known", [True, False])
def test_few_clips_of_new_speakers_are_unfamiliar_and_nearly_all_of_another_corpus(known):
    rates, others = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        source, target = draw(random, 20, 5.0), draw(random, 10)
        if not known:
            target = target._replace(speaker=np.full(len(target.speaker), -1))
        fitted = fit_familiarity(source, target)
        rates.append(is_unfamiliar(fitted, draw(random, 10).features).mean())
        others.append(is_unfamiliar(fitted, draw(random, 10, 6.0).features).mean())
    assert np.mean(rates) == pytest.approx(FALSE_ALARMS, abs=0.03)
    assert np.mean(others) > 0.95


def test_speakers_are_left_out_whole():
    """Clips of the speakers that were adapted to say little about the distances of new ones."""
    random = np.random.default_rng(3)
    source, target = draw(random, 10), draw(random, 10)
    nobody = np.full(len(source.speaker), -1)
    known = fit_familiarity(source, target)
    unknown = fit_familiarity(Speech(source.features, nobody), Speech(target.features, nobody))
    np.testing.assert_array_equal(known.directions, unknown.directions)
    assert known.limit[0] > 1.1 * unknown.limit[0]


def test_one_speaker_and_constant_values_are_no_obstacle():
    random = np.random.default_rng(4)
    source, target = draw(random, 1), draw(random, 1, clips=3)
    source.features[:, 2] = target.features[:, 2] = 7.0
    fitted = fit_familiarity(source, target)
    assert all(np.isfinite(values).all() for values in fitted)
    assert not is_unfamiliar(fitted, target.features).any()
