"""Tasks with published figures: co-training, a DANN, and simpler methods to compare them with.

    python benchmarks/published.py emobox --data LISTS ravdess.csv savee.csv
    python benchmarks/published.py berlin-casia --data emodb.csv casia.csv
    python benchmarks/published.py poleval --data nEMO/ english.csv german.csv
    python benchmarks/published.py berlin-casia --data emodb.csv casia.csv --tiny    # meaningless

- `emobox`: RAVDESS <-> SAVEE, four emotions, scored on the lists of track 2 of EmoBox. LISTS is
  the folder data/track2 of its repository.
- `berlin-casia`: Berlin (EmoDB) <-> CASIA, five emotions.
- `poleval`: task 4 of PolEval 2025, from other languages to nEMO, six emotions. nEMO/ is the
  repository, with data.tsv and samples/.

A corpus is a manifest or a folder; a folder of manifests means all of them. All figures are
transductive: a method adapts to the target's audio without labels, and this audio is then scored,
at the last checkpoint. The source's speakers are known. The target's speakers are `known`, or they
are withheld: then its voices are `grouped` by a speaker encoder, or each clip is normalised among
`similar` voices. The input of the DANN is frames. The input of all other methods is the same
normalised statistics of utterances. A method that does not depend on a seed has no standard
deviation. Finished trainings in the work directory are not repeated.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_line import make_parser
from machine import processor_name, python_and_packages
from markdown_table import header, row
from published_peers import PEERS, Peer, Statistics
from published_tasks import TASKS, PublishedScore, Task, hide_speakers

import jdann
from jdann.configuration import load_config
from jdann.data.pairs import Direction, load_domain
from jdann.errors import InputError
from jdann.evaluation import metrics
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.experiments.train import open_directions
from jdann.files import default_data_dir
from jdann.speakers import encoder_file

COLUMNS = ("task", "adapted to", "target's speakers", "method", "accuracy", "UAR", "macro-F1")
SCORES = ("accuracy", "uar", "macro_f1")
PACKAGES = ("jdann", "jax", "scikit-learn")
TINY_SETTINGS = {"epochs": 1, "batch_size": 8, "encoder.hidden": "8", "encoder.channels": "8,8,8,8"}


class Speakers(NamedTuple):
    """What is known about the speakers of the target."""

    name: str  # for the table and for --speakers
    way: str  # config.speakers
    is_hidden: bool  # whether the ids are withheld


KNOWN = Speakers("known", "auto", False)
GROUPED = Speakers("grouped", "voice", True)
SIMILAR = Speakers("similar", "none", True)
SPEAKERS = {speakers.name: speakers for speakers in (KNOWN, GROUPED, SIMILAR)}


class Training(NamedTuple):
    """One run of `jdann.train`."""

    name: str  # for the table
    config: str
    method: str


CO_TRAINING = Training("**co-training**", "best", "co_training")
DANN = Training("DANN, 1-D CNN on frames", "base", "dann")


class Options(NamedTuple):
    """How much is trained, and where files are kept."""

    seeds: int
    dann_seeds: int  # 0: no DANN
    settings: dict[str, Any]  # of all trainings
    workdir: Path
    data_dir: Path


def check_speakers(tasks: Sequence[Task], names: Sequence[str], data_dir: Path) -> None:
    """Checks that the tasks can be measured with these speakers.

    Raises:
      InputError: a target has no speaker ids although they should be known, or there is no speaker
        encoder although voices should be grouped.
    """
    if GROUPED.name in names:
        encoder_file.find_or_fetch(data_dir)
    for task in tasks:
        if KNOWN.name in names and any(u.speaker is None for u in task.target.utterances):
            raise InputError(
                f"{task.target.name}: has no speaker ids; give a manifest with the column speaker, "
                f"or --speakers {GROUPED.name} {SIMILAR.name}"
            )


def task_settings(task: Task, speakers: Speakers, options: Options) -> dict[str, Any]:
    """The keys of the config that a task changes."""
    settings = {"emotions": task.emotions, "speakers": speakers.way}
    return settings | {"tsne": False, "baseline": False} | options.settings


def peer_scores(
    task: Task, speakers: Speakers, options: Options
) -> Iterator[tuple[str, list[metrics.Scores]]]:
    """Yields the name of each peer and its scores, one for each seed."""
    direction = open_direction(task, speakers, options)
    source, target = (
        np.asarray(frames.values, np.float32)[frames.start]  # [utterances, values]
        for frames in (direction.source_frames, direction.target_frames)
    )
    statistics = Statistics(source, direction.source.emotion, target)
    for name, peer in PEERS.items():
        predictions = predict(peer, statistics, options.seeds)
        yield name, [score(direction, task, predicted) for predicted in predictions]


def predict(peer: Peer, statistics: Statistics, seeds: int) -> list[np.ndarray]:
    """A peer's predictions of the target for each seed, or once if seeds do not matter."""
    return [peer.predict(statistics, seed) for seed in range(seeds if peer.is_random else 1)]


def score(direction: Direction, task: Task, predicted: np.ndarray) -> metrics.Scores:
    """The scores of predictions of the target."""
    target = direction.target
    scores = metrics.score(target.emotion, predicted, target.speaker, len(task.emotions))
    assert scores is not None  # every task has labels to score
    return scores


def open_direction(task: Task, speakers: Speakers, options: Options) -> Direction:
    """Source and target, normalised as for co-training."""
    overrides = task_settings(task, speakers, options)
    texts = [(key, as_text(value)) for key, value in overrides.items()]
    config: Any = load_config(CO_TRAINING.config, texts)
    settings, cache = make_feature_settings(config), features_folder(options.data_dir)
    domains = [load_domain(corpus, settings, cache) for corpus in (task.source, task.target)]
    return open_directions(config, options.data_dir, domains=domains)[0]


def as_text(value: Any) -> str:
    """A value as on the command line."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def train(
    task: Task, speakers: Speakers, training: Training, seeds: int, options: Options
) -> dict[str, Any]:
    """The row of results.json at the last checkpoint; a finished training is not repeated."""
    words = (task.name, task.adapted_to, speakers.name, training.method)
    rows = jdann.train(
        task.source,
        task.target,
        method=[training.method],
        seeds=seeds,
        config=training.config,
        settings=task_settings(task, speakers, options),
        workdir=options.workdir / "-".join(words).replace(" ", "_").replace(",", ""),
        data_dir=options.data_dir,
        resume=True,
    ).rows
    return next(result for result in rows if result["selection"] == "last")


def cells(values: Sequence[dict[str, Any]]) -> list[str]:
    """Scores for the table, each from its mean and its standard deviation over seeds."""
    return [
        f"{value['mean']:.3f}" + ("" if value["std"] is None else f" ± {value['std']:.3f}")
        for value in values
    ]


def task_rows(task: Task, speakers: Speakers, options: Options) -> Iterator[str]:
    """The rows of a task with these speakers, each as soon as it is known."""
    first = (task.name, task.adapted_to, speakers.name)
    if speakers.is_hidden:
        task = task._replace(target=hide_speakers(task.target))
    for name, scores in peer_scores(task, speakers, options):
        columns = ([getattr(s, column) for s in scores] for column in SCORES)
        yield row(*first, name, *cells([metrics.summarise(column) for column in columns]))
    trainings = [(CO_TRAINING, options.seeds)]
    # Voices are grouped only if the features are statistics, so there is no DANN with groups.
    if options.dann_seeds and speakers != GROUPED:
        trainings.append((DANN, options.dann_seeds))
    for training, seeds in trainings:
        result = train(task, speakers, training, seeds, options)
        yield row(*first, training.name, *cells([result[column] for column in SCORES]))


def published_row(task: Task, published: PublishedScore) -> str:
    """The row of a figure that others report."""
    accuracy, macro_f1 = (
        "" if value is None else f"{value:.3f}"
        for value in (published.accuracy, published.macro_f1)
    )
    return row(task.name, "", "", f"published: {published.system}", accuracy, "", macro_f1)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument(
        "--speakers",
        nargs="+",
        choices=list(SPEAKERS),
        default=list(SPEAKERS),
        help="of the target",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dann-seeds", type=int, default=5, help="0: no DANN")
    parser.add_argument("--workdir", type=Path, default=Path("runs/published"))
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    return parser.parse_args()


def make_options(arguments: argparse.Namespace) -> Options:
    """The options of the command line."""
    seeds, dann_seeds, settings = arguments.seeds, arguments.dann_seeds, {}
    if arguments.tiny:
        seeds, dann_seeds, settings = 2, 2, TINY_SETTINGS
    data_dir = arguments.data_dir or default_data_dir()
    return Options(seeds, dann_seeds, settings, arguments.workdir / arguments.task, data_dir)


def print_table(tasks: Sequence[Task], names: Sequence[str], options: Options) -> None:
    """Prints the table of tasks row by row; `names` are keys of SPEAKERS."""
    print(f"{processor_name()}; {python_and_packages(PACKAGES)}")
    print(f"Transductive; {options.seeds} seeds, of the DANN {options.dann_seeds}: ", end="")
    print("mean ± standard deviation\n")
    print(header(COLUMNS, ["---"] * 4 + ["---:"] * 3), flush=True)
    for i, task in enumerate(tasks):
        if i == 0 or task.name != tasks[i - 1].name:
            for published in task.published:
                print(published_row(task, published))
        for name in names:
            for line in task_rows(task, SPEAKERS[name], options):
                print(line, flush=True)


def main() -> None:
    arguments = parse_arguments()
    try:
        tasks = list(TASKS[arguments.task](arguments.data))
        options = make_options(arguments)
        check_speakers(tasks, arguments.speakers, options.data_dir)
        print_table(tasks[:1] if arguments.tiny else tasks, arguments.speakers, options)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
