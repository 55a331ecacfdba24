"""The descriptors and functionals that `voice.py` compares, with their names in each program."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jdann.features.egemaps import VOICED

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


def formant_descriptors(number: int) -> tuple[Descriptor, ...]:
    return (
        Descriptor(f"f{number}_frequency", f"F{number}frequency", SHORT),
        Descriptor(f"f{number}_bandwidth", f"F{number}bandwidth", SHORT),
        Descriptor(f"f{number}_level", f"F{number}amplitudeLogRelF0", LONG),
    )


DESCRIPTORS = (
    Descriptor("log_f0", "F0semitoneFrom27.5Hz", LONG),
    Descriptor("loudness", "Loudness", SHORT),
    Descriptor("jitter", "jitterLocal", PERIODS),
    Descriptor("shimmer", "shimmerLocaldB", PERIODS),
    Descriptor("hnr", "HNRdBACF", LONG),
    Descriptor("h1_h2", "logRelF0-H1-H2", LONG),
    Descriptor("h1_a3", "logRelF0-H1-A3", LONG),
    *formant_descriptors(1),
    *formant_descriptors(2),
    *formant_descriptors(3),
    Descriptor("alpha_ratio", "alphaRatio", SHORT, sign=-1),
    Descriptor("hammarberg", "hammarbergIndex", SHORT),
    Descriptor("slope_0_500", "slope0-500", SHORT),
    Descriptor("slope_500_1500", "slope500-1500", SHORT),
    Descriptor("flux", "spectralFlux", SHORT),
    *(Descriptor(f"mfcc{i}", f"mfcc{i}", SHORT) for i in (1, 2, 3, 4)),
)

# Descriptors that are compared in voiced frames only.
COMPARED_IN_VOICED_FRAMES = {
    *VOICED,
    "alpha_ratio",
    "hammarberg",
    "slope_0_500",
    "slope_500_1500",
}

# openSMILE's suffixes, and jdann's.
CONTOUR = {
    "percentile20.0": "p20",
    "percentile50.0": "p50",
    "percentile80.0": "p80",
    "pctlrange0-2": "range",
    "meanRisingSlope": "rising_mean",
    "stddevRisingSlope": "rising_std",
    "meanFallingSlope": "falling_mean",
    "stddevFallingSlope": "falling_std",
}
SEGMENTS = {
    "loudnessPeaksPerSec": "loudness_peaks_per_s",
    "VoicedSegmentsPerSec": "voiced_segments_per_s",
    "MeanVoicedSegmentLengthSec": "voiced_segment_mean_s",
    "StddevVoicedSegmentLengthSec": "voiced_segment_std_s",
    "MeanUnvoicedSegmentLength": "unvoiced_segment_mean_s",
    "StddevUnvoicedSegmentLength": "unvoiced_segment_std_s",
    "equivalentSoundLevel_dBp": "sound_level_db",
}
# openSMILE divides the standard deviation of every descriptor by the mean. jdann does so for these
# descriptors only, because they are positive.
POSITIVE = ("loudness", "flux", "jitter", "shimmer", "frequency", "bandwidth")
# These are computed over all frames too, so their names say "voiced".
VOICED_AND_ALL = ("spectralFlux", "mfcc1", "mfcc2", "mfcc3", "mfcc4")


class Functional(NamedTuple):
    """One functional, with its names in openSMILE and in jdann."""

    smile: str
    ours: str
    sign: int = 1  # openSMILE's relative to ours
    mean: str = ""  # openSMILE's mean, if jdann does not divide by it

    def value_in_our_form(self, smile_values: Mapping[str, float]) -> float:
        """jdann's form of this functional, computed from openSMILE's values."""
        value = self.sign * smile_values[self.smile]
        return abs(value * smile_values[self.mean]) if self.mean else value


def match_functionals(smile_names: Sequence[str]) -> list[Functional]:
    """jdann's functional for each functional of openSMILE."""
    return [match_functional(name) for name in smile_names]


def match_functional(smile_name: str) -> Functional:
    if smile_name in SEGMENTS:
        return Functional(smile_name, SEGMENTS[smile_name])
    descriptor, frames, statistic = split_smile_name(smile_name)
    ours = descriptor.ours + frames
    if statistic == "amean":
        return Functional(smile_name, f"{ours}_mean", sign=descriptor.sign)
    if statistic == "stddevNorm":
        mean = "" if ours.endswith(POSITIVE) else smile_name.replace("stddevNorm", "amean")
        return Functional(smile_name, f"{ours}_std", mean=mean)
    return Functional(smile_name, f"{ours}_{CONTOUR[statistic]}")


def split_smile_name(name: str) -> tuple[Descriptor, str, str]:
    """The descriptor, jdann's suffix for the frames, and openSMILE's name of the statistic.

    openSMILE marks voiced frames by "V" and unvoiced frames by "UV" after the descriptor, or after
    "slope".
    """
    smile, statistic = name.rsplit("_", 1)
    smile = smile.removesuffix("_sma3nz").removesuffix("_sma3")
    smile = "Loudness" if smile == "loudness" else smile
    frames = ""
    for mark in ("UV", "V"):
        unmarked = smile.replace(f"slope{mark}", "slope").removesuffix(mark)
        if unmarked != smile:
            smile = unmarked
            if mark == "UV":
                frames = "_unvoiced"
            elif smile in VOICED_AND_ALL:
                frames = "_voiced"
            break
    descriptor = next(d for d in DESCRIPTORS if d.smile == smile)
    return descriptor, frames, statistic
