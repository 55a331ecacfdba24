"""UAR of a recogniser that was adapted to some clips of each speaker.

    python benchmarks/adapt.py runs/best casia.csv
    python benchmarks/adapt.py runs/best casia.csv --tiny    # seconds; the figures mean nothing

A number of clips of each speaker is drawn at random. The recogniser adapts to them without their
labels, and predicts the emotions of the speaker's other clips. Labels are used only for scoring.
With no clips of the speaker, a clip is normalised with the statistics of similar target voices.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from markdown_table import header, row

from jdann.inference.recogniser import Prepared, Recogniser

COUNTS, TINY_COUNTS = (1, 3, 10, 30, 100), (1,)
RELEVANCES = (5.0, 0.0)


class Clip(NamedTuple):
    """An audio file and the index of its emotion."""

    path: str
    emotion: int


SpeakerClips = dict[str, list[Clip]]  # by speaker


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


def mean_uar(
    recogniser: Recogniser, clips: SpeakerClips, count: int, relevance: float, draws: int
) -> str:
    """Mean and standard deviation of UAR over draws of `count` clips of each speaker."""
    if count == 0:
        return f"{uar_of_draw(recogniser, clips, count, relevance, draw=0):.3f}"
    scores = [uar_of_draw(recogniser, clips, count, relevance, draw) for draw in range(draws)]
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}"


def uar_of_draw(
    recogniser: Recogniser, clips: SpeakerClips, count: int, relevance: float, draw: int
) -> float:
    """UAR of the clips that were not drawn for adaptation."""
    random = np.random.default_rng(draw)
    is_correct: dict[int, list[bool]] = defaultdict(list)  # by emotion
    for speaker_clips in clips.values():
        order = random.permutation(len(speaker_clips))
        drawn, scored = ([speaker_clips[i] for i in part] for part in np.split(order, [count]))
        prepared = recogniser.prepare(clip.path for clip in drawn)
        usable = [clip for clip in prepared if isinstance(clip, Prepared)]  # with speech
        adapted = recogniser.adapt(usable, relevance=relevance) if usable else recogniser
        probabilities = adapted.probabilities([clip.path for clip in scored])
        for clip, clip_probabilities in zip(scored, probabilities, strict=True):
            has_speech = not np.isnan(clip_probabilities).any()  # else it counts as an error
            is_right = has_speech and clip_probabilities.argmax() == clip.emotion
            is_correct[clip.emotion].append(bool(is_right))
    return float(np.mean([np.mean(values) for values in is_correct.values()]))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    counts, draws = (TINY_COUNTS, 2) if arguments.tiny else (COUNTS, arguments.draws)
    recogniser = Recogniser.load(arguments.run)
    clips = read_clips(arguments.manifest, recogniser.labels)
    columns = ("clips of the speaker", "0", *map(str, counts))
    print(header(columns, ["---"] * len(columns)), flush=True)
    for relevance in RELEVANCES:
        cells = [mean_uar(recogniser, clips, count, relevance, draws) for count in counts]
        # Without clips of the speaker, relevance changes nothing.
        without_clips = ""
        if relevance == RELEVANCES[0]:
            without_clips = mean_uar(recogniser, clips, 0, relevance, draws)
        print(row(f"`relevance={relevance:g}`", without_clips, *cells), flush=True)


if __name__ == "__main__":
    main()
