"""Normalisation against scikit-learn, group by group."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from jdann.data.normalise import apply, fit, grouping, identity
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
    group, _ = grouping(by, SPEAKER, voices=False)
    found = normalised(fit(iter(values), group), values, group)
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, np.float16) for x in values]
    for members in together:
        expected = StandardScaler().fit_transform(np.concatenate([values[i] for i in members]))
        np.testing.assert_allclose(np.concatenate([found[i] for i in members]), expected, atol=4e-3)


def test_one_group_serves_another_corpus(values):
    source = fit(values, ["corpus"] * 4)
    shifted, plain = normalised(source, [x + 100 for x in values]), normalised(source, values)
    assert (shifted[0] > plain[0]).all()  # the target keeps its shift: normalised by the source


def test_identity_changes_nothing_that_float16_can_hold(values):
    values[1][0] = (-700.0, 900.0, 0.25)
    np.testing.assert_allclose(normalised(identity(3), values)[1], values[1], rtol=1e-3)


def test_tiny_powers_are_scaled_too(values):
    tiny = [x * 1e-7 for x in values]
    found, expected = (normalised(fit(x, ["corpus"] * 4), x) for x in (tiny, values))
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-2)


def test_a_constant_bin_becomes_zero(values):
    for x in values:
        x[:, 1] = -80.0
    found = np.concatenate(normalised(fit(values, ["corpus"] * 4), values))
    assert not found[:, 1].any()
    assert np.isfinite(found).all()


def test_unknown_speakers_are_said_and_names_checked():
    group, note = grouping("speaker", SPEAKER, voices=False)
    assert group[3] not in ("a", "b")
    assert note is not None and note.startswith("1 of 4 utterances have no speaker id")
    alone, note_of_voices = grouping("speaker", SPEAKER, voices=True)
    assert alone[3] == grouping("voice", SPEAKER, voices=True)[0][3] == "utterance 3" and alone[
        :3
    ] == ["a", "b", "a"]
    assert note_of_voices is not None and note_of_voices.endswith("among voices like its own")
    assert grouping("corpus", SPEAKER, voices=True)[1] is None
    with pytest.raises(InputError, match="planet.*speaker, voice, corpus"):
        grouping("planet", SPEAKER, voices=True)
    with pytest.raises(InputError, match="does not tell the pitch; choose 'corpus'"):
        grouping("voice", SPEAKER, voices=False)
