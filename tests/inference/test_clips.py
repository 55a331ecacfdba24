"""What a clip may be: every kind gives the same answer, and anything else is refused."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jdann.errors import InputError
from jdann.inference.recogniser import Part, Prepared, Recogniser
from tests.support.models import make_model, speech

RATE = 16000
SAMPLES = speech(1.0)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.of(make_model())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    soundfile.write(path, SAMPLES, RATE, subtype="FLOAT")
    return path


def test_every_kind_of_clip_gives_the_same_answer(recogniser, path):
    expected = recogniser(path)
    file = io.BytesIO(path.read_bytes())
    (prepared,) = recogniser.prepare([path])
    assert isinstance(prepared, Prepared)
    kinds = [
        str(path),
        Part(path),
        path.read_bytes(),
        file,
        (RATE, SAMPLES),
        (RATE, SAMPLES[:, None]),
        {"array": SAMPLES, "sampling_rate": RATE, "path": None},
        {"array": SAMPLES.tolist(), "sampling_rate": RATE},
        {"raw": SAMPLES, "sampling_rate": RATE},
        prepared,
    ]
    for clip in kinds:
        assert recogniser(clip) == expected, type(clip)
    assert recogniser(file) == expected  # it is set back after reading
    with path.open("rb") as opened:
        assert recogniser(opened) == expected
    assert recogniser(kinds) == [expected] * len(kinds)
    for names in ({"rate": RATE}, {"sr": RATE}, {"sampling_rate": RATE}):
        assert recogniser(SAMPLES, **names) == expected
        assert recogniser(jnp.asarray(SAMPLES), **names) == expected
    timeline = recogniser.timeline(path, 0.5, 0.5)
    for clip in kinds[2:6]:
        from_clip = recogniser.timeline(clip, 0.5, 0.5)
        np.testing.assert_array_equal(from_clip.probabilities, timeline.probabilities)


def test_lists_columns_and_batches(recogniser, path):
    row = recogniser.probabilities(path)
    assert row.shape == (1, 5)
    names = np.array([str(path), str(path)])
    batches = (names, names.astype(object), iter([path, path]), np.stack([SAMPLES] * 2))
    for clips in batches:
        np.testing.assert_array_equal(recogniser.probabilities(clips, RATE), np.repeat(row, 2, 0))


@pytest.mark.parametrize(
    ("clip", "rate", "message"),
    [
        (3, None, "a clip of type int; expected a path"),
        (None, None, "a clip of type NoneType"),
        (SAMPLES, None, "give rate="),
        (SAMPLES, "fast", "'fast'; expected a number in Hz"),
        (SAMPLES, -1, "-1; expected a number in Hz"),
        (np.zeros((2, 3, 4)), RATE, r"shape \(2, 3, 4\)"),
        (np.stack([SAMPLES, SAMPLES]), RATE, r"shape \(2, 16000\); expected .*channels"),
        ((128 + 100 * SAMPLES).astype(np.uint8), RATE, "type uint8"),
        ({"array": SAMPLES}, None, 'a dict of array; expected "array" and "sampling_rate"'),
        ((True, "x"), None, "a clip of type bool"),
        (b"no audio " * 99, None, "not audio"),
        (b"", None, "empty"),
        (io.StringIO("text"), None, "mode 'rb'"),
        ((0, SAMPLES), None, "expected a number in Hz"),
    ],
)
def test_anything_else_is_refused(recogniser, clip, rate, message):
    with pytest.raises(InputError, match=message):
        recogniser(clip, rate)


def test_names_of_the_rate(recogniser):
    with pytest.raises(InputError, match="different sample rates"):
        recogniser(SAMPLES, 16000, sr=8000)
    with pytest.raises(TypeError, match="sample_rate"):
        recogniser(SAMPLES, sample_rate=16000)
