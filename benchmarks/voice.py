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
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_line import make_parser
from markdown_table import header, row
from voice_descriptors import COMPARED_IN_VOICED_FRAMES, DESCRIPTORS, match_functionals
from voice_programs import (
    RATE_HZ,
    Functionals,
    Tracks,
    make_smile,
    measure_with_jdann,
    measure_with_praat,
    opensmile,
    parselmouth,
)

from jdann import audio, corpora


class Clip(NamedTuple):
    """What three programs measure of one utterance; empty for a program that is not installed."""

    ours: Tracks
    smile: Tracks  # with jdann's names, frames and signs
    praat: Tracks  # the same; jitter and shimmer are one value for the whole utterance, [1]
    functionals: Functionals
    smile_functionals: Functionals


Program = Callable[[Clip], Tracks]  # the tracks of one program

PROGRAMS: dict[str, Program] = {
    "ours": lambda clip: clip.ours,
    "openSMILE": lambda clip: clip.smile,
    "Praat": lambda clip: clip.praat,
}
PAIRS = (("ours", "openSMILE"), ("ours", "Praat"), ("openSMILE", "Praat"))
NO_VALUE = float("nan")


def measure_clips(manifest: str, count: int, seed: int, folder: Path | None) -> Iterator[Clip]:
    """Measures a random sample of a corpus with all programs.

    Args:
      manifest: the corpus.
      count: the number of utterances.
      seed: of the random choice.
      folder: where measured clips are kept. Clips that are there already are not measured again.
    """
    utterances = corpora.load(manifest, corpora.EMOTIONS).utterances
    chosen = np.sort(np.random.default_rng(seed).permutation(len(utterances))[:count])
    measure_with_smile = make_smile()
    for i in chosen:
        path = folder / f"{Path(manifest).stem}-{i}.pickle" if folder else None
        if path and path.exists():
            yield Clip(*pickle.loads(path.read_bytes()))
            continue
        utterance = utterances[i]
        samples = audio.read(utterance.path, utterance.start_s, utterance.end_s)
        y = audio.mono(*samples, RATE_HZ)
        tracks, functionals = measure_with_jdann(y)
        frames = len(tracks["voiced"])
        smile_tracks, smile_functionals = measure_with_smile(y, frames)
        praat_tracks = measure_with_praat(y, frames)
        clip = Clip(tracks, smile_tracks, praat_tracks, functionals, smile_functionals)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(tuple(clip)))
        yield clip


def correlation(a: Any, b: Any) -> float:
    """Pearson's correlation over the finite pairs; NaN with too few pairs or no variation."""
    a, b = np.asarray(a), np.asarray(b)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) <= 2 or a.std() == 0 or b.std() == 0:
        return NO_VALUE
    return float(np.corrcoef(a, b)[0, 1])


def mean_of_track(tracks: Tracks, name: str) -> float:
    """Mean of a track over the frames that its program calls voiced.

    Tracks that are meaningful in all frames are averaged over all of them.
    """
    track = tracks[name]
    if len(track) == 1:
        return float(track[0])
    mask = np.isfinite(track)
    if name in COMPARED_IN_VOICED_FRAMES:
        mask &= tracks["voiced"]
    return float(track[mask].mean()) if mask.any() else NO_VALUE


def compare_programs(
    clips: list[Clip], name: str, first: Program, second: Program
) -> tuple[float, float]:
    """Two correlations: of means over utterances, and of the frames that both call voiced.

    They are NaN if a program lacks the descriptor. The second one is NaN if a program has only one
    value for each utterance.
    """
    if name not in first(clips[0]) or name not in second(clips[0]):
        return NO_VALUE, NO_VALUE
    means = [[mean_of_track(program(c), name) for c in clips] for program in (first, second)]
    if 1 in (len(first(clips[0])[name]), len(second(clips[0])[name])):
        return correlation(*means), NO_VALUE
    masks = [
        first(clip)["voiced"] & second(clip)["voiced"]
        if name in COMPARED_IN_VOICED_FRAMES
        else slice(None)
        for clip in clips
    ]
    frames = [
        np.concatenate([program(c)[name][m] for c, m in zip(clips, masks, strict=True)])
        for program in (first, second)
    ]
    return correlation(*means), correlation(*frames)


def format_number(value: float) -> str:
    """Two decimals, without a leading zero; a dash if there is no value."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    return text.replace("0.", ".") if abs(value) < 1 else text


def format_descriptors(clips: list[Clip]) -> str:
    """The table of descriptors of one corpus."""
    columns = [f"{a} ~ {b}, {what}" for a, b in PAIRS for what in ("means", "frames")]
    lines = [header(("descriptor", *columns), ("---", *["---:"] * 6))]
    for descriptor in DESCRIPTORS:
        name = descriptor.ours
        cells = [
            format_number(value)
            for a, b in PAIRS
            for value in compare_programs(clips, name, PROGRAMS[a], PROGRAMS[b])
        ]
        lines.append(row(f"`{name}`", *cells))
    return "\n".join(lines)


def format_functionals(clips: list[Clip]) -> str:
    """The table of functionals of one corpus."""
    columns = ("functional of eGeMAPS", "ours", "ours ~ openSMILE")
    lines = [header(columns, ("---", "---", "---:"))]
    for functional in match_functionals(list(clips[0].smile_functionals)):
        ours = [clip.functionals[functional.ours] for clip in clips]
        smile = [functional.value_in_our_form(clip.smile_functionals) for clip in clips]
        cells = (f"`{functional.smile}`", f"`{functional.ours}`")
        lines.append(row(*cells, format_number(correlation(ours, smile))))
    return "\n".join(lines)


def describe_versions() -> str:
    """The versions of jax and of the peers."""
    peers = {"opensmile": opensmile, "praat-parselmouth": parselmouth}
    packages = [f"jax {version('jax')}"]
    packages += [
        f"{name} {version(name) if module else 'not installed'}" for name, module in peers.items()
    ]
    if parselmouth:
        packages.append(f"Praat {parselmouth.PRAAT_VERSION}")
    return ", ".join(packages)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
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
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    count = 2 if arguments.tiny else arguments.utterances
    print(
        f"{datetime.date.today()}, {platform.machine()}, {describe_versions()}, "
        f"seed {arguments.seed}"
    )
    for manifest in arguments.manifests:
        clips = list(measure_clips(manifest, count, arguments.seed, arguments.keep))
        tables = [format_descriptors(clips)]
        if clips[0].smile_functionals:
            tables.append(format_functionals(clips))
        text = "\n\n".join(tables)
        print(f"\n## {Path(manifest).stem}, {len(clips)} utterances\n\n{text}", flush=True)


if __name__ == "__main__":
    main()
