"""Clips without speech: errors in telling them from speech, what is cut from clips, and its time.

    python benchmarks/no_speech.py casia.csv emodb.csv savee.csv ravdess.csv
    python benchmarks/no_speech.py casia.csv --tiny    # seconds; the figures mean nothing

`benchmarks/sounds.py` makes the sounds that are no speech, with random parameters. How much speech
is lost in noise is measured by `benchmarks/recordings.py`.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from machine import cpus, load_average, processor_name
from markdown_table import header, row
from recorded_calls import RATE_HZ
from sounds import NO_SPEECH

from jdann import audio, corpora
from jdann.configuration import base_config
from jdann.corpora.index import Utterance
from jdann.features import store
from jdann.features.speech_part import keep_speech

SECONDS = 5.0
RECIPES = ("statistics", "frames")
SETTINGS = audio.AudioSettings()


class Sizes(NamedTuple):
    """How much is measured."""

    sounds: int  # of each kind
    every: int  # one of so many clips of a corpus
    timed: int  # clips whose features are computed, each recipe twice


FULL, TINY = Sizes(100, 1, 96), Sizes(2, 40, 4)


class Errors(NamedTuple):
    """What happens to the clips of a corpus, which are all speech."""

    clips: int
    no_speech: int  # clips in which no speech is found
    shortened: int  # clips of which something is left out
    clip_ms: float  # processor time of the search


def answered_as_speech(kind: str, count: int) -> int:
    """How many of `count` sounds of a kind are taken for speech."""
    errors = 0
    for seed in range(count):
        rng = np.random.default_rng([sorted(NO_SPEECH).index(kind), seed])
        samples = NO_SPEECH[kind](round(SECONDS * RATE_HZ), rng).astype(np.float32)
        try:
            audio.prepare(samples, RATE_HZ, SETTINGS, _keep_speech)
        except audio.NoSpeech:
            continue
        errors += 1
    return errors


def search_corpus(utterances: Sequence[Utterance]) -> Errors:
    """Searches each clip of a corpus for speech."""
    no_speech = shortened = 0
    seconds = 0.0
    for utterance in utterances:
        samples, rate_hz = audio.read(utterance.path, utterance.start_s, utterance.end_s)
        mono = audio.mono(samples, rate_hz, RATE_HZ)
        begun = time.process_time()
        try:
            shortened += len(_keep_speech(mono)) < len(mono)
        except audio.NoSpeech:
            no_speech += 1
        seconds += time.process_time() - begun
    return Errors(len(utterances), no_speech, shortened, 1000 * seconds / len(utterances))


def feature_times(manifest: str, clips: int) -> Iterator[tuple[str, float]]:
    """Yields each recipe and the processor time of its features in ms per clip, without search."""
    corpus = corpora.load(manifest, corpora.EMOTIONS)
    corpus = corpus._replace(utterances=corpus.utterances[:clips])
    for recipe in RECIPES:
        for _ in range(2):  # the first time compiles
            with tempfile.TemporaryDirectory() as folder:
                begun = time.process_time()
                store.extract(
                    corpus,
                    recipe_name=recipe,
                    settings=base_config().features,
                    audio_settings=SETTINGS._replace(speech_only=False),
                    cache=Path(folder),
                )
                seconds = time.process_time() - begun
        yield recipe, 1000 * seconds / len(corpus.utterances)


def _keep_speech(samples: np.ndarray) -> np.ndarray:
    return keep_speech(samples, SETTINGS)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", nargs="+", help="corpora whose clips are all speech")
    arguments = parser.parse_args()
    sizes = TINY if arguments.tiny else FULL
    print(f"{processor_name()}, {cpus()}, load average {load_average():.1f}\n")
    print(header([f"{sizes.sounds} sounds of {SECONDS:g} s", "taken for speech"], ["---", "---:"]))
    for kind in NO_SPEECH:
        print(row(kind, str(answered_as_speech(kind, sizes.sounds))), flush=True)
    columns = ["corpus", "clips", "no speech found", "shortened", "search, ms per clip"]
    columns += [f"features `{recipe}`, ms per clip" for recipe in RECIPES]
    print("\n" + header(columns, ["---", *["---:"] * (len(columns) - 1)]))
    for manifest in arguments.manifests:
        utterances = corpora.load(manifest, corpora.EMOTIONS).utterances[:: sizes.every]
        search_corpus(utterances[:20])  # compiles
        errors = search_corpus(utterances)
        times = [f"{ms:.1f}" for _, ms in feature_times(manifest, sizes.timed)]
        counts = map(str, errors[:3])
        print(row(Path(manifest).stem, *counts, f"{errors.clip_ms:.1f}", *times), flush=True)


if __name__ == "__main__":
    main()
