"""UAR of a recogniser that was adapted to some clips of each speaker.

    python benchmarks/adapt.py runs/best casia.csv
    python benchmarks/adapt.py runs/best casia.csv --tiny    # seconds; the figures mean nothing

A number of clips of each speaker is drawn at random. The recogniser adapts to them without their
labels, and predicts the emotions of the speaker's other clips. Labels are used only for scoring.
With no clips of the speaker, a clip is normalised with the statistics of similar target voices.
The first row adapts only the normalisation. The second row also co-trains on the clips; with
`--together`, on the clips of all speakers at once. Clips without speech are left out. A speaker is
scored if ten clips or more remain.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from markdown_table import header, row

from jdann.inference.batches import ClipFeatures
from jdann.inference.recogniser import Prepared, Recogniser

COUNTS, TINY_COUNTS = (1, 3, 10, 30, 100), (1,)
LEAST_SCORED = 10  # clips of a speaker
WAYS = {"normalisation": True, "normalisation and co-training": False}  # to `normalise_only`


class Clip(NamedTuple):
    """An audio file and the index of its emotion."""

    path: str
    emotion: int


class Settings(NamedTuple):
    """How the recogniser adapts."""

    normalise_only: bool
    together: bool  # to all speakers at once


SpeakerClips = dict[str, list[Clip]]  # by speaker
SpeakerFeatures = dict[str, list[tuple[int, ClipFeatures]]]  # by speaker: emotion and features


def read_clips(manifest: Path, emotions: Sequence[str]) -> SpeakerClips:
    """The clips of each speaker whose emotion is one of `emotions`."""
    clips: SpeakerClips = defaultdict(list)
    with manifest.open(newline="") as file:
        for utterance in csv.DictReader(file):
            if utterance["emotion"] in emotions:
                path = str(manifest.parent / utterance["file"])
                clip = Clip(path, emotions.index(utterance["emotion"]))
                clips[utterance["speaker"]].append(clip)
    return clips


def read_features(recogniser: Recogniser, clips: SpeakerClips) -> SpeakerFeatures:
    """The emotion and the features of each speaker's clips that hold speech."""
    features: SpeakerFeatures = {}
    for speaker, speaker_clips in clips.items():
        prepared = recogniser.prepare(clip.path for clip in speaker_clips)
        features[speaker] = [
            (clip.emotion, recogniser.features(p))
            for clip, p in zip(speaker_clips, prepared, strict=True)
            if isinstance(p, Prepared)
        ]
    return features


def mean_uar(
    recogniser: Recogniser, clips: SpeakerFeatures, count: int, draws: int, settings: Settings
) -> str:
    """Mean and standard deviation of UAR over draws of `count` clips of each speaker."""
    clips = {name: own for name, own in clips.items() if len(own) >= count + LEAST_SCORED}
    if not clips:
        return ""
    if count == 0:
        return f"{uar_of_draw(recogniser, clips, count, 0, settings):.3f}"
    scores = [uar_of_draw(recogniser, clips, count, draw, settings) for draw in range(draws)]
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}"


def uar_of_draw(
    recogniser: Recogniser, clips: SpeakerFeatures, count: int, draw: int, settings: Settings
) -> float:
    """UAR of the clips that were not drawn for adaptation."""
    random = np.random.default_rng(draw)
    orders = [random.permutation(len(own)) for own in clips.values()]
    drawn = [
        [own[i][1] for i in order[:count]]
        for own, order in zip(clips.values(), orders, strict=True)
    ]
    adapted = [recogniser] * len(clips)
    if count:
        groups = [drawn] if settings.together else [[own] for own in drawn]
        adapted = []
        for group in groups:
            adapted += recogniser.adapt_to_features(group, normalise_only=settings.normalise_only)
    is_correct: dict[int, list[bool]] = defaultdict(list)  # by emotion
    for own_recogniser, own, order in zip(adapted, clips.values(), orders, strict=True):
        for i in order[count:]:
            emotion, features = own[i]
            probabilities = own_recogniser.classify(features).probabilities
            is_correct[emotion].append(int(probabilities.argmax()) == emotion)
    return float(np.mean([np.mean(values) for values in is_correct.values()]))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--together", action="store_true")
    arguments = parser.parse_args()
    counts, draws = (TINY_COUNTS, 2) if arguments.tiny else (COUNTS, arguments.draws)
    recogniser = Recogniser.load(arguments.run)
    clips = read_features(recogniser, read_clips(arguments.manifest, recogniser.labels))
    columns = ("clips of the speaker", "0", *map(str, counts))
    print(header(columns, ["---"] * len(columns)), flush=True)
    for name, normalise_only in WAYS.items():
        settings = Settings(normalise_only, arguments.together)
        cells = [mean_uar(recogniser, clips, count, draws, settings) for count in (0, *counts)]
        print(row(name, *cells), flush=True)


if __name__ == "__main__":
    main()
