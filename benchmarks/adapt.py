"""A recogniser on clips of speakers it has some others of: UAR by how many, and by what their statistics weigh.

    python benchmarks/adapt.py runs/best casia.csv

Of every speaker so many clips are drawn by lot, without labels; the recogniser adapts to them and answers that speaker's others.
Labels score, and do nothing else. With no clips of the speaker a clip is normalised as the target's voices like it are.
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
    given = parser.parse_args()
    recogniser = Recogniser.load(given.run)
    clips: dict[str, list[tuple[str, int]]] = defaultdict(list)
    with given.manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["emotion"] in recogniser.labels:
                clips[row["speaker"]].append(
                    (
                        str(given.manifest.parent / row["file"]),
                        recogniser.labels.index(row["emotion"]),
                    )
                )
    print("| clips of the speaker | 0 |", " | ".join(map(str, COUNTS)), "|")
    print("|---|" + "---|" * (1 + len(COUNTS)), flush=True)
    for relevance in RELEVANCES:
        cells = [
            cell(recogniser, clips, count, relevance, given.draws)
            for count in (0, *COUNTS)
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
    found = [
        uar(recogniser, clips, count, relevance, draw) for draw in range(draws if count else 1)
    ]
    return f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}" if count else f"{found[0]:.3f}"


def uar(
    recogniser: Recogniser,
    clips: dict[str, list[tuple[str, int]]],
    count: int,
    relevance: float,
    draw: int,
) -> float:
    random, right = np.random.default_rng(draw), defaultdict(list)
    for of_speaker in clips.values():
        order = random.permutation(len(of_speaker))
        own = (
            recogniser.adapt([of_speaker[i][0] for i in order[:count]], relevance=relevance)
            if count
            else recogniser
        )
        others = [of_speaker[i] for i in order[count:]]
        for (_, emotion), row in zip(
            others, own.probabilities([file for file, _ in others]), strict=True
        ):
            right[emotion].append(row.argmax() == emotion)
    return float(np.mean([np.mean(of) for of in right.values()]))


if __name__ == "__main__":
    main()
