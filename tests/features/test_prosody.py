"""Prosodic statistics against NumPy and SciPy, track by track."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from jdann.features.egemaps import VOICE
from jdann.features.prosody import (
    DISTRIBUTION,
    PROSODIC,
    RHYTHM,
    distribution,
    nuclei,
    prosodic_statistics,
)

HOP_S, FRAMES = 0.016, 180


def make_tracks(seed=0):
    """An utterance of 150 frames with syllables, pauses at both ends and one in the middle."""
    random = np.random.default_rng(seed)
    t = np.arange(FRAMES) * HOP_S
    syllables = 0.5 * (1 - np.cos(2 * np.pi * 4 * t)) + 0.02
    loudness = syllables * (1 + 0.3 * np.sin(2 * np.pi * 0.4 * t))
    loudness[:12] = loudness[80:95] = loudness[138:] = 0.01
    voicing = (loudness > 0.3).astype(np.float32)
    tracks = {name: random.normal(30, 4, FRAMES).astype(np.float32) for name in VOICE}
    tracks["loudness"] = loudness.astype(np.float32)
    return tracks, (0.01 * loudness).astype(np.float32), voicing, np.arange(FRAMES) < 150


def measured(tracks, power, voicing, valid):
    values = prosodic_statistics(tracks, power, voicing, valid, hop_s=HOP_S)
    assert values.shape == (len(PROSODIC),) == (84,)
    return dict(zip(PROSODIC, np.asarray(values), strict=True))


def described(x):
    """The numbers of DISTRIBUTION by NumPy and SciPy."""
    q = np.percentile(x, [5, 20, 50, 80, 95])
    return [x.mean(), x.std(), *q, q[3] - q[1], q[4] - q[0], stats.skew(x), stats.kurtosis(x)]


def test_loudness_pitch_and_formants_equal_numpy_and_scipy():
    tracks, power, voicing, valid = make_tracks()
    values = measured(tracks, power, voicing, valid)
    loudness = tracks["loudness"].astype(np.float64)
    active = valid & (loudness > 0.15 * np.percentile(loudness[valid], 95))
    extent = np.zeros(FRAMES, bool)
    extent[np.flatnonzero(active)[0] : np.flatnonzero(active)[-1] + 1] = True
    voiced = extent & (voicing > 0.5)
    assert 20 < voiced.sum() < active.sum() < extent.sum() < 150
    expected = dict(zip(DISTRIBUTION, described(np.log(loudness[active] + 1e-3)), strict=True))
    for name, value in expected.items():
        assert values[f"loudness/{name}"] == pytest.approx(value, rel=1e-3, abs=1e-3), name
    assert values["loudness/level_db"] == pytest.approx(
        10 * np.log10(power[valid].mean()), abs=1e-3
    )
    assert values["loudness/linear_p95"] == pytest.approx(
        np.percentile(loudness[extent], 95), rel=1e-4
    )
    for name, value in zip(
        DISTRIBUTION, described(tracks["log_f0"][voiced].astype(np.float64)), strict=True
    ):
        assert values[f"pitch/{name}"] == pytest.approx(value, rel=1e-3, abs=1e-3), name
    f2 = tracks["f2_bandwidth"][voiced]
    assert values["f2_bandwidth/mean"] == pytest.approx(f2.mean(), rel=1e-4)
    assert values["f2_bandwidth/p80"] == pytest.approx(np.percentile(f2, 80), rel=1e-4)


def test_rhythm_equals_a_count_by_hand():
    tracks, power, voicing, valid = make_tracks()
    values = measured(tracks, power, voicing, valid)
    voiced = (voicing > 0.5) & valid
    edges = np.flatnonzero(np.diff(np.r_[0, voiced, 0]))
    lengths, gaps = (edges[1::2] - edges[::2]) * HOP_S, (edges[2::2] - edges[1:-1:2]) * HOP_S
    duration = np.exp(values["rhythm/log_duration"])
    assert values["rhythm/voiced_mean"] == pytest.approx(lengths.mean(), rel=1e-4)
    assert values["rhythm/voiced_std"] == pytest.approx(lengths.std(), rel=1e-3)
    assert values["rhythm/voiced_max"] == pytest.approx(lengths.max(), rel=1e-4)
    assert values["rhythm/gap_mean"] == pytest.approx(gaps.mean(), rel=1e-4)
    assert values["rhythm/gap_max"] == pytest.approx(gaps.max(), rel=1e-4)
    assert values["rhythm/voiced_per_s"] == pytest.approx(len(lengths) / duration, rel=1e-4)
    whole = (lengths > 0.1).sum()  # the first syllable is cut, so it has no peak
    assert values["rhythm/nuclei"] == whole == len(lengths) - 1
    assert values["rhythm/nuclei_per_s"] == pytest.approx(whole / duration, rel=1e-4)
    # There are four syllables per second, and a pause replaces one of them.
    assert values["rhythm/interval_max"] == pytest.approx(0.5, abs=2 * HOP_S)


@pytest.mark.parametrize("seed", range(4))
def test_nuclei_equal_the_prominent_peaks_of_scipy(seed):
    hop_s = 0.03  # smoothing and distance reach one frame and three
    x = np.cumsum(np.random.default_rng(seed).normal(size=120)).astype(np.float32) * 0.3
    extent = np.zeros(120, bool)
    extent[10:100] = True
    smooth = np.array([x[max(i - 1, 10) : min(i + 2, 100)].mean() for i in range(10, 100)])
    peaks, _ = signal.find_peaks(smooth, prominence=0.3)
    higher = [
        p for p in peaks if not any(abs(p - q) < 3 and smooth[q] > smooth[p] for q in range(90))
    ]
    np.testing.assert_array_equal(
        np.flatnonzero(nuclei(jnp.asarray(x), jnp.asarray(extent), hop_s)) - 10, higher
    )


@pytest.mark.parametrize("case", ["silence", "no voice", "constant", "one frame"])
def test_any_audio_gives_finite_numbers_and_gradients(case):
    tracks, power, voicing, valid = make_tracks()
    if case == "silence":
        tracks, power, voicing = (
            {n: np.zeros_like(x) for n, x in tracks.items()},
            0 * power,
            0 * voicing,
        )
    elif case == "no voice":
        voicing = 0 * voicing
    elif case == "constant":
        tracks = {n: np.ones_like(x) for n, x in tracks.items()}
    else:
        valid = np.arange(FRAMES) < 1
    value = prosodic_statistics(tracks, power, voicing, valid, hop_s=HOP_S)
    gradient = jax.grad(lambda t: prosodic_statistics(t, power, voicing, valid, hop_s=HOP_S).sum())(
        tracks
    )
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradient.values())


@pytest.mark.slow
def test_leading_axes_are_a_batch_and_padding_has_no_effect():
    utterances = [make_tracks(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *utterances)
    batch = prosodic_statistics(*stacked, hop_s=HOP_S)
    for i, utterance in enumerate(utterances):
        np.testing.assert_allclose(
            batch[i], prosodic_statistics(*utterance, hop_s=HOP_S), rtol=1e-5, atol=1e-5
        )
    tracks, power, voicing, valid = utterances[0]
    cut = slice(150)
    shorter = prosodic_statistics(
        {n: x[cut] for n, x in tracks.items()}, power[cut], voicing[cut], valid[cut], hop_s=HOP_S
    )
    np.testing.assert_allclose(batch[0], shorter, rtol=1e-5, atol=1e-5)


def test_a_constant_has_zero_deviation_skewness_and_kurtosis():
    values = dict(zip(DISTRIBUTION, distribution(jnp.full(9, 3.0), jnp.arange(9) < 5), strict=True))
    assert (
        values["mean"] == values["p50"] == 3
        and values["std"] == values["skewness"] == values["kurtosis"] == 0
    )
    assert len(RHYTHM) == 14
