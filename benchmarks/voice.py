"""Our descriptors of the voice beside openSMILE's eGeMAPS and Praat's, on real speech: how closely each goes along with theirs.

    python benchmarks/voice.py ravdess.csv casia.csv

Needs `pip install "jdann[bench]"`: opensmile, whose licence is for non-commercial use, and praat-parselmouth. Nothing else in
jdann needs either. Clips are taken as they were recorded, untrimmed, at 16 kHz; ours has a frame every 10 ms, as openSMILE has.
"""

import argparse
import datetime
import pickle
import platform
import sys
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
from jdann.features.egemaps import VOICED, functionals, voice_tracks
from jdann.features.spectral import spectrogram

try:
    import opensmile
    import parselmouth
except ModuleNotFoundError as missing:
    sys.exit(
        f'{missing.name} is not installed: pip install "jdann[bench]" (opensmile is for non-commercial use)'
    )

RATE_HZ, HOP, N_FFT = 16000, 160, 1024  # samples
FMIN_HZ, FMAX_HZ = 65.0, 600.0  # of pitch, for Praat too
BUCKET = RATE_HZ  # samples that clips are padded to a multiple of
# By how many frames openSMILE's, which are numbered where they begin, are before ours, numbered at their centre: those of 20 ms,
# of 60 ms, and jitter and shimmer, which are measured at the beginning of those of 60 ms.
SHORT, LONG, PERIODS = 1, 3, 0


class Descriptor(NamedTuple):
    """One track, ours and theirs."""

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

Tracks = dict[str, np.ndarray]  # [frames] by name, NaN where there is none, "voiced" among them


class Clip(NamedTuple):
    """What three programs say of one utterance."""

    ours: Tracks
    smile: Tracks  # by our names, on our frames, in our sign
    praat: Tracks  # likewise; jitter and shimmer are of the whole utterance, [1]
    functionals: dict[str, float]
    smile_functionals: dict[str, float]


@jax.jit
def _extract(
    y: jax.Array, n_samples: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array, dict[str, jax.Array]]:
    """Our tracks [frames], which frames are voiced, and the functionals of y [samples], which is zero from n_samples on."""
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
    """Tracks and functionals of [samples]."""
    padded = np.zeros(-(-len(y) // BUCKET) * BUCKET, np.float32)
    padded[: len(y)] = y
    tracks, voicing, values = jax.device_get(_extract(padded, jnp.int32(len(y))))
    frames = 1 + len(y) // HOP
    found = {name: np.asarray(track[:frames], np.float64) for name, track in tracks.items()}
    return found | {"voiced": voicing[:frames] > 0.5}, {
        name: float(value) for name, value in values.items()
    }


def make_smile() -> Callable[[np.ndarray, int], tuple[Tracks, dict[str, float]]]:
    """A function from [samples] and our number of frames to openSMILE's tracks on these frames, and its 88 functionals."""
    level = opensmile.FeatureLevel
    low, high = (
        opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, kind)
        for kind in (level.LowLevelDescriptors, level.Functionals)
    )

    def smile(y: np.ndarray, frames: int) -> tuple[Tracks, dict[str, float]]:
        table = low.process_signal(y, RATE_HZ)
        columns = {name.rsplit("_", 1)[0]: table[name].to_numpy(np.float64) for name in table}

        def placed(values: np.ndarray, shift: int) -> np.ndarray:
            found = np.full(frames, np.nan)
            stop = min(frames, shift + len(values))
            found[shift:stop] = values[: stop - shift]
            return found

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
    """Praat's tracks at our frames, by its own defaults but for the range of pitch and a frame every 10 ms.

    Levels of harmonics, which Praat has no command for, are read off a Fourier transform at multiples of Praat's pitch and
    near Praat's formants.
    """
    sound, step = parselmouth.Sound(y.astype(np.float64), RATE_HZ), HOP / RATE_HZ
    time = np.arange(frames) * step
    tracked = sound.to_pitch_ac(time_step=step, pitch_floor=FMIN_HZ, pitch_ceiling=FMAX_HZ)
    harmonicity = sound.to_harmonicity_cc(time_step=step, minimum_pitch=FMIN_HZ)
    formant = sound.to_formant_burg(time_step=step)
    points = parselmouth.praat.call([sound, tracked], "To PointProcess (cc)")
    local = (
        0,
        0,
        1e-4,
        0.02,
        1.3,
    )  # whole file; shortest and longest period, s; their largest ratio
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
    """Levels of the second harmonic and of the strongest harmonic within a fifth of each formant, relative to the first, dB."""
    n = 8 * N_FFT
    padded, window = np.pad(y.astype(np.float64), N_FFT), np.hanning(N_FFT + 1)[:-1]
    found = {
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
        found["h1_h2"][t] = first - level(2)
        for i in (1, 2, 3):
            formant = tracks[f"f{i}_frequency"][t]
            near = [
                k
                for k in range(1, int(0.9 * RATE_HZ / 2 / f0_hz[t]))
                if abs(k * f0_hz[t] - formant) <= 0.2 * formant
            ]
            if near:
                found[f"f{i}_level"][t] = max(map(level, near)) - first
        found["h1_a3"][t] = -found["f3_level"][t]
    return found


def _at(time: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value nearest in time, NaN beyond the ends."""
    step = known[1] - known[0] if len(known) > 1 else 1.0
    index = np.rint((time - known[0]) / step).astype(int)
    inside = (index >= 0) & (index < len(known))
    return np.where(inside, values[np.clip(index, 0, len(known) - 1)], np.nan)


def clips(manifest: str, count: int, seed: int, keep: Path | None) -> Iterator[Clip]:
    """A random sample of a corpus, described by all three; what is kept in a folder is not computed again."""
    found = corpora.load(manifest, corpora.EMOTIONS).utterances
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:count])
    smile = make_smile()
    for i in chosen:
        kept = keep / f"{Path(manifest).stem}-{i}.pickle" if keep else None
        if kept and kept.exists():
            yield Clip(*pickle.loads(kept.read_bytes()))
            continue
        y = audio.mono(*audio.read(found[i].path, found[i].start_s, found[i].end_s), RATE_HZ)
        tracks, values = ours(y)
        frames = len(tracks["voiced"])
        theirs, their_values = smile(y, frames)
        clip = Clip(tracks, theirs, praat(y, frames), values, their_values)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(pickle.dumps(tuple(clip)))
        yield clip


def correlation(a: Any, b: Any) -> float:
    """Pearson's, over what both have; NaN where too little remains or nothing varies."""
    a, b = np.asarray(a), np.asarray(b)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    return (
        float(np.corrcoef(a, b)[0, 1])
        if len(a) > 2 and a.std() > 0 and b.std() > 0
        else float("nan")
    )


def mean_of(tracks: Tracks, name: str) -> float:
    """Mean of a track over the frames that its program calls voiced, or over all where it is meaningful in all."""
    if len(tracks[name]) == 1:
        return float(tracks[name][0])
    mask = np.isfinite(tracks[name]) & (tracks["voiced"] if name in VOICED_HERE else True)
    return float(tracks[name][mask].mean()) if mask.any() else float("nan")


def compared(
    found: list[Clip], name: str, one: Callable[[Clip], Tracks], other: Callable[[Clip], Tracks]
) -> tuple[float, float]:
    """Correlation of means over utterances, and of frames, of all utterances together, that both call voiced."""
    means = [[mean_of(side(c), name) for c in found] for side in (one, other)]
    if 1 in (len(one(found[0])[name]), len(other(found[0])[name])):
        return correlation(*means), float("nan")
    masks = [
        one(c)["voiced"] & other(c)["voiced"] if name in VOICED_HERE else slice(None) for c in found
    ]
    frames = [
        np.concatenate([side(c)[name][m] for c, m in zip(found, masks, strict=True)])
        for side in (one, other)
    ]
    return correlation(*means), correlation(*frames)


# openSMILE's suffixes, ours, and whether its value is relative to the mean.
_CONTOUR = (
    ("percentile20.0", "p20"), ("percentile50.0", "p50"), ("percentile80.0", "p80"), ("pctlrange0-2", "range"),
    ("meanRisingSlope", "rising_mean"), ("stddevRisingSlope", "rising_std"),
    ("meanFallingSlope", "falling_mean"), ("stddevFallingSlope", "falling_std"),
)  # fmt: skip
_OF_TIME = {
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
    """Of each of openSMILE's functionals: its name, ours, and how it is had in our form from openSMILE's values."""

    def spread(values: dict[str, float], name: str, mean: str, relative: bool, sign: int) -> float:
        """Standard deviation, or that over the mean: openSMILE has the latter of all, we of what is positive."""
        del sign
        return values[name] if relative else abs(values[name] * values[mean])

    positive = ("loudness", "flux", "jitter", "shimmer", "frequency", "bandwidth")
    for name in names:
        if name in _OF_TIME:
            yield name, _OF_TIME[name], lambda values, name=name: values[name]
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
        own, sign = descriptor.ours + part, descriptor.sign
        if statistic == "amean":
            yield name, f"{own}_mean", lambda values, name=name, sign=sign: sign * values[name]
        elif statistic == "stddevNorm":
            relative = own.endswith(positive)
            mean = name.replace("stddevNorm", "amean")
            yield (
                name,
                f"{own}_std",
                partial(spread, name=name, mean=mean, relative=relative, sign=sign),
            )
        else:
            yield name, f"{own}_{dict(_CONTOUR)[statistic]}", lambda values, name=name: values[name]


def number(value: float) -> str:
    return (
        "–"
        if not np.isfinite(value)
        else f"{value:.2f}".replace("0.", ".")
        if abs(value) < 1
        else f"{value:.2f}"
    )


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def render(found: list[Clip]) -> str:
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
        has = [name for name in sides if d.ours in sides[name](found[0])]
        cells = [
            compared(found, d.ours, sides[a], sides[b]) if {a, b} <= {*has} else (np.nan, np.nan)
            for a, b in pairs
        ]
        lines.append(row(f"`{d.ours}`", *(number(value) for cell in cells for value in cell)))
    lines += [
        "",
        row("functional of eGeMAPS", "ours", "ours ~ openSMILE"),
        row("---", "---", "---:"),
    ]
    for name, own, value in functional_pairs(list(found[0].smile_functionals)):
        r = correlation(
            [c.functionals[own] for c in found], [value(c.smile_functionals) for c in found]
        )
        lines.append(row(f"`{name}`", f"`{own}`", number(r)))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", nargs="+", help="corpora: manifests or folders")
    parser.add_argument(
        "--utterances", type=int, default=200, help="of each corpus, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of what has been computed, to continue after an interruption",
    )
    given = parser.parse_args()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "opensmile", "praat-parselmouth")
    )
    print(
        f"{datetime.date.today()}, {platform.machine()}, {packages} (Praat {parselmouth.PRAAT_VERSION}), seed {given.seed}"
    )
    for manifest in given.manifests:
        found = list(clips(manifest, given.utterances, given.seed, given.keep))
        print(f"\n## {Path(manifest).stem}, {len(found)} utterances\n\n{render(found)}", flush=True)


if __name__ == "__main__":
    main()
