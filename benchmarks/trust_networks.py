"""Estimated accuracy and calibration of trained networks, by method.

    python benchmarks/trust_networks.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/trust_networks.py ravdess.csv casia.csv --protocol inductive
    python benchmarks/trust_networks.py ravdess.csv casia.csv --tiny    # one pair; meaningless

`trust.py` fits the estimate to labels that are made in closed form. This script trains a network of
each method for each ordered pair of corpora, with `configs/best.py` and one seed: with the speaker
ids of the target and, unless the protocol is inductive, without them (similar voices). Each method
gets a row: its accuracy, the estimate, and their difference; then the expected calibration error
with each temperature. Target labels are used for scoring only. Emotions that only one corpus of a
pair has are left out. Finished trainings in the work directory are not repeated.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from labelling import name_manifests
from labelling_parts import FIVE_EMOTIONS
from machine import processor_name, python_and_packages
from markdown_table import header, row
from published_tasks import hide_speakers

import jdann
from jdann import corpora
from jdann.corpora.index import Corpus
from jdann.experiments.new_speakers import ADAPTED
from jdann.files import default_data_dir
from jdann.selection import accuracy, calibration

METHODS = ("source_only", "dann", "mcc", "self_training", "co_training")
TEMPERATURES = ("none", calibration.THRESHOLDED, calibration.ESTIMATED)
TINY_SETTINGS = {"epochs": 1, "batch_size": 8, "encoder.hidden": "8"}


class Result(NamedTuple):
    """What was measured of one training."""

    ids: str  # "known" or "withheld"
    method: str
    accuracy: float
    estimate: float
    errors: dict[str, float]  # calibration error by temperature; empty after adaptation


def load_pairs(manifests: list[Path]) -> Iterator[tuple[Corpus, Corpus, tuple[str, ...]]]:
    """Each ordered pair of corpora, with the emotions that both have."""
    loaded = [
        corpora.load_all(str(path), FIVE_EMOTIONS)._replace(name=name)
        for name, path in name_manifests(manifests).items()
    ]
    for source, target in permutations(loaded, 2):
        both = [{u.emotion for u in corpus.utterances} for corpus in (source, target)]
        emotions = tuple(name for name in FIVE_EMOTIONS if all(name in known for known in both))
        yield _restricted(source, emotions), _restricted(target, emotions), emotions


def _restricted(corpus: Corpus, emotions: tuple[str, ...]) -> Corpus:
    kept = tuple(u for u in corpus.utterances if u.emotion in emotions)
    identity = f"{corpora.fingerprint(corpus)} {' '.join(emotions)}"
    return corpus._replace(utterances=kept, identity=identity)


def measure(
    source: Corpus,
    target: Corpus,
    emotions: tuple[str, ...],
    ids: str,
    arguments: argparse.Namespace,
) -> Iterator[Result]:
    """Trains all methods, and yields what was measured of each."""
    settings = {"emotions": emotions, "protocol": arguments.protocol, "tsne": False}
    settings |= {"baseline": False, "speakers": "auto" if ids == "known" else "none"}
    words = (source.name, target.name, ids, arguments.protocol)
    run = jdann.train(
        source,
        target if ids == "known" else hide_speakers(target),
        method=list(arguments.methods),
        seeds=1,
        config="best",
        settings=settings | (TINY_SETTINGS if arguments.tiny else {}),
        workdir=arguments.workdir / "-".join(words).replace("/", "_"),
        data_dir=arguments.data_dir or default_data_dir(),
        resume=True,
    )
    right = {r["method"]: r["accuracy"]["mean"] for r in run.rows if r["selection"] == "last"}
    results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    for estimate in results["estimates"]:
        method = estimate["method"]
        errors = {}
        if not method.endswith(ADAPTED):
            (card,) = (run.folder / "recogniser").glob(f"0-*-{method}/model.json")
            measured = json.loads(card.read_text(encoding="utf-8"))["calibration"]
            errors = {
                name: measured["expected_calibration_error"][name]["target"]
                for name in TEMPERATURES
            }
        yield Result(ids, method, right[method], estimate["accuracy"], errors)


def print_tables(results: list[Result]) -> None:
    """The errors of the estimate, and the calibration errors, by method."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.method, result.ids].append(result)
    columns = ("method", "speaker ids", "pairs", "accuracy", "estimate", "mean absolute error")
    columns += (f"within {accuracy.HALF_WIDTH:g}",)
    print("\n" + header(columns, ["---"] * 2 + ["---:"] * 5))
    for (method, ids), group in groups.items():
        true, estimated = (
            np.array([getattr(r, n) for r in group]) for n in ("accuracy", "estimate")
        )
        error = np.abs(true - estimated)
        within = f"{(error <= accuracy.HALF_WIDTH).mean():.0%}"
        cells = [f"{value.mean():.3f}" for value in (true, estimated, error)]
        print(row(method, ids, str(len(group)), *cells, within))
    names = ("no temperature", "average thresholded confidence", "estimated accuracy")
    print("\n" + header(("method", "speaker ids", *names), ["---"] * 2 + ["---:"] * 3))
    for (method, ids), group in groups.items():
        if group[0].errors:
            values = np.array([[r.errors[name] for name in TEMPERATURES] for r in group])
            pairs = zip(values.mean(0), values.max(0), strict=True)
            print(row(method, ids, *(f"{mean:.3f} (worst {most:.3f})" for mean, most in pairs)))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--protocol", choices=("transductive", "inductive"), default="transductive")
    parser.add_argument("--workdir", type=Path, default=Path("runs/trust"))
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    arguments = parser.parse_args()
    print(f"{processor_name()}; {python_and_packages(('jdann', 'jax'))}", flush=True)
    known = ("known",) if arguments.protocol == "inductive" else ("known", "withheld")
    results = []
    for source, target, emotions in load_pairs(arguments.manifests):
        for ids in known:
            measured = list(measure(source, target, emotions, ids, arguments))
            text = ", ".join(f"{r.method} {r.accuracy:.3f} ({r.estimate:.3f})" for r in measured)
            print(f"{source.name} to {target.name}, ids {ids}: {text}", flush=True)
            results += measured
        if arguments.tiny:
            break
    print_tables(results)


if __name__ == "__main__":
    main()
