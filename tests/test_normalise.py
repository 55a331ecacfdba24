"""Normalisation against scikit-learn, group by group."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from jdann.errors import InputError
from jdann.normalise import apply, fit, grouping, identity

LENGTH = np.array([7, 5, 9, 4])
START = np.array([12, 0, 19, 8])  # stored in another order, one row unused
START[3] = 28
SPEAKER = ["a", "b", "a", None]


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(-40, 12, (32, 3)).astype(np.float32)


def rows(i):
    return slice(START[i], START[i] + LENGTH[i])


@pytest.mark.parametrize(
    ("by", "together"),
    [("speaker", [[0, 2], [1], [3]]), ("corpus", [[0, 1, 2, 3]]), ("utterance", [[0], [1], [2], [3]])],
)
def test_equals_scikit_learn_within_each_group(values, by, together):
    group, _ = grouping(by, SPEAKER)
    normalised = apply(fit(values, START, LENGTH, group), values, START, LENGTH, group, window=6)
    assert normalised.dtype == np.float16
    assert normalised.shape == (38, 3)
    assert not normalised[32:].any()
    for members in together:
        expected = StandardScaler().fit_transform(np.concatenate([values[rows(i)] for i in members]))
        np.testing.assert_allclose(np.concatenate([normalised[rows(i)] for i in members]), expected, atol=4e-3)


def test_one_group_serves_another_corpus(values):
    source = fit(values, START, LENGTH, ["corpus"] * 4)
    shifted = apply(source, values + 100, START, LENGTH, ["corpus"] * 4, window=0)
    plain = apply(source, values, START, LENGTH, ["corpus"] * 4, window=0)
    assert (shifted[rows(0)] > plain[rows(0)]).all()  # the target keeps its shift: normalised by the source


def test_identity_changes_nothing_that_float16_can_hold(values):
    values[0] = (-700.0, 900.0, 0.25)
    out = apply(identity(3), values, START, LENGTH, ["corpus"] * 4, window=0)
    np.testing.assert_allclose(out[rows(1)], values[rows(1)], rtol=1e-3)


def test_tiny_powers_are_scaled_too(values):
    group = ["corpus"] * 4
    tiny = values * 1e-7
    normalised = apply(fit(tiny, START, LENGTH, group), tiny, START, LENGTH, group, window=0)
    expected = apply(fit(values, START, LENGTH, group), values, START, LENGTH, group, window=0)
    np.testing.assert_allclose(normalised, expected, atol=1e-2)


def test_a_constant_bin_becomes_zero(values):
    values[:, 1] = -80.0
    group = ["corpus"] * 4
    normalised = apply(fit(values, START, LENGTH, group), values, START, LENGTH, group, window=0)
    assert not normalised[:, 1].any()
    assert np.isfinite(normalised).all()


def test_unknown_speakers_are_said_and_names_checked():
    group, note = grouping("speaker", SPEAKER)
    assert group[3] not in ("a", "b")
    assert note is not None and note.startswith("1 of 4 utterances have no speaker id")
    assert grouping("corpus", SPEAKER)[1] is None
    with pytest.raises(InputError, match="planet.*speaker, corpus"):
        grouping("planet", SPEAKER)
