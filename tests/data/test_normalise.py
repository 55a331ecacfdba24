"""Normalisation against scikit-learn, group by group, and JAX against NumPy."""

import jax
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from jdann.data.normalise import apply, fit, grouping, identity, normalised_features
from jdann.errors import InputError

SPEAKER = ["a", "b", "a", None]


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    return [random.normal(-40, 12, (frames, 3)).astype(np.float32) for frames in (7, 5, 9, 4)]


def normalised(statistics, values, group=("corpus",) * 4):
    return list(apply(statistics, iter(values), group))


@pytest.mark.parametrize(
    ("by", "together"),
    [
        ("speaker", [[0, 2], [1], [3]]),
        ("corpus", [[0, 1, 2, 3]]),
        ("utterance", [[0], [1], [2], [3]]),
    ],
)
def test_equals_scikit_learn_within_each_group(values, by, together):
    group, _ = grouping(by, SPEAKER, has_pitch=False, is_vector=False)
    result = normalised(fit(iter(values), group), values, group)
    assert [(x.shape, x.dtype) for x in result] == [(x.shape, np.float16) for x in values]
    for members in together:
        expected = StandardScaler().fit_transform(np.concatenate([values[i] for i in members]))
        actual = np.concatenate([result[i] for i in members])
        np.testing.assert_allclose(actual, expected, atol=4e-3)


def fitted_rows(statistics, group):
    """Mean and standard deviation [utterances, bins] of each utterance's group."""
    rows = [statistics.groups.index(name) for name in group]
    return statistics.mean[rows], statistics.std[rows]


@pytest.mark.parametrize("by", ["speaker", "utterance", "none"])
def test_jax_normalises_frames_like_numpy(values, by):
    values[2][:, 1] = -80.0  # one constant bin
    group, _ = grouping("speaker" if by == "none" else by, SPEAKER, has_pitch=True, is_vector=False)
    statistics = identity(3) if by == "none" else fit(values, group)
    expected = normalised(statistics, values, group)
    if by == "none":
        mean, std = np.zeros((4, 3), np.float32), np.ones((4, 3), np.float32)
    else:
        mean, std = fitted_rows(statistics, group)
    batch = np.full((4, 9, 3), 7.0, np.float32)  # [batch, frames, bins]; the padding is not zero
    for row, x in zip(batch, values, strict=True):
        row[: len(x)] = x
    frames = np.array([len(x) for x in values], np.int32)
    actual = jax.jit(normalised_features, static_argnums=4)(batch, frames, mean, std, by)
    assert actual.shape == batch.shape and actual.dtype == np.float32
    for row, x in zip(np.asarray(actual), expected, strict=True):
        np.testing.assert_allclose(row[: len(x)], x, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("by", ["speaker", "none"])
def test_jax_normalises_vectors_like_numpy(by):
    vectors = np.random.default_rng(1).normal(-4, 3, (4, 1, 6)).astype(np.float32)
    group = ["a", "b", "a", "b"]
    statistics = identity(6) if by == "none" else fit(vectors, group)
    expected = np.concatenate(normalised(statistics, vectors, group))  # [utterances, values]
    if by == "none":
        mean, std = np.zeros((4, 6), np.float32), np.ones((4, 6), np.float32)
    else:
        mean, std = fitted_rows(statistics, group)
    batch = vectors[:, 0]  # [batch, values]
    actual = normalised_features(batch, np.ones(4, np.int32), mean, std, by)
    assert actual.shape == batch.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_statistics_of_the_source_can_normalise_the_target(values):
    source = fit(values, ["corpus"] * 4)
    shifted, plain = normalised(source, [x + 100 for x in values]), normalised(source, values)
    assert (shifted[0] > plain[0]).all()  # the target keeps its shift


def test_identity_changes_nothing_that_float16_can_hold(values):
    values[1][0] = (-700.0, 900.0, 0.25)
    np.testing.assert_allclose(normalised(identity(3), values)[1], values[1], rtol=1e-3)


def test_tiny_powers_are_scaled_too(values):
    tiny = [x * 1e-7 for x in values]
    actual, expected = (normalised(fit(x, ["corpus"] * 4), x) for x in (tiny, values))
    np.testing.assert_allclose(np.concatenate(actual), np.concatenate(expected), atol=1e-2)


def test_a_constant_bin_becomes_zero(values):
    for x in values:
        x[:, 1] = -80.0
    result = np.concatenate(normalised(fit(values, ["corpus"] * 4), values))
    assert not result[:, 1].any()
    assert np.isfinite(result).all()


def test_a_note_tells_how_unknown_speakers_are_normalised():
    group, note = grouping("speaker", SPEAKER, has_pitch=False, is_vector=False)
    assert group[3] not in ("a", "b")
    assert note is not None and note.startswith("1 of 4 utterances have no speaker id")
    by_voice, note = grouping("speaker", SPEAKER, has_pitch=True, is_vector=True)
    assert by_voice[:3] == ["a", "b", "a"] and by_voice[3] == "utterance 3"
    assert grouping("voice", SPEAKER, has_pitch=True, is_vector=True)[0][3] == "utterance 3"
    assert note is not None and note.endswith("among voices like its own")
    assert grouping("corpus", SPEAKER, has_pitch=True, is_vector=True)[1] is None


def test_a_speaker_called_none_is_normalised_as_any_other(values):
    fitted = fit(values, ["none"] * 4)
    far = [x + 1e4 for x in values]
    assert np.abs(np.concatenate(normalised(fitted, far, ["none"] * 4))).max() == 20


@pytest.mark.parametrize(("has_pitch", "name"), [(True, "utterance 1"), (False, "unknown speaker")])
def test_speakers_with_the_names_of_generated_groups_stay_alone(has_pitch, name):
    group, _ = grouping("speaker", [name, None, name + "'"], has_pitch=has_pitch, is_vector=False)
    assert group[0] == name and group[2] == name + "'" and len(set(group)) == 3


@pytest.mark.parametrize(
    ("by", "has_pitch", "is_vector", "message"),
    [
        ("planet", True, False, "planet.*speaker, voice, corpus"),
        ("voice", False, False, "does not tell the pitch; choose 'corpus'"),
        ("utterance", True, True, "every feature would be zero; choose 'speaker' or 'corpus'"),
    ],
)
def test_a_normalisation_that_cannot_work_is_refused(by, has_pitch, is_vector, message):
    with pytest.raises(InputError, match=message):
        grouping(by, SPEAKER, has_pitch=has_pitch, is_vector=is_vector)
