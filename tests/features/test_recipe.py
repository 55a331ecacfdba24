"""Recipes: the numbers of librosa, the effect of padding, gradients and errors."""

from functools import cache

import jax
import jax.export
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from configs.base import get_config
from jdann.errors import InputError
from jdann.features import RECIPES, Recipe, make_recipe
from jdann.features.recipe import recipe_sizes
from jdann.features.signal_recipes import frames

RATE_HZ = {"frames": 16000, "poster": 22050, "statistics": 16000, "prosody": 16000}
OF_AUDIO = tuple(RATE_HZ)  # "vectors" computes nothing
SAMPLES = 24000
LENGTHS = np.array([24000, 16001, 12287, 12288, 6000, 300, 1], np.int32)


def settings(**changes) -> dict:
    return get_config().features.to_dict() | changes


def signals(sr: int) -> np.ndarray:
    """[batch, SAMPLES]: noisy glides of different level and range, which end at LENGTHS."""
    rng = np.random.default_rng(0)
    t = np.arange(SAMPLES) / sr
    rows = []
    for i, length in enumerate(LENGTHS):
        phase = 2 * np.pi * np.cumsum(120 + 25 * i + 30 * np.sin(4 * t + i)) / sr
        buzz = sum(np.cos(k * phase + k * k) / k for k in range(1, 15)) * (np.sin(5 * t + i) > -0.3)
        y = 10 ** (-i / 4) * (0.2 * buzz + 0.01 * rng.normal(size=t.size)) - 0.01
        rows.append(np.where(np.arange(SAMPLES) < length, y, 0))
    return np.stack(rows).astype(np.float32)


@cache
def recipe_of(name: str) -> Recipe:
    return make_recipe(name, settings(), RATE_HZ[name])


@cache
def extract_of(name: str):
    return jax.jit(recipe_of(name).extract)


@pytest.fixture(
    scope="module",
    # "statistics" holds all values of "prosody", and "frames" most of "poster".
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in ("prosody", "poster") else [])
        for name in OF_AUDIO
    ],
)
def computed(request):
    """Recipe, jitted extract, signals, features and lengths."""
    recipe, extract = recipe_of(request.param), extract_of(request.param)
    y = signals(recipe.sample_rate_hz)
    return recipe, extract, y, *map(np.asarray, extract(y, LENGTHS))


def test_shapes_names_and_lengths(computed):
    recipe, _, _, features, length = computed
    assert features.dtype == np.float32 and length.dtype == np.int32
    assert recipe.is_vector == (recipe.name != "frames")
    if recipe.is_vector:
        values = 149 if recipe.name == "poster" else len(recipe.bins)
        assert features.shape == (len(LENGTHS), values) and len(recipe.bins) == values
        assert (length == 1).all() and recipe.hop_s == (
            512 / 22050 if recipe.name == "poster" else 0.016
        )
    else:
        assert features.shape == (len(LENGTHS), 1 + SAMPLES // 256, 114) and len(recipe.bins) == 114
        np.testing.assert_array_equal(length, 1 + LENGTHS // 256)
        assert recipe.hop_s == 0.016
    assert len(set(recipe.bins)) == len(recipe.bins)


@pytest.mark.parametrize(
    "computed",
    ["frames", *(pytest.param(name, marks=pytest.mark.slow) for name in OF_AUDIO[1:])],
    indirect=True,
)
def test_padding_does_not_change_the_features(computed):
    recipe, extract, y, features, length = computed
    for i in (3, 5):
        alone, alone_length = extract(y[i : i + 1, : LENGTHS[i]], LENGTHS[i : i + 1])
        if recipe.is_vector:
            np.testing.assert_allclose(features[i], alone[0], rtol=1e-4, atol=2e-3)
            continue
        assert alone.shape[1] == alone_length[0] == length[i]
        np.testing.assert_allclose(features[i, : length[i]], alone[0], rtol=1e-4, atol=2e-3)
        assert (features[i, length[i] :] == 0).all()
    # Samples after the end and other clips of the batch have no effect either.
    reversed_clips = y[::-1].copy()
    reversed_clips[np.arange(SAMPLES) >= LENGTHS[::-1, None]] = 0.5
    np.testing.assert_allclose(
        extract(reversed_clips, LENGTHS[::-1])[0], features[::-1], rtol=1e-5, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore:n_fft")
def test_frames_equal_librosa():
    y = signals(16000)
    features, length = map(np.asarray, extract_of("frames")(y, LENGTHS))
    stft = {"n_fft": 1024, "hop_length": 256}
    for i in (0, 2, 4, 6):
        clip = y[i, : LENGTHS[i]]
        ours = dict(
            zip(
                ("mel", "mfcc", "zcr", "contrast"),
                np.split(features[i].T, [64, 104, 105, 112])[:4],
                strict=True,
            )
        )
        reference = {
            "mel": librosa.power_to_db(
                librosa.feature.melspectrogram(y=clip, sr=16000, n_mels=64, **stft)
            ),
            "mfcc": librosa.feature.mfcc(y=clip, sr=16000, n_mfcc=40, n_mels=64, **stft),
            "zcr": librosa.feature.zero_crossing_rate(clip, frame_length=1024, hop_length=256),
            "contrast": librosa.feature.spectral_contrast(y=clip, sr=16000, **stft),
        }
        for name, expected in reference.items():
            assert expected.shape[1] == length[i]
            np.testing.assert_allclose(
                ours[name][:, : length[i]], expected, rtol=1e-4, atol=1e-2, err_msg=name
            )


def poster_reference(clip: np.ndarray) -> np.ndarray:
    rows = (
        librosa.feature.zero_crossing_rate(clip),
        librosa.feature.mfcc(y=clip, sr=22050, n_mfcc=13),
        librosa.feature.melspectrogram(y=clip, sr=22050),
        librosa.feature.spectral_contrast(y=clip, sr=22050),
    )
    return np.concatenate([row.mean(1) for row in rows])


@pytest.mark.filterwarnings("ignore:n_fft")
def test_poster_equals_time_means_of_librosa():
    y = signals(22050)
    features, _ = extract_of("poster")(y, LENGTHS)
    for i, length in enumerate(LENGTHS):
        np.testing.assert_allclose(
            features[i], poster_reference(y[i, :length]), rtol=2e-4, atol=2e-3
        )


def test_poster_equals_time_means_of_librosa_on_real_speech(corpora_dir):
    files = (
        sorted(corpora_dir.glob("casia/*/*/*.flac"))[::170]
        + sorted(corpora_dir.glob("ravdess/*/*.flac"))[::500]
    )
    y = np.stack(
        [np.resize(librosa.load(file, sr=22050)[0], SAMPLES) for file in files[: len(LENGTHS)]]
    )
    y[:, 20000:] = 0
    features, _ = extract_of("poster")(y, np.full(len(y), 20000, np.int32))
    for clip, row in zip(y, features, strict=True):
        np.testing.assert_allclose(row, poster_reference(clip[:20000]), rtol=2e-4, atol=2e-3)


def test_unvoiced_frames_get_the_median_pitch_of_the_voiced_ones():
    recipe = recipe_of("frames")
    t = np.arange(SAMPLES) / 16000
    noise = 0.05 * np.random.default_rng(0).normal(size=SAMPLES)
    tone = np.where(
        t < 0.5, sum(np.cos(2 * np.pi * 110 * k * t + k * k) / k for k in range(1, 20)), noise
    )
    y = np.stack([tone, noise, np.zeros(SAMPLES)]).astype(np.float32)
    y = y[np.array([0, 1, 2, 0, 0, 0, 0])]
    features, _ = extract_of("frames")(y, np.full(7, SAMPLES, np.int32))
    log_f0, voicing = (
        np.asarray(features)[..., recipe.bins.index("log_f0")],
        np.asarray(features)[..., -1],
    )
    assert (voicing[0, 3:28] > 0.5).all() and (voicing[0, 36:] < 0.5).mean() > 0.95
    np.testing.assert_allclose(log_f0[0, 3:28], 12.0, atol=0.1)  # 110 Hz, an octave above 55
    np.testing.assert_allclose(log_f0[0][voicing[0] <= 0.5], 12.0, atol=0.1)
    assert (log_f0[2] == 0).all() and (voicing[2] == 0).all()
    assert np.isfinite(features).all()


@pytest.mark.slow
def test_gradients_are_finite(computed):
    recipe, _, y, _, _ = computed
    y = y.copy()
    y[2] = 0  # silence
    y[3] = 0.1  # constant
    gradient = jax.jit(jax.grad(lambda y: jnp.mean(recipe.extract(y, jnp.asarray(LENGTHS))[0])))(y)
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 0


@pytest.mark.parametrize(
    "name, changes, sample_rate_hz, words",
    [
        ("mfcc39", {}, 16000, ("mfcc39", "frames", "poster")),
        ("frames", {}, 8000, ("Nyquist", "audio.sample_rate_hz=8000", "16000")),
        ("frames", {"n_mels": 20}, 16000, ("n_mfcc=40", "n_mels=20")),
        ("frames", {"n_fft": 256}, 16000, ("n_fft=256",)),
        ("frames", {"n_fft": 8}, 16000, ("n_fft is 8", "at least 16")),
        ("frames", {"voice": 2}, 16000, ("voice is 2", "true or false")),
        ("statistics", {"n_mfcc": 4}, 16000, ("n_mfcc is 4", "at least 5")),
        ("prosody", {}, 8000, ("8000 Hz", "at least 10000 Hz")),
        ("poster", {}, 16000, ("22050", "16000", "poster")),
    ],
)
def test_errors_name_the_value_and_what_is_expected(name, changes, sample_rate_hz, words):
    with pytest.raises(InputError) as caught:
        make_recipe(name, settings(**changes), sample_rate_hz)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", OF_AUDIO)
def test_the_defaults_of_a_recipe_are_those_of_the_base_config(name):
    recipe, from_config = RECIPES[name](), recipe_of(name)
    assert recipe._replace(extract=None) == from_config._replace(extract=None)
    base = get_config()
    base_sizes = {size: base.features[size] for size in recipe_sizes(name)}
    assert recipe_sizes(name) == base_sizes
    if name != "poster":
        assert recipe.sample_rate_hz == base.audio.sample_rate_hz


def test_vectors_are_taken_as_they_are():
    recipe = make_recipe("vectors", {"vector_size": 3}, 1000)
    signal = np.arange(8, dtype=np.float32).reshape(2, 4)
    values, length = recipe.extract(signal, np.array([3, 3]))
    np.testing.assert_array_equal(values, signal[:, :3])
    assert recipe.is_vector and len(recipe.bins) == 3 and (length == 1).all()
    assert set(RECIPES) == {*OF_AUDIO, "vectors", "pretrained", "pretrained_frames"}


def test_extract_refuses_arrays_of_the_wrong_shape():
    with pytest.raises(AssertionError):
        frames().extract(jnp.zeros(16000), jnp.ones(1, jnp.int32))
    with pytest.raises(AssertionError):
        frames().extract(jnp.zeros((2, 16000)), jnp.ones(1, jnp.int32))


def test_extract_can_be_exported_for_any_batch_and_length():
    batch, samples = jax.export.symbolic_shape("batch, samples", constraints=("samples >= 4096",))
    shapes = (
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    exported = jax.export.export(jax.jit(frames().extract))(*shapes)
    assert exported.out_avals[0].shape[2] == 114
