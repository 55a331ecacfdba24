"""The primitives against librosa: real speech, speech-like signals, and edge cases."""

import subprocess
import sys
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jdann import features
from jdann.errors import InputError

SIZES = {
    8000: (512, 128),
    16000: (1024, 256),
    22050: (2048, 512),
    48000: (2048, 512),
}  # n_fft, hop_length


def speech_like(sr: int, duration_s: float = 1.0) -> np.ndarray:
    """A gliding buzz in two formants, a pause of digital silence and a hiss."""
    rng = np.random.default_rng(0)
    t = np.arange(int(sr * duration_s)) / sr
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(3 * t)) / sr
    buzz = sum(
        np.exp(-(((150 * k - 600) / 700) ** 2)) * np.cos(k * phase + k * k) for k in range(1, 20)
    )
    hiss = 0.03 * rng.normal(size=t.size) * (t > 0.7 * duration_s)
    gate = (t < 0.4 * duration_s) | (t > 0.5 * duration_s)
    return ((0.1 * buzz + hiss) * gate).astype(np.float32)


def edge_cases(sr: int) -> dict[str, np.ndarray]:
    speech, n = speech_like(sr), sr
    click = np.zeros(n, np.float32)
    click[n // 3] = 1
    return {
        "speech": speech,
        "speech with offset": speech + np.float32(0.3),
        "silence": np.zeros(n, np.float32),
        "click": click,
        "dc": np.full(n, 0.3, np.float32),
        "tone": np.sin(2 * np.pi * 440 * np.arange(n) / sr).astype(np.float32),
        **({"short": speech[:300], "one sample": speech[100:101]} if sr == 16000 else {}),
    }


@partial(jax.jit, static_argnames="sr")
def ours(y, sr: int) -> dict[str, jax.Array]:
    return primitives(features, y, sr)


def primitives(module, y, sr: int) -> dict:
    """The same calls of jdann.features or librosa.feature."""
    n_fft, hop = SIZES[sr]
    stft, framing = {"n_fft": n_fft, "hop_length": hop}, {"frame_length": n_fft, "hop_length": hop}
    bands = {"n_bands": 4} if sr == 8000 else {}
    return {
        "zcr": module.zero_crossing_rate(y, **framing),
        "rms": module.rms(y=y, **framing),
        "mel": module.melspectrogram(y=y, sr=sr, **stft),
        "mfcc": module.mfcc(y=y, sr=sr, n_mfcc=40, **stft),
        "contrast": module.spectral_contrast(y=y, sr=sr, **stft, **bands),
    }


def check_against_librosa(y: np.ndarray, sr: int) -> None:
    actual, expected = ours(y, sr), primitives(librosa.feature, y, sr)
    np.testing.assert_array_equal(actual["zcr"], expected["zcr"].astype(np.float32))
    np.testing.assert_allclose(actual["rms"], expected["rms"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(actual["mel"], expected["mel"], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(actual["mfcc"], expected["mfcc"], rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(actual["contrast"], expected["contrast"], rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:n_fft")
@pytest.mark.parametrize("sr", SIZES)
def test_equals_librosa_on_speech_like_signals_and_edge_cases(sr):
    for name, y in edge_cases(sr).items():
        try:
            check_against_librosa(y, sr)
        except AssertionError as error:
            raise AssertionError(f"{name} at {sr} Hz: {error}") from error


def test_equals_librosa_on_real_speech(corpora_dir):
    files = (
        sorted(corpora_dir.glob("ravdess/*/*.flac"))[::400]
        + sorted(corpora_dir.glob("casia/*/*/*.flac"))[::400]
    )
    assert files
    for file in files:
        y, sr = librosa.load(file, sr=None)
        check_against_librosa(y[:16000], int(sr))


@pytest.mark.parametrize(
    "ours, reference, options",
    [
        (
            features.melspectrogram,
            librosa.feature.melspectrogram,
            {"power": 1.0, "n_mels": 40, "fmin": 60, "fmax": 7000},
        ),
        (
            features.melspectrogram,
            librosa.feature.melspectrogram,
            {"power": 1.5, "htk": True, "norm": None},
        ),
        (
            features.melspectrogram,
            librosa.feature.melspectrogram,
            {"win_length": 400, "hop_length": 160},
        ),
        (
            features.melspectrogram,
            librosa.feature.melspectrogram,
            {"center": False, "window": ("kaiser", 8.0)},
        ),
        (
            features.mfcc,
            librosa.feature.mfcc,
            {"lifter": 22, "norm": None, "n_mels": 60, "pad_mode": "reflect"},
        ),
        (features.mfcc, librosa.feature.mfcc, {"dct_type": 3, "mel_norm": None}),
        (
            features.spectral_contrast,
            librosa.feature.spectral_contrast,
            {"fmin": 100, "n_bands": 5, "quantile": 0.1},
        ),
        (
            features.spectral_contrast,
            librosa.feature.spectral_contrast,
            {"linear": True, "win_length": 800},
        ),
    ],
)
def test_arguments_mean_what_they_mean_in_librosa(ours, reference, options):
    y = speech_like(16000)[:8000]
    expected = reference(y=y, sr=16000, **{"n_fft": 1024, **options})
    actual = ours(y=y, sr=16000, **{"n_fft": 1024, **options})
    np.testing.assert_allclose(
        actual, expected, rtol=2e-4, atol=2e-3 if ours is not features.melspectrogram else 1e-5
    )


@pytest.mark.filterwarnings("error")
def test_every_transformation_keeps_librosas_precision():
    # In single precision the empty bins of a tone would be 1e-7 of its peak.
    y = edge_cases(16000)["tone"].reshape(4, -1)[:, :1500]
    expected = librosa.stft(y, n_fft=512)

    def stft(clip):
        return features.stft(clip, n_fft=512)

    transforms = (
        stft,
        jax.vmap(jax.jit(stft)),
        jax.jit(jax.vmap(jax.checkpoint(stft))),
        lambda y: jax.lax.map(stft, y, batch_size=2),
        lambda y: jax.vjp(jax.vmap(stft), y)[0],
    )
    for transform in transforms:
        np.testing.assert_allclose(transform(jnp.asarray(y)), expected, rtol=1e-5, atol=1e-10)


def test_only_platforms_with_double_precision_use_it():
    transform = jax.jit(lambda y: features.stft(y, n_fft=512))
    for platform, double in (("tpu", False), ("cuda", True), ("cpu", True)):
        exported = jax.export.export(transform, platforms=[platform])(jnp.zeros(2000))
        assert ("xf64>" in exported.mlir_module()) == double


def test_one_stft_can_be_shared():
    y = speech_like(16000)
    magnitude = np.abs(librosa.stft(y, n_fft=1024, hop_length=256))
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=16000)
    np.testing.assert_allclose(features.melspectrogram(S=magnitude**2, sr=16000), mel, rtol=1e-5)
    decibels = librosa.power_to_db(mel, ref=np.max)
    np.testing.assert_allclose(features.power_to_db(mel, ref=jnp.max), decibels, atol=1e-4)
    np.testing.assert_allclose(
        features.mfcc(S=decibels), librosa.feature.mfcc(S=decibels), atol=1e-3
    )
    for ours, reference, options in (
        (features.spectral_contrast, librosa.feature.spectral_contrast, {"sr": 16000}),
        (features.rms, librosa.feature.rms, {"frame_length": 1024}),
    ):
        np.testing.assert_allclose(
            ours(S=magnitude, **options), reference(S=magnitude, **options), rtol=1e-5, atol=1e-4
        )


def test_top_db_is_relative_to_the_peak_of_each_clip():
    loud, quiet = np.full((4, 5), 1.0, np.float32), np.full((4, 5), 1e-9, np.float32)
    batch = features.power_to_db(np.stack([loud, quiet]))
    np.testing.assert_allclose(
        batch, [librosa.power_to_db(loud), librosa.power_to_db(quiet)], atol=1e-4
    )
    assert float(features.power_to_db(jnp.asarray(1e-3))) == pytest.approx(-30)


@pytest.mark.parametrize("mode", ["interp", "nearest", "mirror", "constant", "wrap"])
@pytest.mark.parametrize("width, order", [(9, 1), (9, 2), (3, 1)])
def test_delta_equals_librosa(mode, width, order):
    data = np.random.default_rng(0).normal(size=(2, 3, 9)).astype(np.float32)
    expected = librosa.feature.delta(data, width=width, order=order, mode=mode)
    np.testing.assert_allclose(
        features.delta(data, width=width, order=order, mode=mode), expected, atol=2e-6
    )
    turned = features.delta(data.swapaxes(1, 2), width=width, order=order, mode=mode, axis=-2)
    np.testing.assert_allclose(turned, expected.swapaxes(1, 2), atol=2e-6)


def test_leading_axes_jit_and_vmap_agree():
    y = np.stack(
        [speech_like(16000)[start : start + 4000] for start in (0, 4000, 6400, 11000)]
    )  # [4, samples]

    def everything(y):
        rows = [
            features.zero_crossing_rate(y),
            features.mfcc(y=y, sr=16000),
            features.spectral_contrast(y=y, sr=16000),
            features.rms(y=y),
            features.pitch(y=y, sr=16000).voicing[..., None, :],
        ]
        return jnp.concatenate(rows, -2)

    compute = jax.jit(everything)
    one_by_one = np.stack([compute(clip) for clip in y])
    batched = compute(y.reshape(2, 2, -1))
    np.testing.assert_allclose(batched.reshape(one_by_one.shape), one_by_one, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(jax.jit(jax.vmap(everything))(y), one_by_one, rtol=1e-4, atol=1e-3)
    assert batched.dtype == jnp.float32


def test_gradients_are_finite_everywhere():
    def loss(y):
        sums = [
            features.mfcc(y=y, sr=16000),
            features.power_to_db(features.melspectrogram(y=y, sr=16000), top_db=None),
            features.melspectrogram(y=y, sr=16000, power=1.5),
            features.spectral_contrast(y=y, sr=16000),
            features.rms(y=y),
            features.delta(features.rms(y=y), width=3),
            features.zero_crossing_rate(y),
            *features.pitch(y=y, sr=16000),
        ]
        return sum(jnp.mean(x) for x in sums)

    gradient = jax.jit(jax.grad(loss))
    for name, y in edge_cases(16000).items():
        if len(y) == 16000:
            assert np.isfinite(gradient(y[:8000])).all(), name


def test_the_gradient_equals_a_finite_difference_of_librosa():
    y = speech_like(16000)[:2048].astype(np.float32)
    direction = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    weights = np.random.default_rng(2).normal(size=(20, 1)).astype(np.float32)
    loss = jax.jit(lambda y: jnp.mean(weights * features.mfcc(y=y, sr=16000, n_fft=1024)))
    slope = float(jnp.vdot(jax.grad(loss)(y), direction))

    def librosa_loss(y):
        return np.mean(weights * librosa.feature.mfcc(y=y, sr=16000, n_fft=1024))

    step, y64 = 1e-7, y.astype(np.float64)
    difference = librosa_loss(y64 + step * direction) - librosa_loss(y64 - step * direction)
    assert slope == pytest.approx(difference / (2 * step), rel=1e-2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda y: features.spectral_contrast(y=y, sr=8000), ("Nyquist", "8000 Hz", "n_bands")),
        (
            lambda y: features.spectral_contrast(y=y, sr=16000, n_fft=64, hop_length=32),
            ("n_fft=64", "no bin"),
        ),
        (lambda y: features.melspectrogram(sr=16000), ("give either y",)),
        (lambda y: features.rms(), ("give either y",)),
        (lambda y: features.rms(S=np.ones((5, 2))), ("5 bins", "1025")),
        (lambda y: features.stft(y[:100], center=False), ("100 samples", "center=True")),
        (
            lambda y: features.delta(y[:5]),
            ("width=9", "at least 3 and at most 5, the number of frames"),
        ),
        (
            lambda y: features.delta(y, width=4, mode="nearest"),
            ("width=4", "odd number of at least 3"),
        ),
        (lambda y: features.delta(y, width=3, order=3), ("order=3", "1 to 2")),
        (lambda y: features.delta(y, order=0), ("order=0", "1 to 8")),
        (lambda y: features.delta(y, mode="edge"), ("'edge'", "interp, nearest, mirror")),
        (lambda y: features.pitch(y=y, sr=16000, n_fft=256), ("n_fft=256", "at least 493")),
        (lambda y: features.pitch(y=y, sr=16000, fmin=700), ("700-600 Hz",)),
    ],
)
def test_errors_name_the_value_and_what_is_expected(call, words):
    with pytest.raises(InputError) as caught:
        call(speech_like(16000))
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_importing_features_imports_neither_librosa_nor_scipy_signal():
    code = (
        "import sys, jdann.features; "
        "print([m for m in ('librosa', 'scipy.signal') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_signal_needs_an_axis_of_samples():
    with pytest.raises(AssertionError):
        features.melspectrogram(y=jnp.asarray(0.5))
    with pytest.raises(AssertionError):
        features.spectral_contrast(S=jnp.ones(1025))
