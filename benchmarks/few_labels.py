"""UAR with 0, 1, 5, 10 and 20 labels per class of the target.

    python benchmarks/few_labels.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/few_labels.py ravdess.csv casia.csv --train source_only,dann,self_training
    python benchmarks/few_labels.py ravdess.csv casia.csv --tiny    # one pair; meaningless

For each ordered pair of corpora, 20 utterances of each class of the target are drawn at random. In
each column, some of them get their labels. The utterances that were not drawn are scored. So the
columns of a draw differ only in how many labels there are. Each pair is measured twice: with known
speaker ids, and with the target's ids withheld. In the second case, both corpora are normalised
among similar voices.
Without `--train`, only the labels by co-training are computed, in closed form; `--train` trains
networks by any method of config.methods, for one seed. Emotions that only one corpus of the pair
has are left out. All other target labels are used for scoring only.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from command_line import make_parser
from labelling import load_part, make_label_function, name_manifests
from labelling_parts import Part, Task
from markdown_table import header, row
from speakers import hide_speakers, is_known, make_task

from jdann.api import train
from jdann.configuration import load_config
from jdann.files import default_data_dir, write_csv
from jdann.methods.co_training import LEAST_SHARE_UNKNOWN

COUNTS = (0, 1, 5, 10, 20)  # labels per class; the last one is how many utterances are drawn

# (labelled rows, scored rows, draw) -> UAR of each method
Score = Callable[[np.ndarray, np.ndarray, int], dict[str, float]]


class Draw(NamedTuple):
    """Rows of the target."""

    per_class: tuple[np.ndarray, ...]  # of each emotion, in the order in which they get labels
    scored: np.ndarray  # never labelled

    def labelled(self, count: int) -> np.ndarray:
        """The first `count` rows of each emotion."""
        return np.concatenate([rows[:count] for rows in self.per_class])


def emotion_indices(part: Part, emotions: Sequence[str]) -> np.ndarray:
    """The labels of a part as indices into the emotions, [n] int32."""
    return np.array([emotions.index(u.emotion or "") for u in part.utterances], np.int32)


def draw_utterances(emotion: np.ndarray, draw: int) -> Draw:
    """Draws COUNTS[-1] utterances of each emotion, at most a half; the others are scored."""
    random = np.random.default_rng(draw)
    per_class, scored = [], []
    for k in np.unique(emotion):
        rows = random.permutation(np.flatnonzero(emotion == k))
        count = min(COUNTS[-1], len(rows) // 2)
        per_class.append(rows[:count])
        scored.append(rows[count:])
    return Draw(tuple(per_class), np.sort(np.concatenate(scored)))


def mean_recall(predicted: np.ndarray, emotion: np.ndarray) -> float:
    """Unweighted average recall of predictions [n]."""
    return float(np.mean([(predicted[emotion == k] == k).mean() for k in np.unique(emotion)]))


@cache
def label_function(emotions: tuple[str, ...], known: bool) -> Callable[..., jax.Array]:
    """The labels by co-training, compiled once for each size of the domains.

    Args:
      emotions: the classes.
      known: whether the target is normalised by speaker.
    """
    return make_label_function(emotions, {} if known else {"least_share": LEAST_SHARE_UNKNOWN})


def make_label_score(task: Task, relevance: float) -> Score:
    """Scores the labels by co-training, which are made in closed form."""
    emotions = task.emotions
    emotion = emotion_indices(task.target, emotions)
    known = is_known(task.target)
    by = "speaker" if known else "voice"
    source, target = (part.z_scores(by, relevance) for part in (task.source, task.target))
    source_labels = jax.nn.one_hot(emotion_indices(task.source, emotions), len(emotions))
    clips_of_speaker = task.target.rows_of_speakers(by)

    def score(labelled: np.ndarray, scored: np.ndarray, draw: int) -> dict[str, float]:
        target_labels = np.zeros((len(emotion), len(emotions)), np.float32)
        target_labels[labelled, emotion[labelled]] = 1
        keys = jax.random.key(draw)[None]
        labels = label_function(emotions, known)(
            keys, source, source_labels, target, target_labels, clips_of_speaker
        )
        predicted = np.asarray(labels[0]).argmax(-1)
        return {"co_training, labels": mean_recall(predicted[scored], emotion[scored])}

    return score


def score_networks(
    labelled: np.ndarray,
    scored: np.ndarray,
    draw: int,
    *,
    task: Task,
    methods: Sequence[str],
    config: str,
    settings: dict[str, Any],
    data_dir: Path,
) -> dict[str, float]:
    """UAR of trained networks, one per method; the last checkpoint, one seed."""
    emotions = task.emotions
    emotion = emotion_indices(task.target, emotions)
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


def measure(
    emotion: np.ndarray, score: Score, counts: Sequence[int], draws: int
) -> dict[str, np.ndarray]:
    """UAR [draws, counts] of each method, for a target with these labels [n]."""
    scores = []
    for draw in range(draws):
        utterances = draw_utterances(emotion, draw)
        scores.append([score(utterances.labelled(n), utterances.scored, draw) for n in counts])
    return {
        name: np.array([[cell[name] for cell in cells] for cells in scores])
        for name in scores[0][0]
    }


def make_score(task: Task, arguments: argparse.Namespace, data_dir: Path) -> Score:
    """Makes the function that scores a pair."""
    config: Any = load_config("best")
    if not arguments.train:
        return make_label_score(task, config.features.relevance)
    settings: dict[str, Any] = {"speakers": "none"}
    if arguments.tiny:
        settings["epochs"] = 2
    return partial(
        score_networks,
        task=task,
        methods=arguments.train.split(","),
        config=arguments.config,
        settings=settings,
        data_dir=data_dir,
    )


def make_pairs(
    manifests: Sequence[Path], data_dir: Path
) -> Iterator[tuple[tuple[str, str, str], Task]]:
    """Yields each pair, and before it its names: source, target, and whether speakers are known."""
    parts = {name: load_part(path, data_dir) for name, path in name_manifests(manifests).items()}
    for source, target in permutations(parts, 2):
        task = make_task(parts[source], parts[target])
        yield (source, target, "known"), task
        yield (source, target, "withheld"), task._replace(target=hide_speakers(task.target))


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
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
    columns = ("source", "target", "speaker ids", "method", *(str(count) for count in counts))
    print(header(columns, ["---"] * 4 + ["---:"] * len(counts)), flush=True)
    table = []
    for names, task in make_pairs(arguments.manifests, data_dir):
        emotion = emotion_indices(task.target, task.emotions)
        score = make_score(task, arguments, data_dir)
        for method, scores in measure(emotion, score, counts, draws).items():
            table.append(scores.mean(0))
            spread = scores.std(0, ddof=1) if draws > 1 else np.full(len(counts), np.nan)
            cells = (f"{m:.3f} ± {s:.3f}" for m, s in zip(scores.mean(0), spread, strict=True))
            print(row(*names, method, *cells), flush=True)
        if arguments.tiny:
            break
    means = np.array(table)
    print(row("mean", "", "", "", *(f"{value:.3f}" for value in means.mean(0))))
    gains = (means - means[:, :1]).min(0)
    print(row("smallest gain over the first column", "", "", "", *(f"{v:+.3f}" for v in gains)))


if __name__ == "__main__":
    main()
