"""Where voices lie, and what normalising among voices alike does."""

import jax
import numpy as np
import pytest

from jdann.data import normalise
from jdann.speakers import similar_voices

FRAMES = ("mel_0", "log_f0", "voicing", "f3_frequency")
VECTORS = ("loudness/mean", "pitch/p05", "f3_frequency/p50")


def spoken(base, f3_hz, frames=40):
    """An utterance whose pitch rises from `base` semitones; every fourth frame is unvoiced, with a pitch that means nothing."""
    pitch = base + np.linspace(0, 8, frames)
    voicing = (np.arange(frames) % 4 > 0).astype(float)
    return np.stack(
        [np.zeros(frames), np.where(voicing > 0, pitch, 99.0), voicing, np.full(frames, f3_hz)], 1
    ).astype(np.float32)


def by_voice(utterances, group, place):
    return normalise.fit_speakers(
        lambda: utterances, group, normalise.Voices(place, np.zeros(len(place), bool), 2.0)
    )


def test_frames_are_placed_by_what_is_voiced():
    places = (
        similar_voices.place([spoken(24, 2500), spoken(36, 2500), spoken(24, 5000)], FRAMES)
        * similar_voices.WIDTHS
    )
    np.testing.assert_allclose(places[1] - places[0], [12, 0], atol=1e-4)
    np.testing.assert_allclose(places[2] - places[0], [0, 12], atol=1e-4)  # an octave
    voiced = spoken(24, 2500)[:, 1][spoken(24, 2500)[:, 2] > 0]
    np.testing.assert_allclose(places[0, 0], np.percentile(voiced, 5), rtol=1e-6)


def test_what_is_not_voiced_stands_in_the_middle():
    silent = spoken(0, 0)
    silent[:, 2] = 0
    vectors = [
        np.array([[-20, pitch, f3]], np.float32)
        for pitch, f3 in ((20, 2500), (30, 2500), (40, 2500), (0, 0))
    ]
    for places in (
        similar_voices.place(
            [spoken(20, 2500), spoken(30, 2500), spoken(40, 2500), silent], FRAMES
        ),
        similar_voices.place(vectors, VECTORS),
    ):
        assert np.isfinite(places).all()
        np.testing.assert_allclose(places[3], places[1])
    assert similar_voices.place(vectors[3:], VECTORS).tolist() == [[0, 0]]


def test_a_recipe_without_formants_places_by_pitch_alone_and_one_without_pitch_not_at_all():
    assert similar_voices.place([spoken(24, 2500)[:, :3]], FRAMES[:3]).shape == (1, 1)
    assert (
        similar_voices.known(FRAMES)
        and similar_voices.known(VECTORS)
        and not similar_voices.known(("zcr", "mel_000"))
    )


def mixed(x, weight):
    """Mean and variance [bins] of utterances, each with a weight."""
    each = np.repeat(weight, [len(one) for one in x])
    mean = np.average(np.concatenate(x), 0, each)
    return mean, np.average((np.concatenate(x) - mean) ** 2, 0, each)


@pytest.mark.parametrize("relevance", [0.0, 2.0])
def test_who_is_unknown_is_a_voice_and_who_is_known_is_drawn_towards_theirs(monkeypatch, relevance):
    monkeypatch.setattr(normalise, "_BLOCK", 5)
    random = np.random.default_rng(0)
    utterances = [random.normal(3, 1, size=(frames, 3)) for frames in random.integers(2, 9, 12)]
    group, _ = normalise.grouping("speaker", [None] * 7 + ["a"] * 5, voices=True)
    place = random.normal(size=(12, 2))
    found = normalise.fit_speakers(
        lambda: utterances, group, normalise.Voices(place, np.arange(12) >= 7, relevance)
    )
    assert len(found.groups) == 8

    def likeness(at):
        return np.exp(-((place - at) ** 2).sum(1) / 2) + 0.01

    for i in range(7):
        mean, variance = mixed(utterances, likeness(place[i]))
        np.testing.assert_allclose(found.mean[i], mean, rtol=1e-5)
        np.testing.assert_allclose(found.std[i], np.sqrt(variance), rtol=1e-5)
    own, prior = mixed(utterances[7:], np.ones(5)), mixed(utterances, likeness(place[7:].mean(0)))
    w = 5 / (5 + relevance)
    mean = w * own[0] + (1 - w) * prior[0]
    variance = w * (own[1] + own[0] ** 2) + (1 - w) * (prior[1] + prior[0] ** 2) - mean**2
    np.testing.assert_allclose(found.mean[7], mean, rtol=1e-5)
    np.testing.assert_allclose(found.std[7], np.sqrt(variance), rtol=1e-5)


def test_a_speaker_of_one_vector_keeps_some_of_it_and_one_of_many_all():
    random = np.random.default_rng(4)
    vectors = random.normal(size=(301, 1, 3)).astype(np.float32)
    group, places = ["a"] * 300 + ["b"], np.zeros((301, 1))
    of = normalise.Voices(places, np.ones(301, bool), 2.0)
    drawn = list(
        normalise.apply(normalise.fit_speakers(lambda: vectors, group, of), vectors, group)
    )
    alone = list(normalise.apply(normalise.fit(vectors, group), vectors, group))
    np.testing.assert_allclose(np.concatenate(drawn[:300]), np.concatenate(alone[:300]), atol=0.05)
    assert not alone[300].any() and np.abs(drawn[300]).max() > 0.2


def test_two_voices_are_told_apart_and_one_is_left_whole():
    random = np.random.default_rng(1)
    feeling = random.normal(size=200)
    for apart in (
        12.0,
        0.0,
    ):  # semitones between two speakers, whose features lie a quarter as far apart
        other = np.arange(200) % 2
        x = np.stack(
            [feeling + apart / 4 * other, 30 + apart * other + 0.5 * random.normal(size=200)], 1
        ).astype(np.float32)
        vectors = x[:, None]
        group, _ = normalise.grouping("voice", [None] * 200, voices=True)
        z = normalise.apply(
            by_voice(vectors, group, similar_voices.place(vectors, ("x", "pitch/p05"))),
            vectors,
            group,
        )
        by_corpus = normalise.apply(normalise.fit(vectors, ["c"] * 200), vectors, ["c"] * 200)
        found, plain = (
            np.corrcoef(feeling, np.concatenate(list(of))[:, 0])[0, 1] for of in (z, by_corpus)
        )
        assert found > 0.9 and (plain < 0.6) == (apart > 0), (found, plain)


@pytest.mark.parametrize("by", ["voice", "speaker"])
def test_groups_without_a_name_are_their_own(by):
    group, note = normalise.grouping(by, [None, None], voices=True)
    assert group == ["utterance 0", "utterance 1"] and (note is None) == (by == "voice")


def test_at_a_voices_own_place_one_is_normalised_as_that_voice():
    random = np.random.default_rng(2)
    utterances = [random.normal(size=(frames, 3)) for frames in random.integers(2, 9, 10)]
    place = random.normal(size=(10, 2))
    expected = by_voice(utterances, normalise.grouping("voice", [None] * 10, voices=True)[0], place)
    found = normalise.statistics(normalise.moments_at(utterances, place, place[3:6]), ("x",) * 3)
    np.testing.assert_allclose(found.mean, expected.mean[3:6], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std, expected.std[3:6], rtol=1e-5)


def test_a_grid_covers_where_voices_lie():
    places = np.random.default_rng(3).uniform([3, 140], [7, 140.2], (1000, 2))
    grid = similar_voices.grid(places)
    assert grid.shape == (18, 2)
    nearest = np.sqrt(((places[:, None] - grid[None]) ** 2).sum(-1)).min(1)
    assert nearest.max() < 0.4
    assert similar_voices.grid(np.full((5, 1), 2.0)).tolist() == [[2.0]]


@pytest.mark.parametrize("bins", [FRAMES, FRAMES[:3], VECTORS])
def test_in_a_batch_a_voice_counts_by_where_it_is_placed(bins):
    if bins is VECTORS:
        each = [
            np.array([[-20, pitch, f3]], np.float32)
            for pitch, f3 in ((22, 2500), (33, 3000), (27, 2700), (0, 0))
        ]
        features, frames = np.stack([x.reshape(-1, 1) for x in each]), np.full(4, 3)
    else:
        each = [
            spoken(b, f3, n)[:, : len(bins)]
            for b, f3, n in ((22, 2500, 40), (33, 3000, 30), (27, 2700, 35), (24, 2500, 9))
        ]
        each[3][:, 2] = 0
        features, frames = (
            np.full((4, 40, len(bins)), 1.0, np.float32),
            np.array([len(x) for x in each]),
        )  # padding looks voiced
        for row, x in zip(features, each, strict=True):
            row[: len(x)] = x
    places = similar_voices.place(each, bins)
    grid = similar_voices.grid(places[:3])
    weight = np.asarray(
        jax.jit(similar_voices.among, static_argnums=3)(features, frames, grid, bins)
    )
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-5)
    # What varies evenly over voices is read off the grid, but for its ends.
    np.testing.assert_allclose(weight[2] @ grid, places[2], atol=0.1)
    np.testing.assert_allclose(weight[:2] @ grid, places[:2], atol=0.2)
    np.testing.assert_allclose(weight[3], 1 / len(grid), rtol=1e-5)
    assert (
        similar_voices.among(features, frames, np.zeros((1, 0)), ("none",)).tolist() == [[1.0]] * 4
    )
