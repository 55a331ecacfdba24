"""The labels that co-training gives a target whose speaker ids are withheld.

    python benchmarks/speakers.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/speakers.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each manifest needs the columns speaker and emotion. For each ordered pair of corpora, the target is
normalised by its true ids, by the speakers that `jdann.speakers` reads from the names of the files,
and by similar voices alone. Where ids are missing in the target, source and target are both
normalised by similar voices. Only the labels are computed, in closed form; no network is trained.
Emotions that only one corpus of the pair has are left out. Target labels and true ids are used for
scoring only.
"""

import argparse
from itertools import permutations
from pathlib import Path
from typing import Any

from command_line import make_parser
from labelling import load_part, uar_of_labels
from labelling_parts import FIVE_EMOTIONS, Part, Task, statistics_names
from markdown_table import header, row
from sklearn.metrics import adjusted_rand_score

from jdann.configuration import load_config
from jdann.files import default_data_dir
from jdann.speakers import similar_voices
from jdann.speakers.missing_ids import name_speakers


def hide_speakers(part: Part) -> Part:
    """The same utterances without speaker ids."""
    return part._replace(utterances=tuple(u._replace(speaker=None) for u in part.utterances))


def read_names(part: Part) -> tuple[Part, str]:
    """The utterances with the speakers that their names tell, and the evidence."""
    vectors, bins = list(part.values[:, None]), statistics_names()  # an utterance is one frame
    named = name_speakers(
        part.utterances,
        similar_voices.voice_positions(vectors, bins),
        lambda: vectors,
        bins,
        way="auto",
        pattern="",
    )
    evidence = "; ".join(named.notes) or "no part of the names tells the speaker"
    return part._replace(utterances=named.utterances), evidence


def is_known(part: Part) -> bool:
    """Whether all utterances have a speaker."""
    return all(u.speaker is not None for u in part.utterances)


def score(source: Part, target: Part, relevance: float) -> float:
    """Unweighted average recall of the labels, normalised as a run would."""
    by = "speaker" if is_known(target) else "voice"
    present = {u.emotion for u in source.utterances} & {u.emotion for u in target.utterances}
    emotions = tuple(name for name in FIVE_EMOTIONS if name in present)
    task = Task("", source, target, emotions).restricted()
    return uar_of_labels(task, changes={}, by=(by, by), relevance=relevance)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    data_dir = arguments.data_dir or default_data_dir()
    config: Any = load_config("best")
    parts = {path.stem: load_part(path, data_dir) for path in arguments.manifests}
    read = {name: read_names(hide_speakers(part)) for name, part in parts.items()}

    print(header(("corpus", "what the names tell", "adjusted Rand index"), ("---", "---", "---:")))
    for name, (named, evidence) in read.items():
        true, read_ids = ([u.speaker or "" for u in p.utterances] for p in (parts[name], named))
        index = f"{adjusted_rand_score(true, read_ids):.3f}" if is_known(named) else "–"
        print(row(name, evidence, index))
    print()
    columns = ("source", "target", "ids known", "read from names", "similar voices")
    print(header(columns, ("---", "---", *["---:"] * 3)), flush=True)
    pairs = list(permutations(parts, 2))
    for source, target in pairs[:1] if arguments.tiny else pairs:
        targets = (parts[target], read[target][0], hide_speakers(parts[target]))
        scores = [score(parts[source], part, config.features.relevance) for part in targets]
        print(row(source, target, *(f"{value:.3f}" for value in scores)), flush=True)


if __name__ == "__main__":
    main()
