"""The labels that co-training gives a target whose speaker ids are withheld.

    python benchmarks/speakers.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/speakers.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each manifest needs the columns speaker and emotion. For each ordered pair of corpora, the target is
normalised in four ways: by its true ids, by the speakers that `jdann.speakers` reads from the file
names, by groups of similar voices (which need a speaker encoder), and among similar voices. In the
last case, the source is normalised among similar voices, too. Only the labels are computed, in
closed form; no network is trained. Emotions that only one corpus of the pair has are left out.
Target labels are used for scoring only, and true ids only in the first way.
"""

import argparse
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import jax
import numpy as np
from command_line import make_parser
from labelling import load_part, make_label_function, name_manifests, uar_of_labels
from labelling_parts import FIVE_EMOTIONS, SIX_EMOTIONS, Part, Task, statistics_names
from markdown_table import header, row
from sklearn.metrics import adjusted_rand_score

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import load_config
from jdann.corpora.index import Corpus
from jdann.errors import InputError
from jdann.features.recipe import VOICE_VECTORS
from jdann.features.store import extract
from jdann.files import default_data_dir
from jdann.methods.co_training import LEAST_SHARE_UNKNOWN
from jdann.speakers import encoder_file, similar_voices
from jdann.speakers.clusters import VoiceGroups, group_voices
from jdann.speakers.missing_ids import name_speakers
from jdann.speakers.voice_shares import Voices, read_voices


def hide_speakers(part: Part) -> Part:
    """The same utterances without speaker ids."""
    return part._replace(utterances=tuple(u._replace(speaker=None) for u in part.utterances))


def read_names(part: Part) -> tuple[Part, str]:
    """The utterances with the speakers that are read from their names, and the evidence."""
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


def load_vectors(manifest: Path, data_dir: Path) -> Part | None:
    """The voice vectors of the utterances of `load_part`; None if there is no speaker encoder."""
    return extract_vectors(corpora.load_all(str(manifest), SIX_EMOTIONS, data_dir), data_dir)


def extract_vectors(corpus: Corpus, data_dir: Path) -> Part | None:
    """The voice vectors of the utterances; None if there is no speaker encoder."""
    config: Any = load_config("best")
    try:
        wheel = encoder_file.find_or_fetch(data_dir)
    except InputError as error:
        print(error)
        return None
    features = extract(
        corpus,
        recipe_name=VOICE_VECTORS,
        settings={"weights": str(wheel)},
        audio_settings=AudioSettings(**config.audio),
        cache=data_dir / "jdann" / "features",
    )
    return Part(np.concatenate(list(features.read())), features.utterances)


def make_task(source: Part, target: Part) -> Task:
    """The pair with the emotions that both have."""
    present = {u.emotion for u in source.utterances} & {u.emotion for u in target.utterances}
    emotions = tuple(name for name in FIVE_EMOTIONS if name in present)
    return Task("", source, target, emotions).restricted()


def with_groups(task: Task, vectors: Part, relevance: float) -> Task:
    """The pair with groups of voices as the target's speakers, if a run would use them."""
    groups = find_groups(task, vectors, relevance)
    if not is_used(groups, task.target):
        return task
    return task._replace(target=task.target._replace(groups=groups))


def find_groups(task: Task, vectors: Part, relevance: float) -> VoiceGroups:
    """The groups of the target's voices. Target labels are not used."""
    label = make_label_function(task.emotions, {"least_share": 0.0})
    keys = jax.random.key(0)[None]
    emotion = np.array([task.emotions.index(u.emotion or "") for u in task.source.utterances])
    labels = jax.nn.one_hot(emotion, len(task.emotions))
    source = task.source.z_scores("speaker", relevance)

    def predict(group: np.ndarray) -> np.ndarray:
        groups = VoiceGroups(group, np.zeros(len(group), bool))
        target = task.target._replace(groups=groups).z_scores("speaker", 0.0)
        return np.asarray(label(keys, source, labels, target)[0])

    vectors = vectors.where(lambda u: u.emotion in task.emotions)
    return group_voices(vectors.values, predict)


def is_used(groups: VoiceGroups, target: Part) -> bool:
    """Whether a run would normalise the target by these groups."""
    return groups.follow_persons(read_part_voices(target))


def read_part_voices(part: Part) -> Voices | None:
    """The voices of the utterances."""
    vectors, bins = list(part.values[:, None]), statistics_names()  # an utterance is one frame
    return read_voices(similar_voices.voice_positions(vectors, bins), lambda: vectors, bins)


def score(task: Task, relevance: float) -> float:
    """Unweighted average recall of the labels; features are normalised as in a run."""
    by_speaker = is_known(task.target) or task.target.groups is not None
    by = "speaker" if by_speaker else "voice"
    groups = task.target.groups
    many_persons = groups is not None and np.mean(groups.is_mixed) > 0.5
    changes: dict[str, object] = {}
    if not by_speaker or many_persons:
        changes = {"least_share": LEAST_SHARE_UNKNOWN}
    return uar_of_labels(task, changes=changes, by=(by, by), relevance=relevance)


def score_all(
    source: Part,
    target: Part,
    named: Part,
    vectors: Part | None,
    relevance: float,
) -> Mapping[str, float]:
    """The scores of one pair for each way in which the target is normalised."""
    tasks = {
        "ids known": make_task(source, target),
        "read from names": make_task(source, named),
        "groups of voices": None,
        "similar voices": make_task(source, hide_speakers(target)),
    }
    if vectors is not None:
        tasks["groups of voices"] = with_groups(
            make_task(source, hide_speakers(target)), vectors, relevance
        )
    return {
        name: float("nan") if task is None else score(task, relevance)
        for name, task in tasks.items()
    }


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    data_dir = arguments.data_dir or default_data_dir()
    config: Any = load_config("best")
    manifests = name_manifests(arguments.manifests)
    parts = {name: load_part(path, data_dir) for name, path in manifests.items()}
    read = {name: read_names(hide_speakers(part)) for name, part in parts.items()}

    print(header(("corpus", "what the names tell", "adjusted Rand index"), ("---", "---", "---:")))
    for name, (named, evidence) in read.items():
        true, read_ids = ([u.speaker or "" for u in p.utterances] for p in (parts[name], named))
        index = f"{adjusted_rand_score(true, read_ids):.3f}" if is_known(named) else "–"
        print(row(name, evidence, index))
    print()
    columns = ("ids known", "read from names", "groups of voices", "similar voices")
    print(header(("source", "target", *columns), ("---", "---", *["---:"] * 4)), flush=True)
    vectors = {name: load_vectors(path, data_dir) for name, path in manifests.items()}
    relevance, rows = config.features.relevance, []
    pairs = list(permutations(parts, 2))
    for source, target in pairs[:1] if arguments.tiny else pairs:
        scores = score_all(
            parts[source], parts[target], read[target][0], vectors[target], relevance
        )
        rows.append([scores[name] for name in columns])
        print(row(source, target, *(f"{value:.3f}" for value in rows[-1])), flush=True)
    print(row("mean", "", *(f"{value:.3f}" for value in np.mean(rows, 0))))


if __name__ == "__main__":
    main()
