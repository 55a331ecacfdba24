"""Positions of voices, and normalisation among similar voices."""

import jax
import numpy as np
import pytest

from jdann.data import normalise
from jdann.speakers import similar_voices

FRAMES = ("mel_0", "log_f0", "voicing", "f3_frequency")
VECTORS = ("loudness/mean", "pitch/p05", "f3_frequency/p50")


def spoken(base, f3_hz, frames=40):
    """An utterance [frames, 4] whose pitch rises from `base` semitones.

    Every fourth frame is unvoiced, with a pitch that means nothing.
    """
    pitch = base + np.linspace(0, 8, frames)
    voicing = (np.arange(frames) % 4 > 0).astype(float)
    columns = [
        np.zeros(frames),
        np.where(voicing > 0, pitch, 99.0),
        voicing,
        np.full(frames, f3_hz),
    ]
    return np.stack(columns, 1).astype(np.float32)


def fit_by_voice(utterances, group, positions):
    nobody_known = np.zeros(len(positions), bool)
    voices = normalise.VoicePositions(positions, nobody_known, 2.0)
    return normalise.fit_speakers(lambda: utterances, group, voices)


def voice_groups(n):
    return normalise.grouping("voice", [None] * n, has_pitch=True, is_vector=True)[0]


def test_positions_come_from_the_voiced_frames():
    utterances = [spoken(24, 2500), spoken(36, 2500), spoken(24, 5000)]
    semitones = similar_voices.voice_positions(utterances, FRAMES) * similar_voices.WIDTHS
    np.testing.assert_allclose(semitones[1] - semitones[0], [12, 0], atol=1e-4)
    np.testing.assert_allclose(semitones[2] - semitones[0], [0, 12], atol=1e-4)  # an octave
    voiced = spoken(24, 2500)[:, 1][spoken(24, 2500)[:, 2] > 0]
    np.testing.assert_allclose(semitones[0, 0], np.percentile(voiced, 5), rtol=1e-6)


def test_an_unvoiced_utterance_gets_the_median_position():
    silent = spoken(0, 0)
    silent[:, 2] = 0
    frames = [spoken(20, 2500), spoken(30, 2500), spoken(40, 2500), silent]
    vectors = [
        np.array([[-20, pitch, f3]], np.float32)
        for pitch, f3 in ((20, 2500), (30, 2500), (40, 2500), (0, 0))
    ]
    for utterances, bins in ((frames, FRAMES), (vectors, VECTORS)):
        positions = similar_voices.voice_positions(utterances, bins)
        assert np.isfinite(positions).all()
        np.testing.assert_allclose(positions[3], positions[1])
    assert similar_voices.voice_positions(vectors[3:], VECTORS).tolist() == [[0, 0]]


def test_without_formants_the_position_is_the_pitch_and_without_pitch_there_is_none():
    only_pitch = similar_voices.voice_positions([spoken(24, 2500)[:, :3]], FRAMES[:3])
    assert only_pitch.shape == (1, 1)
    assert similar_voices.has_pitch(FRAMES)
    assert similar_voices.has_pitch(VECTORS)
    assert not similar_voices.has_pitch(("zcr", "mel_000"))


def weighted(utterances, weight):
    """Mean and variance [bins] of the frames of utterances, each with a weight."""
    frame_weight = np.repeat(weight, [len(x) for x in utterances])
    frames = np.concatenate(utterances)
    mean = np.average(frames, 0, frame_weight)
    return mean, np.average((frames - mean) ** 2, 0, frame_weight)


@pytest.mark.parametrize("relevance", [0.0, 2.0])
def test_unknown_speakers_use_similar_voices_and_known_ones_mix_in_their_own(
    monkeypatch, relevance
):
    monkeypatch.setattr(normalise, "_BLOCK", 5)
    random = np.random.default_rng(0)
    utterances = [random.normal(3, 1, size=(frames, 3)) for frames in random.integers(2, 9, 12)]
    speaker = [None] * 7 + ["a"] * 5
    group, _ = normalise.grouping("speaker", speaker, has_pitch=True, is_vector=False)
    positions = random.normal(size=(12, 2))
    voices = normalise.VoicePositions(positions, np.arange(12) >= 7, relevance)
    fitted = normalise.fit_speakers(lambda: utterances, group, voices)
    assert len(fitted.groups) == 8

    def similarity(centre):
        return np.exp(-((positions - centre) ** 2).sum(1) / 2) + 0.01

    for i in range(7):
        mean, variance = weighted(utterances, similarity(positions[i]))
        np.testing.assert_allclose(fitted.mean[i], mean, rtol=1e-5)
        np.testing.assert_allclose(fitted.std[i], np.sqrt(variance), rtol=1e-5)
    sample = weighted(utterances[7:], np.ones(5))
    prior = weighted(utterances, similarity(positions[7:].mean(0)))
    w = 5 / (5 + relevance)
    mean = w * sample[0] + (1 - w) * prior[0]
    square = w * (sample[1] + sample[0] ** 2) + (1 - w) * (prior[1] + prior[0] ** 2)
    np.testing.assert_allclose(fitted.mean[7], mean, rtol=1e-5)
    np.testing.assert_allclose(fitted.std[7], np.sqrt(square - mean**2), rtol=1e-5)


def test_a_speaker_of_one_vector_does_not_become_zero_and_one_of_many_hardly_changes():
    random = np.random.default_rng(4)
    vectors = random.normal(size=(301, 1, 3)).astype(np.float32)
    group, positions = ["a"] * 300 + ["b"], np.zeros((301, 1))
    voices = normalise.VoicePositions(positions, np.ones(301, bool), 2.0)
    fitted = normalise.fit_speakers(lambda: vectors, group, voices)
    mixed = list(normalise.apply(fitted, vectors, group))
    separate = list(normalise.apply(normalise.fit(vectors, group), vectors, group))
    np.testing.assert_allclose(
        np.concatenate(mixed[:300]), np.concatenate(separate[:300]), atol=0.05
    )
    assert not separate[300].any() and np.abs(mixed[300]).max() > 0.2


@pytest.mark.parametrize("apart", [12.0, 0.0])
def test_different_voices_are_normalised_apart_and_equal_ones_together(apart):
    """Two speakers are `apart` semitones apart, and their features a quarter of that."""
    random = np.random.default_rng(1)
    emotion = random.normal(size=200)
    second = np.arange(200) % 2
    pitch = 30 + apart * second + 0.5 * random.normal(size=200)
    x = np.stack([emotion + apart / 4 * second, pitch], 1).astype(np.float32)
    vectors, group = x[:, None], voice_groups(200)
    positions = similar_voices.voice_positions(vectors, ("x", "pitch/p05"))
    by_voice = normalise.apply(fit_by_voice(vectors, group, positions), vectors, group)
    by_corpus = normalise.apply(normalise.fit(vectors, ["c"] * 200), vectors, ["c"] * 200)
    voice_correlation, corpus_correlation = (
        np.corrcoef(emotion, np.concatenate(list(z))[:, 0])[0, 1] for z in (by_voice, by_corpus)
    )
    assert voice_correlation > 0.9
    assert (corpus_correlation < 0.6) == (apart > 0)


@pytest.mark.parametrize("by", ["voice", "speaker"])
def test_each_utterance_of_an_unknown_speaker_is_a_group(by):
    group, note = normalise.grouping(by, [None, None], has_pitch=True, is_vector=False)
    assert group == ["utterance 0", "utterance 1"] and (note is None) == (by == "voice")


def test_moments_at_the_position_of_a_voice_are_those_of_that_voice():
    random = np.random.default_rng(2)
    utterances = [random.normal(size=(frames, 3)) for frames in random.integers(2, 9, 10)]
    positions = random.normal(size=(10, 2))
    expected = fit_by_voice(utterances, voice_groups(10), positions)
    moments = normalise.voice_moments(utterances, positions, positions[3:6])
    actual = normalise.statistics(moments, ("x",) * 3)
    np.testing.assert_allclose(actual.mean, expected.mean[3:6], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actual.std, expected.std[3:6], rtol=1e-5)


def test_a_grid_covers_the_positions_of_the_voices():
    positions = np.random.default_rng(3).uniform([3, 140], [7, 140.2], (1000, 2))
    grid = similar_voices.position_grid(positions)
    assert grid.shape == (18, 2)
    nearest = np.sqrt(((positions[:, None] - grid[None]) ** 2).sum(-1)).min(1)
    assert nearest.max() < 0.4
    assert similar_voices.position_grid(np.full((5, 1), 2.0)).tolist() == [[2.0]]


def batch_of_vectors():
    """Utterances as NumPy reads them, and as a batch: features and valid frames."""
    utterances = [
        np.array([[-20, pitch, f3]], np.float32)
        for pitch, f3 in ((22, 2500), (33, 3000), (27, 2700), (0, 0))
    ]
    return utterances, np.concatenate(utterances), np.ones(4, np.int32)


def batch_of_frames(bins):
    """The same of frames. The last utterance is unvoiced, and the padding looks voiced."""
    utterances = [
        spoken(base, f3, frames)[:, : len(bins)]
        for base, f3, frames in ((22, 2500, 40), (33, 3000, 30), (27, 2700, 35), (24, 2500, 9))
    ]
    utterances[3][:, 2] = 0
    features = np.full((4, 40, len(bins)), 1.0, np.float32)
    for row, x in zip(features, utterances, strict=True):
        row[: len(x)] = x
    return utterances, features, np.array([len(x) for x in utterances])


@pytest.mark.parametrize("bins", [FRAMES, FRAMES[:3], VECTORS])
def test_grid_weights_interpolate_the_position_of_each_voice(bins):
    utterances, features, frames = batch_of_vectors() if bins is VECTORS else batch_of_frames(bins)
    positions = similar_voices.voice_positions(utterances, bins)
    grid = similar_voices.position_grid(positions[:3])
    weights = jax.jit(similar_voices.grid_weights, static_argnums=3)
    weight = np.asarray(weights(features, frames, grid, bins))
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-5)
    # At the ends of the grid the interpolation is less exact.
    np.testing.assert_allclose(weight[2] @ grid, positions[2], atol=0.1)
    np.testing.assert_allclose(weight[:2] @ grid, positions[:2], atol=0.2)
    np.testing.assert_allclose(weight[3], 1 / len(grid), rtol=1e-5)
    no_axis = similar_voices.grid_weights(features, frames, np.zeros((1, 0)), ("none",))
    assert no_axis.tolist() == [[1.0]] * 4
