"""The labels that co-training gives a target, for many pairs of domains made from two corpora.

    python benchmarks/labelling.py ravdess.csv casia.csv
    python benchmarks/labelling.py ravdess.csv casia.csv --unknown
    python benchmarks/labelling.py ravdess.csv casia.csv --few
    python benchmarks/labelling.py ravdess.csv casia.csv --tiny    # one task; meaningless

`--unknown` compares ways to normalise if the target's speakers are unknown. `--few` compares values
of config.features.relevance if a speaker has few utterances.

A default that suits one pair of whole and balanced corpora may harm another. So each variant of
`config.co_training` is measured on parts of the corpora too: targets with uneven classes or without
one of them, one or few speakers, six emotions or four, and from women to men and back within a
language. Only the labels are computed, in closed form; no network is trained. Target labels are
used only for scoring and for making the parts.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import make_parser
from labelling_parts import SIX_EMOTIONS, Part, Task, make_tasks, make_tasks_of_few
from markdown_table import header, row
from ml_collections import ConfigDict

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import load_config, method_settings
from jdann.features.store import extract
from jdann.files import default_data_dir
from jdann.methods import make_method

FOLD_DRAWS = 2  # the labels depend on the folds
VARIANTS: dict[str, dict[str, object]] = {  # changes of config.co_training
    "default": {},
    "prior uniform": {"prior": "uniform"},
    "all labels kept": {"kept_fraction": 1.0},
    "3 rounds": {"rounds": 3},
    "first view": {"rounds": 0},
    "source alone": {"rounds": 0, "rounds_first": 0},
}
RELEVANCES = (10.0, 5.0, 2.0, 1.0, 0.0)
UNKNOWN = {  # how source and target are normalised
    "speakers known": ("speaker", "speaker"),
    "both by voice": ("voice", "voice"),
    "source by speaker, target by voice": ("speaker", "voice"),
    "both as one corpus": ("corpus", "corpus"),
    "source by speaker, target as one corpus": ("speaker", "corpus"),
}

Column = Callable[[Task], float]


def uar_of_labels(
    task: Task, *, changes: dict[str, object], by: tuple[str, str], relevance: float
) -> float:
    """Unweighted average recall of the labels, the mean over two draws of the folds.

    Args:
      task: the source and the target.
      changes: of config.co_training.
      by: how source and target are normalised.
      relevance: of a speaker's own statistics.
    """
    emotions = task.emotions
    source_labels, target_labels = (
        np.array([emotions.index(u.emotion or "") for u in part.utterances], np.int32)
        for part in (task.source, task.target)
    )
    keys = jax.vmap(jax.random.key)(jnp.arange(FOLD_DRAWS, dtype=jnp.uint32))
    scores = make_label_function(emotions, changes)(
        keys,
        task.source.z_scores(by[0], relevance),
        jax.nn.one_hot(source_labels, len(emotions)),
        task.target.z_scores(by[1], relevance),
        None,
        task.target.rows_of_speakers(by[1]),
    )
    labels = np.asarray(scores).argmax(-1)  # [draws, utterances]
    recalls = [(labels[:, target_labels == k] == k).mean() for k in np.unique(target_labels)]
    return float(np.mean(recalls))


def make_label_function(emotions: tuple[str, ...], changes: dict[str, object]) -> Callable:
    """The labels by co-training, for each of several keys."""
    config: Any = ConfigDict(load_config("best").to_dict())
    config.emotions = emotions
    config.co_training.update(changes)
    label = make_method("co_training", method_settings(config)).initial_labels
    assert label is not None

    def label_all(keys: jax.Array, *domains: Any) -> jax.Array:
        return jax.lax.map(lambda key: label(key, *domains).labels, keys)

    return jax.jit(label_all)


def make_columns(arguments: argparse.Namespace) -> dict[str, Column]:
    """What is measured of each task."""
    default = partial(
        uar_of_labels, changes={}, by=("speaker", "speaker"), relevance=arguments.relevance
    )
    if arguments.few:
        columns = {"voice": partial(default, by=("voice", "voice"))}
        for relevance in RELEVANCES:
            columns[f"relevance {relevance:g}"] = partial(default, relevance=relevance)
    elif arguments.unknown:
        columns = {name: partial(default, by=by) for name, by in UNKNOWN.items()}
    else:
        columns = {name: partial(default, changes=changes) for name, changes in VARIANTS.items()}
    return dict(list(columns.items())[-2:]) if arguments.tiny else columns


def name_manifests(manifests: Sequence[Path]) -> dict[str, Path]:
    """The manifests by their file names, or by their folders where two are called the same."""
    names = [path.stem for path in manifests]
    return {
        path.parent.name if names.count(path.stem) > 1 else path.stem: path for path in manifests
    }


def load_part(manifest: Path, data_dir: Path) -> Part:
    """All utterances of a corpus with their statistics."""
    config: Any = load_config("best")
    features = extract(
        corpora.load_all(str(manifest), SIX_EMOTIONS, data_dir),
        recipe_name=config.features.recipe,
        settings=config.features,
        audio_settings=AudioSettings(**config.audio),
        cache=data_dir / "jdann" / "features",
    )
    return Part(np.concatenate(list(features.read())), features.utterances)


def parse_arguments() -> argparse.Namespace:
    config: Any = load_config("best")
    parser = make_parser(__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument("--unknown", action="store_true")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--relevance", type=float, default=config.features.relevance)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    data_dir = arguments.data_dir or default_data_dir()
    first, second = (load_part(path, data_dir) for path in (arguments.first, arguments.second))
    tasks = make_tasks_of_few(first, second) if arguments.few else make_tasks(first, second)
    columns = make_columns(arguments)
    alignments = ["---", "---"] + ["---:"] * len(columns)
    print(header(("task", "source, target", *columns), alignments), flush=True)
    table = []
    for task in islice(tasks, 1) if arguments.tiny else tasks:
        task = task.restricted()
        uars = [measure(task) for measure in columns.values()]
        table.append(uars)
        sizes = f"{len(task.source.utterances)}, {len(task.target.utterances)}"
        print(row(task.name, sizes, *(f"{uar:.3f}" for uar in uars)), flush=True)
    print_summary(np.array(table))


def print_summary(table: np.ndarray) -> None:
    """Prints the mean over tasks, and the worst gain of each column, of [tasks, columns]."""
    print(row("mean", "", *(f"{uar:.3f}" for uar in table.mean(0))))
    gains = table - table[:, [-1]]
    print(row("worst gain over the last column", "", *(f"{gain:+.3f}" for gain in gains.min(0))))


if __name__ == "__main__":
    main()
