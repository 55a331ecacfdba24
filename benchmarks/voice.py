"""Descriptors of the voice in jdann, openSMILE (eGeMAPS) and Praat: correlations on real speech.

    python benchmarks/voice.py ravdess.csv casia.csv
    python benchmarks/voice.py ravdess.csv --tiny    # two utterances; the figures mean nothing

The peers are opensmile, whose licence is for non-commercial use, and praat-parselmouth. Install
them with `pip install -e ".[bench]"` in a clone. Nothing else in jdann needs them, and a peer
that is not installed is left out. Clips are used as they were recorded, untrimmed, at 16 kHz.
jdann has a frame every 10 ms, like openSMILE.
"""

import argparse
import datetime
import pickle
import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann import audio, corpora
from jdann.configuration import base_config
from jdann.features import melspectrogram, mfcc, pitch, power_to_db, rms
from jdann.features.egemaps import EGEMAPS, VOICED, functionals, voice_tracks
from jdann.features.spectral import spectrogram

try:
    import opensmile
except ModuleNotFoundError:
    opensmile = None
try:
    import parselmouth
    import parselmouth.praat
except ModuleNotFoundError:
    parselmouth = None

RATE_HZ, HOP, N_FFT = 16000, 160, 1024  # samples
FMIN_HZ, FMAX_HZ = 65.0, 600.0  # range of pitch, for Praat too
BUCKET = RATE_HZ  # clips are padded to a multiple of so many samples
# openSMILE numbers a frame by its beginning, jdann by its centre. These are the differences in
# frames: for frames of 20 ms, for frames of 60 ms, and for jitter and shimmer, which are measured
# at the beginning of frames of 60 ms.
SHORT, LONG, PERIODS = 1, 3, 0


class Descriptor(NamedTuple):
    """One descriptor, with its names in jdann and in openSMILE."""

    ours: str
    smile: str  # openSMILE's low-level descriptor, without its suffix
    shift: int  # frames
    sign: int = 1  # openSMILE's relative to ours


DESCRIPTORS = (
    Descriptor("log_f0", "F0semitoneFrom27.5Hz", LONG),
    Descriptor("loudness", "Loudness", SHORT),
    Descriptor("jitter", "jitterLocal", PERIODS),
    Descriptor("shimmer", "shimmerLocaldB", PERIODS),
    Descriptor("hnr", "HNRdBACF", LONG),
    Descriptor("h1_h2", "logRelF0-H1-H2", LONG),
    Descriptor("h1_a3", "logRelF0-H1-A3", LONG),
    *(
        Descriptor(f"f{i}_{ours}", f"F{i}{theirs}", shift)
        for i in (1, 2, 3)
        for ours, theirs, shift in (
            ("frequency", "frequency", SHORT),
            ("bandwidth", "bandwidth", SHORT),
            ("level", "amplitudeLogRelF0", LONG),
        )
    ),
    Descriptor("alpha_ratio", "alphaRatio", SHORT, sign=-1),
    Descriptor("hammarberg", "hammarbergIndex", SHORT),
    Descriptor("slope_0_500", "slope0-500", SHORT),
    Descriptor("slope_500_1500", "slope500-1500", SHORT),
    Descriptor("flux", "spectralFlux", SHORT),
    *(Descriptor(f"mfcc{i}", f"mfcc{i}", SHORT) for i in (1, 2, 3, 4)),
)

VOICED_HERE = {
    *VOICED,
    "alpha_ratio",
    "hammarberg",
    "slope_0_500",
    "slope_500_1500",
}  # compared in voiced frames
NO_LEVEL_DB = -200.0  # openSMILE's -201 says that it has no formant's level

# By name: [frames], NaN where there is no value. "voiced" says which frames are voiced.
Tracks = dict[str, np.ndarray]


class Clip(NamedTuple):
    """What three programs measure of one utterance; empty for a program that is not installed."""

    ours: Tracks
    smile: Tracks  # with jdann's names, frames and signs
    praat: Tracks  # the same; jitter and shimmer are one value for the whole utterance, [1]
    functionals: dict[str, float]
    smile_functionals: dict[str, float]


@jax.jit
def _extract(
    y: jax.Array, n_samples: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """jdann's tracks [frames], voicing [frames], and functionals [EGEMAPS] of y.

    y is [samples], and zero from n_samples on.
    """
    S, _ = spectrogram(y, n_fft=N_FFT, hop_length=HOP)
    track = pitch(S=S, sr=RATE_HZ, n_fft=N_FFT, fmin=FMIN_HZ, fmax=FMAX_HZ)
    tracks = voice_tracks(y=y, S=S, pitch=track, sr=RATE_HZ, hop_length=HOP, n_fft=N_FFT)
    config = base_config().features
    coefficients = mfcc(
        S=power_to_db(melspectrogram(S=S**2, sr=RATE_HZ, n_fft=N_FFT, n_mels=config.n_mels)),
        n_mfcc=config.n_mfcc,
    )
    tracks |= {f"mfcc{i}": coefficients[i] for i in range(1, 5)}
    valid = jnp.arange(S.shape[-1]) < 1 + n_samples // HOP
    power = rms(y=y, frame_length=N_FFT, hop_length=HOP)[0] ** 2
    return (
        tracks,
        track.voicing,
        functionals(tracks, power, track.voicing, valid, hop_s=HOP / RATE_HZ),
    )


def ours(y: np.ndarray) -> tuple[Tracks, dict[str, float]]:
    """jdann's tracks and functionals of y [samples]."""
    padded = np.zeros(-(-len(y) // BUCKET) * BUCKET, np.float32)
    padded[: len(y)] = y
    tracks, voicing, values = jax.device_get(_extract(padded, jnp.int32(len(y))))
    frames = 1 + len(y) // HOP
    tracks = {name: np.asarray(track[:frames], np.float64) for name, track in tracks.items()}
    tracks["voiced"] = voicing[:frames] > 0.5
    return tracks, dict(zip(EGEMAPS, map(float, values), strict=True))


def make_smile() -> Callable[[np.ndarray, int], tuple[Tracks, dict[str, float]]]:
    """A function from [samples] and a number of frames to openSMILE's tracks and 88 functionals.

    Without openSMILE it returns nothing.
    """
    if opensmile is None:
        return lambda y, frames: ({}, {})
    level = opensmile.FeatureLevel
    low, high = (
        opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, kind)
        for kind in (level.LowLevelDescriptors, level.Functionals)
    )

    def smile(y: np.ndarray, frames: int) -> tuple[Tracks, dict[str, float]]:
        table = low.process_signal(y, RATE_HZ)
        columns = {name.rsplit("_", 1)[0]: table[name].to_numpy(np.float64) for name in table}

        def placed(values: np.ndarray, shift: int) -> np.ndarray:
            track = np.full(frames, np.nan)
            stop = min(frames, shift + len(values))
            track[shift:stop] = values[: stop - shift]
            return track

        tracks = {d.ours: d.sign * placed(columns[d.smile], d.shift) for d in DESCRIPTORS}
        for name in VOICED:
            tracks[name] = np.where(
                (tracks[name] == 0) | (tracks[name] < NO_LEVEL_DB), np.nan, tracks[name]
            )
        return tracks | {"voiced": np.nan_to_num(tracks["log_f0"]) > 0}, dict(
            high.process_signal(y, RATE_HZ).iloc[0]
        )

    return smile


def praat(y: np.ndarray, frames: int) -> Tracks:
    """Praat's tracks at jdann's frames; nothing if parselmouth is not installed.

    Settings are Praat's defaults, except the range of pitch and a frame every 10 ms. Praat has no
    command for the levels of harmonics. They are read from a Fourier transform, at multiples of
    Praat's pitch and near Praat's formants.
    """
    if parselmouth is None:
        return {}
    sound, step = parselmouth.Sound(y.astype(np.float64), RATE_HZ), HOP / RATE_HZ
    time = np.arange(frames) * step
    tracked = sound.to_pitch_ac(time_step=step, pitch_floor=FMIN_HZ, pitch_ceiling=FMAX_HZ)
    harmonicity = sound.to_harmonicity_cc(time_step=step, minimum_pitch=FMIN_HZ)
    formant = sound.to_formant_burg(time_step=step)
    points = parselmouth.praat.call([sound, tracked], "To PointProcess (cc)")
    # The whole file (0, 0); the shortest and the longest period in s; their largest ratio.
    local = (0, 0, 1e-4, 0.02, 1.3)
    f0_hz = _at(time, tracked.xs(), tracked.selected_array["frequency"])
    hnr = _at(time, harmonicity.xs(), harmonicity.values[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        tracks = {
            "log_f0": np.where(f0_hz > 0, 12 * np.log2(f0_hz / 27.5), np.nan),
            "hnr": np.where(hnr > -150, hnr, np.nan),
        }
    for i in (1, 2, 3):
        tracks[f"f{i}_frequency"] = np.array([formant.get_value_at_time(i, t) for t in time])
        tracks[f"f{i}_bandwidth"] = np.array([formant.get_bandwidth_at_time(i, t) for t in time])
    tracks["jitter"] = np.array([parselmouth.praat.call(points, "Get jitter (local)", *local)])
    tracks["shimmer"] = np.array(
        [parselmouth.praat.call([sound, points], "Get shimmer (local_dB)", *local, 1.6)]
    )
    return tracks | harmonics(y, f0_hz, tracks) | {"voiced": np.isfinite(tracks["log_f0"])}


def harmonics(y: np.ndarray, f0_hz: np.ndarray, tracks: Tracks) -> Tracks:
    """Levels relative to the first harmonic, in dB.

    They are those of the second harmonic, and of the strongest harmonic within a fifth of each
    formant.
    """
    n = 8 * N_FFT
    padded, window = np.pad(y.astype(np.float64), N_FFT), np.hanning(N_FFT + 1)[:-1]
    levels = {
        name: np.full(len(f0_hz), np.nan)
        for name in ("h1_h2", "h1_a3", "f1_level", "f2_level", "f3_level")
    }
    for t in np.flatnonzero(f0_hz > 0):
        begin = t * HOP + N_FFT // 2
        spectrum_db = 20 * np.log10(
            np.abs(np.fft.rfft(padded[begin : begin + N_FFT] * window, n)) + 1e-9
        )

        def level(k: int, f0: float = f0_hz[t], spectrum_db: np.ndarray = spectrum_db) -> float:
            low, high = ((k + side * 0.06) * f0 * n / RATE_HZ for side in (-1, 1))
            return float(spectrum_db[int(low) : int(high) + 1].max())

        first = level(1)
        levels["h1_h2"][t] = first - level(2)
        for i in (1, 2, 3):
            formant = tracks[f"f{i}_frequency"][t]
            near = [
                k
                for k in range(1, int(0.9 * RATE_HZ / 2 / f0_hz[t]))
                if abs(k * f0_hz[t] - formant) <= 0.2 * formant
            ]
            if near:
                levels[f"f{i}_level"][t] = max(map(level, near)) - first
        levels["h1_a3"][t] = -levels["f3_level"][t]
    return levels


def _at(time: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value that is nearest in time; NaN before the first and after the last."""
    step = known[1] - known[0] if len(known) > 1 else 1.0
    index = np.rint((time - known[0]) / step).astype(int)
    inside = (index >= 0) & (index < len(known))
    return np.where(inside, values[np.clip(index, 0, len(known) - 1)], np.nan)


def clips(manifest: str, count: int, seed: int, keep: Path | None) -> Iterator[Clip]:
    """A random sample of a corpus, measured by all programs.

    Clips that an earlier run wrote to the folder `keep` are not computed again.
    """
    utterances = corpora.load(manifest, corpora.EMOTIONS).utterances
    chosen = np.sort(np.random.default_rng(seed).permutation(len(utterances))[:count])
    smile = make_smile()
    for i in chosen:
        kept = keep / f"{Path(manifest).stem}-{i}.pickle" if keep else None
        if kept and kept.exists():
            yield Clip(*pickle.loads(kept.read_bytes()))
            continue
        y = audio.mono(
            *audio.read(utterances[i].path, utterances[i].start_s, utterances[i].end_s), RATE_HZ
        )
        tracks, values = ours(y)
        frames = len(tracks["voiced"])
        smile_tracks, smile_values = smile(y, frames)
        clip = Clip(tracks, smile_tracks, praat(y, frames), values, smile_values)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(pickle.dumps(tuple(clip)))
        yield clip


def correlation(a: Any, b: Any) -> float:
    """Pearson's correlation over the finite pairs; NaN with too few pairs or no variation."""
    a, b = np.asarray(a), np.asarray(b)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    return (
        float(np.corrcoef(a, b)[0, 1])
        if len(a) > 2 and a.std() > 0 and b.std() > 0
        else float("nan")
    )


def mean_of(tracks: Tracks, name: str) -> float:
    """Mean of a track over the frames that its program calls voiced.

    Tracks that are meaningful in all frames are averaged over all of them.
    """
    if len(tracks[name]) == 1:
        return float(tracks[name][0])
    mask = np.isfinite(tracks[name]) & (tracks["voiced"] if name in VOICED_HERE else True)
    return float(tracks[name][mask].mean()) if mask.any() else float("nan")


def compared(
    clips: list[Clip],
    name: str,
    first: Callable[[Clip], Tracks],
    second: Callable[[Clip], Tracks],
) -> tuple[float, float]:
    """Two correlations: of means over utterances, and of the frames that both call voiced."""
    means = [[mean_of(side(c), name) for c in clips] for side in (first, second)]
    if 1 in (len(first(clips[0])[name]), len(second(clips[0])[name])):
        return correlation(*means), float("nan")
    masks = [
        first(c)["voiced"] & second(c)["voiced"] if name in VOICED_HERE else slice(None)
        for c in clips
    ]
    frames = [
        np.concatenate([side(c)[name][m] for c, m in zip(clips, masks, strict=True)])
        for side in (first, second)
    ]
    return correlation(*means), correlation(*frames)


# openSMILE's suffixes, and jdann's.
_CONTOUR = (
    ("percentile20.0", "p20"),
    ("percentile50.0", "p50"),
    ("percentile80.0", "p80"),
    ("pctlrange0-2", "range"),
    ("meanRisingSlope", "rising_mean"),
    ("stddevRisingSlope", "rising_std"),
    ("meanFallingSlope", "falling_mean"),
    ("stddevFallingSlope", "falling_std"),
)
_SEGMENTS = {
    "loudnessPeaksPerSec": "loudness_peaks_per_s",
    "VoicedSegmentsPerSec": "voiced_segments_per_s",
    "MeanVoicedSegmentLengthSec": "voiced_segment_mean_s",
    "StddevVoicedSegmentLengthSec": "voiced_segment_std_s",
    "MeanUnvoicedSegmentLength": "unvoiced_segment_mean_s",
    "StddevUnvoicedSegmentLength": "unvoiced_segment_std_s",
    "equivalentSoundLevel_dBp": "sound_level_db",
}


def functional_pairs(
    names: list[str],
) -> Iterator[tuple[str, str, Callable[[dict[str, float]], float]]]:
    """For each functional of openSMILE: its name, jdann's name, and a function.

    The function computes jdann's form of it from openSMILE's values.
    """

    def spread(values: dict[str, float], name: str, mean: str, relative: bool, sign: int) -> float:
        """The standard deviation, or its ratio to the mean.

        openSMILE has the ratio for every descriptor, jdann only for positive descriptors.
        """
        del sign
        return values[name] if relative else abs(values[name] * values[mean])

    positive = ("loudness", "flux", "jitter", "shimmer", "frequency", "bandwidth")
    for name in names:
        if name in _SEGMENTS:
            yield name, _SEGMENTS[name], lambda values, name=name: values[name]
            continue
        head, statistic = name.rsplit("_", 1)
        head = head.removesuffix("_sma3nz").removesuffix("_sma3")
        head = {"loudness": "Loudness"}.get(head, head)
        part = ""
        for mark in ("UV", "V"):
            plain = head.replace(f"slope{mark}", "slope").removesuffix(mark)
            if plain != head:
                part, head = {"UV": "_unvoiced", "V": ""}[mark], plain
                if mark == "V" and head in ("spectralFlux", "mfcc1", "mfcc2", "mfcc3", "mfcc4"):
                    part = "_voiced"
                break
        descriptor = next(d for d in DESCRIPTORS if d.smile == head)
        name_here, sign = descriptor.ours + part, descriptor.sign
        if statistic == "amean":
            yield (
                name,
                f"{name_here}_mean",
                lambda values, name=name, sign=sign: sign * values[name],
            )
        elif statistic == "stddevNorm":
            relative = name_here.endswith(positive)
            mean = name.replace("stddevNorm", "amean")
            yield (
                name,
                f"{name_here}_std",
                partial(spread, name=name, mean=mean, relative=relative, sign=sign),
            )
        else:
            yield (
                name,
                f"{name_here}_{dict(_CONTOUR)[statistic]}",
                lambda values, name=name: values[name],
            )


def number(value: float) -> str:
    """Two decimals, without a leading zero; a dash if there is no value."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    return text.replace("0.", ".") if abs(value) < 1 else text


def row(*cells: str) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def render(clips: list[Clip]) -> str:
    """Both tables of one corpus in Markdown."""
    sides = {"ours": lambda c: c.ours, "openSMILE": lambda c: c.smile, "Praat": lambda c: c.praat}
    pairs = (("ours", "openSMILE"), ("ours", "Praat"), ("openSMILE", "Praat"))
    lines = [
        row(
            "descriptor", *(f"{a} ~ {b}, {what}" for a, b in pairs for what in ("means", "frames"))
        ),
        row("---", *["---:"] * 6),
    ]
    for d in DESCRIPTORS:
        present = [name for name in sides if d.ours in sides[name](clips[0])]
        cells = [
            compared(clips, d.ours, sides[a], sides[b])
            if {a, b} <= {*present}
            else (np.nan, np.nan)
            for a, b in pairs
        ]
        lines.append(row(f"`{d.ours}`", *(number(value) for cell in cells for value in cell)))
    if not clips[0].smile_functionals:
        return "\n".join(lines)
    lines += [
        "",
        row("functional of eGeMAPS", "ours", "ours ~ openSMILE"),
        row("---", "---", "---:"),
    ]
    for name, ours_name, value in functional_pairs(list(clips[0].smile_functionals)):
        r = correlation(
            [c.functionals[ours_name] for c in clips], [value(c.smile_functionals) for c in clips]
        )
        lines.append(row(f"`{name}`", f"`{ours_name}`", number(r)))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", nargs="+", help="corpora: manifests or folders")
    parser.add_argument(
        "--utterances", type=int, default=200, help="how many of each corpus, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice")
    parser.add_argument(
        "--keep",
        type=Path,
        help="a folder for measured clips, to continue after an interruption",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    count = 2 if arguments.tiny else arguments.utterances
    peers = {"opensmile": opensmile, "praat-parselmouth": parselmouth}
    packages = [f"jax {version('jax')}"]
    packages += [
        f"{name} {version(name) if module else 'not installed'}" for name, module in peers.items()
    ]
    if parselmouth:
        packages.append(f"Praat {parselmouth.PRAAT_VERSION}")
    print(
        f"{datetime.date.today()}, {platform.machine()}, {', '.join(packages)}, "
        f"seed {arguments.seed}"
    )
    for manifest in arguments.manifests:
        sample = list(clips(manifest, count, arguments.seed, arguments.keep))
        print(
            f"\n## {Path(manifest).stem}, {len(sample)} utterances\n\n{render(sample)}", flush=True
        )


if __name__ == "__main__":
    main()
