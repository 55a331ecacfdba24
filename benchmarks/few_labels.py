"""UAR with 0, 1, 5, 10 and 20 labels per class of the target.

    python benchmarks/few_labels.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/few_labels.py ravdess.csv casia.csv savee.csv emodb.csv --without-ids
    python benchmarks/few_labels.py ravdess.csv casia.csv --train source_only,dann,self_training
    python benchmarks/few_labels.py ravdess.csv casia.csv --tiny    # one pair; meaningless

For each ordered pair of corpora, utterances of the target are drawn at random and get their labels.
Of one draw, the same utterances are scored in each column: those that are not among the 20 of their
class. So the columns differ only by what is trained on. Without `--train`, only the labels by
co-training are computed, in closed form; `--train` trains networks by any method of
config.methods. With `--without-ids`, source and target are normalised among similar voices.
Emotions that only one corpus of the pair has are left out. All other target labels are used for
scoring only.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from command_line import make_parser
from labelling import load_part, make_label_function
from labelling_parts import Part, Task
from markdown_table import header, row
from speakers import hide_speakers, make_task

from jdann.api import train
from jdann.configuration import load_config
from jdann.files import default_data_dir, write_csv

COUNTS = (0, 1, 5, 10, 20)  # labels per class; the first is no label, the last sets what is scored

Score = Callable[[Task, np.ndarray, np.ndarray, int], dict[str, float]]
# (pair, labelled rows, scored rows, draw) -> UAR of each method


class Draw(NamedTuple):
    """Rows of the target."""

    per_class: tuple[np.ndarray, ...]  # of each emotion, in the order in which they get labels
    scored: np.ndarray  # never labelled

    def labelled(self, count: int) -> np.ndarray:
        """The first `count` rows of each emotion."""
        return np.concatenate([rows[:count] for rows in self.per_class])


def emotion_of(part: Part, emotions: Sequence[str]) -> np.ndarray:
    """[n] int32, index into the emotions."""
    return np.array([emotions.index(u.emotion or "") for u in part.utterances], np.int32)


def draw_utterances(emotion: np.ndarray, draw: int) -> Draw:
    """Draws COUNTS[-1] utterances of each emotion, at most a half; the others are scored."""
    random = np.random.default_rng(draw)
    drawn, scored = [], []
    for k in np.unique(emotion):
        rows = random.permutation(np.flatnonzero(emotion == k))
        count = min(COUNTS[-1], len(rows) // 2)
        drawn.append(rows[:count])
        scored.append(rows[count:])
    return Draw(tuple(drawn), np.sort(np.concatenate(scored)))


def mean_recall(predicted: np.ndarray, emotion: np.ndarray) -> float:
    """Unweighted average recall of predictions [n]."""
    return float(np.mean([(predicted[emotion == k] == k).mean() for k in np.unique(emotion)]))


def score_labels(
    task: Task,
    labelled: np.ndarray,
    scored: np.ndarray,
    draw: int,
    *,
    by: str,
    relevance: float,
) -> dict[str, float]:
    """UAR of the labels by co-training, which are made in closed form."""
    emotions = task.emotions
    emotion = emotion_of(task.target, emotions)
    source_labels = jax.nn.one_hot(emotion_of(task.source, emotions), len(emotions))
    target_labels = np.zeros((len(emotion), len(emotions)), np.float32)
    target_labels[labelled, emotion[labelled]] = 1
    domains = [
        task.source.z_scores(by, relevance),
        source_labels,
        task.target.z_scores(by, relevance),
    ]
    if len(labelled):
        domains.append(jnp.asarray(target_labels))
    labels = make_label_function(emotions, {})(jax.random.key(draw)[None], *domains)
    predicted = np.asarray(labels[0]).argmax(-1)
    return {"co_training, labels": mean_recall(predicted[scored], emotion[scored])}


def score_networks(
    task: Task,
    labelled: np.ndarray,
    scored: np.ndarray,
    draw: int,
    *,
    methods: Sequence[str],
    config: str,
    settings: dict[str, Any],
    data_dir: Path,
) -> dict[str, float]:
    """UAR of trained networks, one per method; the last checkpoint, one seed."""
    emotions = task.emotions
    emotion = emotion_of(task.target, emotions)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = [
            write_manifest(folder / f"{side}.csv", part)
            for side, part in (("source", task.source), ("target", task.target))
        ]
        labels = folder / "labels.csv"
        utterances = [task.target.utterances[i] for i in labelled]
        write_csv(labels, ("file", "emotion"), [(u.path, u.emotion) for u in utterances])
        result = train(
            *paths,
            target_labels=labels if len(labelled) else None,
            method=methods,
            seeds=1,
            config=config,
            settings={"seed": draw, "emotions": emotions, "tsne": False, "baseline": False}
            | settings,
            workdir=folder / "run",
            data_dir=data_dir,
        )
        rows = result.predictions  # read before the folder is deleted
    predictions = {(row["method"], row["file"]): row["predicted"] for row in rows}
    files = [task.target.utterances[i].path for i in scored]
    return {
        name: mean_recall(
            np.array([emotions.index(predictions[name, file]) for file in files]), emotion[scored]
        )
        for name in methods
    }


def write_manifest(path: Path, part: Part) -> Path:
    """Writes a manifest of a part, with absolute paths."""
    rows = [(u.path, u.emotion, u.speaker or "") for u in part.utterances]
    write_csv(path, ("file", "emotion", "speaker"), rows)
    return path


def measure(task: Task, score: Score, counts: Sequence[int], draws: int) -> dict[str, np.ndarray]:
    """UAR [draws, counts] of each method."""
    emotion = emotion_of(task.target, task.emotions)
    scores = []
    for draw in range(draws):
        drawn = draw_utterances(emotion, draw)
        scores.append([score(task, drawn.labelled(n), drawn.scored, draw) for n in counts])
    return {
        name: np.array([[cell[name] for cell in cells] for cells in scores])
        for name in scores[0][0]
    }


def make_score(arguments: argparse.Namespace, data_dir: Path) -> Score:
    """How a pair is scored."""
    config: Any = load_config("best")
    by = "voice" if arguments.without_ids else "speaker"
    if not arguments.train:
        return partial(score_labels, by=by, relevance=config.features.relevance)
    settings: dict[str, Any] = {"speakers": "none"}
    if arguments.tiny:
        settings["epochs"] = 2
    return partial(
        score_networks,
        methods=arguments.train.split(","),
        config=arguments.config,
        settings=settings,
        data_dir=data_dir,
    )


def make_pairs(arguments: argparse.Namespace, data_dir: Path) -> Iterator[tuple[str, str, Task]]:
    """The name of the source, that of the target, and the pair."""
    parts = {path.stem: load_part(path, data_dir) for path in arguments.manifests}
    for source, target in permutations(parts, 2):
        part = hide_speakers(parts[target]) if arguments.without_ids else parts[target]
        yield source, target, make_task(parts[source], part)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument("--without-ids", action="store_true", help="withhold speaker ids")
    parser.add_argument("--train", default="", help="methods, with commas between them")
    parser.add_argument("--config", default="best", help="of the trained networks")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--draws", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    data_dir = arguments.data_dir or default_data_dir()
    counts, draws = [int(count) for count in arguments.counts.split(",")], arguments.draws
    if arguments.tiny:
        counts, draws = [0, 5], 2
    score = make_score(arguments, data_dir)
    columns = ("source", "target", "method", *(str(count) for count in counts))
    print(header(columns, ["---"] * 3 + ["---:"] * len(counts)), flush=True)
    table = []
    for source, target, task in make_pairs(arguments, data_dir):
        for method, scores in measure(task, score, counts, draws).items():
            table.append(scores.mean(0))
            cells = zip(scores.mean(0), scores.std(0, ddof=1), strict=True)
            print(
                row(source, target, method, *(f"{m:.3f} ± {s:.3f}" for m, s in cells)), flush=True
            )
        if arguments.tiny:
            break
    means = np.array(table)
    print(row("mean", "", "", *(f"{value:.3f}" for value in means.mean(0))))
    gains = (means - means[:, :1]).min(0)
    print(row("smallest gain over the first column", "", "", *(f"{v:+.3f}" for v in gains)))


if __name__ == "__main__":
    main()
