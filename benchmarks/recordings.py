"""Long recordings: errors in finding speech and speakers, and the time and memory it takes.

    python benchmarks/recordings.py casia.csv emodb.csv ravdess.csv savee.csv
    python benchmarks/recordings.py casia.csv --model runs/best    # also recognises an hour
    python benchmarks/recordings.py casia.csv --tiny    # seconds; the figures mean nothing

Recordings of two people are made of the corpora's clips, with pauses and with room noise.
`benchmarks/recorded_calls.py` defines what counts as speech and as a pause. The columns speaker and
emotion of the manifests are used only to make the recordings and to score.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from command_line import make_parser
from markdown_table import header, row
from recorded_calls import FRAME_S, RATE_HZ, Call, make_call, music, room_noise
from sklearn.metrics import adjusted_rand_score
from timing import run_process

from jdann import corpora
from jdann.audio import AudioError
from jdann.corpora.index import Utterance
from jdann.errors import InputError
from jdann.features.speech import holds_speech
from jdann.files import default_data_dir
from jdann.speakers import encoder_file
from jdann.speakers.recordings import (
    Recording,
    VoiceReader,
    make_voice_reader,
    read_recording,
)

LONGEST_S = 5.0
NOISE_DB = (None, 20.0, 10.0, 0.0)  # how far below the speech; None: no noise, digital silence
COMMAND = (sys.executable, "-c", "from jdann.cli import main; main()", "recordings")


class Sizes(NamedTuple):
    """How much is measured."""

    minutes: float  # of a recording
    calls: int  # recordings for each row
    sounds: int  # clips of each kind that is no speech
    hour_minutes: float


FULL, TINY = Sizes(2.0, 2, 100, 60.0), Sizes(0.3, 1, 2, 0.5)


def load(manifest: str) -> Sequence[Utterance]:
    """The utterances of a corpus whose speakers are known."""
    return corpora.load(manifest, corpora.EMOTIONS).utterances


def draw_speakers(
    utterances: Sequence[Utterance], kind: str, rng: np.random.Generator
) -> tuple[str, str] | None:
    """Draws the two speakers of a recording.

    Args:
      utterances: those of the corpus.
      kind: "one person" (twice the same speaker), "same gender" or "other gender". If the genders
        are unknown, any two people count as "same gender".
      rng: for the draw.

    Returns:
      The two speakers; None if the corpus has no such two.
    """
    gender = {str(u.speaker): u.gender for u in utterances}
    first = str(rng.choice(sorted(gender)))
    if kind == "one person":
        return first, first
    others = [
        name
        for name in sorted(gender)
        if name != first and (gender[name] == gender[first]) == (kind == "same gender")
    ]
    return (first, str(rng.choice(others))) if others else None


def read_call(call: Call, speakers: int, voices: VoiceReader | None) -> Recording:
    """Finds the utterances and speakers of a recording by jdann."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        soundfile.write(path, call.samples, RATE_HZ)
        try:
            return read_recording(path, LONGEST_S, speakers, voices)
        except AudioError:  # no speech was found
            return Recording(path, 0.0, (), ())


def detection(utterances: Sequence[Utterance], noise_db: float | None, sizes: Sizes) -> list[float]:
    """The percentage of the speech that is lost, and that of the pauses that are kept."""
    lost, kept = [], []
    for seed in range(sizes.calls):
        rng = np.random.default_rng(seed)
        pair = draw_speakers(utterances, "other gender", rng) or draw_speakers(
            utterances, "same gender", rng
        )
        assert pair is not None, "a corpus of one speaker"
        call = make_call(utterances, pair, sizes.minutes, noise_db, 1000 + seed)
        is_detected = np.zeros(len(call.speech), bool)
        for start_s, end_s in read_call(call, 1, None).utterances:
            is_detected[round(start_s / FRAME_S) : round(end_s / FRAME_S)] = True
        lost.append(~is_detected[call.speech])
        kept.append(is_detected[call.pause])
    return [100 * float(np.concatenate(part).mean()) for part in (lost, kept)]


def agreement(
    utterances: Sequence[Utterance], kind: str, voices: VoiceReader, sizes: Sizes
) -> tuple[float, float, float] | None:
    """Means over recordings: adjusted Rand index, error, and how many people were found.

    The error is the percentage of the detected speech that is assigned to the wrong person, if the
    speakers are named in the best possible way.
    """
    indices, errors, people = [], [], []
    for seed in range(sizes.calls):
        pair = draw_speakers(utterances, kind, np.random.default_rng(seed))
        if pair is None:
            return None
        call = make_call(utterances, pair, sizes.minutes, 20.0, seed)
        recording, truth = read_call(call, 2, voices), call.speaker
        true_person, assigned_speaker = [], []
        overlap = np.zeros((2, 2))  # frames, by person and by assigned speaker
        for (start_s, end_s), speaker in zip(recording.utterances, recording.speaker, strict=True):
            person = truth[round(start_s / FRAME_S) : round(end_s / FRAME_S)]
            counts = np.bincount(person[person >= 0], minlength=2)
            if counts.any():
                true_person.append(int(counts.argmax()))
                assigned_speaker.append(speaker)
                overlap[:, int(speaker) - 1] += counts
        indices.append(adjusted_rand_score(true_person, assigned_speaker))
        right = max(np.trace(overlap), np.trace(overlap[::-1]))
        errors.append(100 * (1 - right / max(overlap.sum(), 1)))
        people.append(len(set(recording.speaker)))
    return float(np.mean(indices)), float(np.mean(errors)), float(np.mean(people))


def no_speech(sizes: Sizes) -> Iterator[tuple[str, int]]:
    """Yields each kind of sound, and how many of its clips of five seconds are taken for speech."""
    seconds = 5
    t = np.arange(seconds * RATE_HZ) / RATE_HZ

    def make(kind: str, rng: np.random.Generator) -> np.ndarray:
        level = 10 ** rng.uniform(-3, -0.5)
        return {
            "silence": lambda: np.zeros(len(t)),
            "440 Hz sine": lambda: level * np.sin(2 * np.pi * 440 * t),
            "white noise": lambda: level * rng.normal(size=len(t)),
            "room noise": lambda: level * room_noise(len(t), rng),
            "chords": lambda: level * music(len(t), rng),
            "chords in noise": lambda: 0.1 * music(len(t), rng) + 0.01 * rng.normal(size=len(t)),
        }[kind]()

    for kind in (
        "silence",
        "440 Hz sine",
        "white noise",
        "room noise",
        "chords",
        "chords in noise",
    ):
        rngs = map(np.random.default_rng, range(sizes.sounds))
        yield kind, sum(holds_speech(make(kind, rng).astype(np.float32)) for rng in rngs)


def measure_hour(
    utterances: Sequence[Utterance], model: Path, data_dir: Path, minutes: float
) -> Iterator[tuple[str, float, float, float]]:
    """Runs `jdann recordings` twice, each time in a new process; yields wall s, CPU s and MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = draw_speakers(utterances, "other gender", np.random.default_rng(0))
        assert pair is not None, "a corpus of one gender"
        call = make_call(utterances, pair, minutes, 20.0, 0)
        soundfile.write(
            folder / "hour.flac", call.samples[: round(60 * minutes * RATE_HZ)], RATE_HZ
        )
        options = ["--model", str(model), "--data-dir", str(data_dir)]
        environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        for start in ("empty compile cache", "warm"):
            output = ["--output", str(folder / start)]
            result = run_process(
                [*COMMAND, str(folder / "hour.flac"), *options, *output], environment
            )
            yield start, *result.cost, result.peak_mib


def print_tables(arguments: argparse.Namespace, sizes: Sizes) -> None:
    data_dir = arguments.data_dir or default_data_dir()
    print(
        header(
            ["corpus", "speech over room noise, dB", "speech lost, %", "pauses kept, %"],
            ["---", *["---:"] * 3],
        )
    )
    for manifest in arguments.manifests:
        for noise_db in NOISE_DB:
            lost, kept = detection(load(manifest), noise_db, sizes)
            noise = "no noise" if noise_db is None else f"{noise_db:g}"
            print(row(Path(manifest).stem, noise, f"{lost:.2f}", f"{kept:.2f}"), flush=True)
    print("\n" + header([f"{sizes.sounds} clips of", "taken for speech"], ["---", "---:"]))
    for kind, count in no_speech(sizes):
        print(row(kind, str(count)), flush=True)
    try:
        voices = make_voice_reader(encoder_file.find_or_fetch(data_dir))
        way = "speaker encoder"
    except InputError as error:
        print(error, file=sys.stderr)
        voices, way = make_voice_reader(None), "pitch"
    columns = [
        "corpus",
        "clips",
        f"people (by {way})",
        "adjusted Rand index",
        "error, %",
        "people found",
    ]
    print("\n" + header(columns, ["---"] * 3 + ["---:"] * 3))
    for manifest in arguments.manifests:
        for emotion in ("neutral", "all emotions"):
            clips = [u for u in load(manifest) if emotion in ("all emotions", u.emotion)]
            for kind in ("one person", "same gender", "other gender"):
                result = agreement(clips, kind, voices, sizes)
                if result is not None:
                    index, error, people = result
                    cells = (
                        "–" if kind == "one person" else f"{index:.2f}",
                        f"{error:.1f}",
                        f"{people:.1f}",
                    )
                    print(row(Path(manifest).stem, emotion, kind, *cells), flush=True)
    if arguments.model is None:
        return
    minutes = sizes.hour_minutes
    columns = [f"{minutes:g} minutes, existing model", "wall, s", "CPU, s", "memory, MiB"]
    print("\n" + header(columns, ["---", *["---:"] * 3]))
    utterances = load(arguments.manifests[0])
    for start, *costs in measure_hour(utterances, arguments.model, data_dir, minutes):
        print(row(start, *(f"{cost:.0f}" for cost in costs)), flush=True)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", nargs="+", help="corpora with speakers and emotions")
    parser.add_argument("--model", type=Path, help="a finished run that recognises an hour")
    parser.add_argument("--data-dir", type=Path, help="where the speaker encoder is kept")
    arguments = parser.parse_args()
    print_tables(arguments, TINY if arguments.tiny else FULL)


if __name__ == "__main__":
    main()
