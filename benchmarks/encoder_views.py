"""What a pretrained encoder buys: alone, and as a view of co-training beside prosody.

    python benchmarks/encoder_views.py smart-turn-v3.2 ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/encoder_views.py FOLDER ravdess.csv casia.csv --tiny    # meaningless

It prints the UAR of each set of features for each ordered pair of the corpora, with the 95 %
interval for other speakers like those of the target. Target labels are used only for scoring. The
layer of the encoder is chosen by its agreement with prosody, for each pair. The checkpoint is the
last. "ids" are the speaker ids of the target; without them, both corpora are normalised among
similar voices; the encoder alone, which does not tell the pitch, is normalised within each corpus.
"New speakers" means speakers whose audio was not adapted to. A finished run is not
repeated. All corpora are manifests.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_line import make_parser
from machine import processor_name, python_and_packages
from markdown_table import header, row

from jdann.configuration import load_config
from jdann.experiments.train import run
from jdann.files import default_data_dir

TINY = {"epochs": "1", "encoder.hidden": "8", "batch_size": "8", "co_training.rounds": "1"}
SCENES = {
    "ids": {},
    "no ids": {"features.normalise": "voice"},
    "new speakers": {"protocol": "inductive", "folds": "2"},
}


class Features(NamedTuple):
    """A set of features, and the methods that they are scored with."""

    methods: tuple[str, ...]
    overrides: dict[str, str]


PRETRAINED = {"features.recipe": "pretrained"}
FEATURES = {
    "statistics": Features(("source_only", "co_training"), {}),
    "encoder": Features(("source_only", "mcc"), PRETRAINED | {"features.beside": "none"}),
    "prosody and encoder": Features(("co_training",), PRETRAINED),
    "statistics and encoder": Features(
        ("co_training",), PRETRAINED | {"features.beside": "statistics"}
    ),
}
COLUMNS = tuple(f"{name}, {m}" for name, features in FEATURES.items() for m in features.methods)


class Score(NamedTuple):
    """The UAR of one run."""

    uar: float
    low: float  # of the interval for other speakers
    high: float

    def __str__(self) -> str:
        return f"{self.uar:.3f} ({self.low:.2f} to {self.high:.2f})"


def measure(
    features: Features, overrides: dict[str, str], workdir: Path, data_dir: Path
) -> list[Score]:
    """The score of each method of a set of features on one pair.

    It trains them, or reads what an earlier call has left.
    """
    results = workdir / "results.json"
    if results.exists():
        summary = json.loads(results.read_text())
    else:
        shared = {"methods": ",".join(features.methods), "tsne": "false", "baseline": "false"}
        config = load_config("best", list((shared | overrides | features.overrides).items()))
        summary = run(config, workdir, data_dir, resume=workdir.exists())
    rows = {r["method"]: r for r in summary["rows"] if r["selection"] == "last"}
    return [Score(rows[m]["uar"]["mean"], *rows[m]["interval"]["uar"]) for m in features.methods]


def measure_scene(
    scene: str, arguments: argparse.Namespace, workdir: Path
) -> Iterator[tuple[str, list[Score]]]:
    """Yields each pair's name and its scores, one for each of COLUMNS."""
    shared = SCENES[scene] | {"seeds": str(arguments.seeds)} | (TINY if arguments.tiny else {})
    for source, target in permutations(arguments.manifests, 2):
        if arguments.targets and target.stem not in arguments.targets:
            continue
        pair = {"source": str(source), "target": str(target)}
        scores = []
        for name, features in FEATURES.items():
            encoder = {}
            if features.overrides:
                encoder["features.encoder"] = arguments.encoder
            folder = workdir / f"{scene}-{source.stem}-{target.stem}-{name}".replace(" ", "_")
            overrides = shared | pair | encoder
            if features.overrides.get("features.beside") == "none" and scene == "no ids":
                overrides["features.normalise"] = "corpus"  # similar voices are found by the pitch
            scores += measure(features, overrides, folder, arguments.data_dir)
        yield f"{source.stem} to {target.stem}", scores


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("encoder", help="an id of the Hub, a folder, or smart-turn-v3.2")
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--targets", nargs="*", default=[], help="only these corpora as targets")
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, help="keeps the runs, so that a call continues")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    return parser.parse_args()


def print_tables(arguments: argparse.Namespace, workdir: Path) -> None:
    """One table for each scene."""
    for scene in arguments.scenes:
        print(f"\n{scene}, {arguments.seeds} seeds\n")
        print(header(("pair", *COLUMNS), ("---", *["---:"] * len(COLUMNS))), flush=True)
        every: list[list[Any]] = []
        for pair, scores in measure_scene(scene, arguments, workdir):
            every.append([score.uar for score in scores])
            print(row(pair, *map(str, scores)), flush=True)
        print(row("mean", *(f"{mean:.3f}" for mean in np.mean(every, axis=0))), flush=True)


def main() -> None:
    arguments = parse_arguments()
    print(f"{processor_name()}; {python_and_packages(('jax', 'jaxlib'))}")
    if arguments.workdir is not None:
        print_tables(arguments, arguments.workdir)
        return
    with tempfile.TemporaryDirectory() as folder:
        print_tables(arguments, Path(folder))


if __name__ == "__main__":
    main()
