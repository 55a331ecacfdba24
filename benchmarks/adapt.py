"""UAR of a recogniser that was adapted to some clips of each speaker.

    python benchmarks/adapt.py runs/best casia.csv
    python benchmarks/adapt.py runs/best casia.csv --tiny    # seconds; the figures mean nothing

A number of clips of each speaker is drawn at random. The recogniser adapts to them without their
labels, and predicts the emotions of the speaker's other clips. Labels are used only for scoring.
With no clips of the speaker, a clip is normalised with the statistics of similar target voices.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from jdann.inference.recogniser import Recogniser

COUNTS = (1, 3, 10, 30, 100)
RELEVANCES = (5.0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    counts, draws = ((1,), 2) if arguments.tiny else (COUNTS, arguments.draws)
    recogniser = Recogniser.load(arguments.run)
    clips: dict[str, list[tuple[str, int]]] = defaultdict(list)
    with arguments.manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["emotion"] in recogniser.labels:
                clips[row["speaker"]].append(
                    (
                        str(arguments.manifest.parent / row["file"]),
                        recogniser.labels.index(row["emotion"]),
                    )
                )
    print("| clips of the speaker | 0 |", " | ".join(map(str, counts)), "|")
    print("|---|" + "---|" * (1 + len(counts)), flush=True)
    for relevance in RELEVANCES:
        cells = [
            cell(recogniser, clips, count, relevance, draws)
            for count in (0, *counts)
            if count or relevance
        ]
        print(
            f"| `relevance={relevance:g}` |",
            " | ".join(cells if relevance else ["", *cells]),
            "|",
            flush=True,
        )


def cell(
    recogniser: Recogniser,
    clips: dict[str, list[tuple[str, int]]],
    count: int,
    relevance: float,
    draws: int,
) -> str:
    """Mean and standard deviation of UAR over draws of `count` clips of each speaker."""
    scores = [
        uar(recogniser, clips, count, relevance, draw) for draw in range(draws if count else 1)
    ]
    if not count:
        return f"{scores[0]:.3f}"
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}"


def uar(
    recogniser: Recogniser,
    clips: dict[str, list[tuple[str, int]]],
    count: int,
    relevance: float,
    draw: int,
) -> float:
    """UAR of the clips that were not drawn for adaptation."""
    random = np.random.default_rng(draw)
    correct: dict[int, list[bool]] = defaultdict(list)
    for speaker_clips in clips.values():
        order = random.permutation(len(speaker_clips))
        adapted = recogniser
        if count:
            files = [speaker_clips[i][0] for i in order[:count]]
            adapted = recogniser.adapt(files, relevance=relevance)
        scored = [speaker_clips[i] for i in order[count:]]
        for (_, emotion), row in zip(
            scored, adapted.probabilities([file for file, _ in scored]), strict=True
        ):
            correct[emotion].append(bool(row.argmax() == emotion))
    return float(np.mean([np.mean(recall) for recall in correct.values()]))


if __name__ == "__main__":
    main()
