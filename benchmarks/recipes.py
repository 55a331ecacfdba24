"""UAR of recipes of features, encoder and method for a pair of corpora, in both directions.

    python benchmarks/recipes.py ravdess.csv casia.csv --workdir runs/recipes
    python benchmarks/recipes.py ravdess.csv casia.csv --tiny    # few steps; meaningless

It lists every recipe that was tried, good or bad, with five seeds. Each row is one run of
`configs/best.py` with other overrides; a finished run is not repeated. Target labels are used only
for scoring. The checkpoint is the last. "4:2:1:1:1" means that only a part of the target is kept,
so that its classes have these shares. The part is drawn at random, and is used for adaptation and
for scoring. Both arguments are manifests.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from markdown_table import header, row

from jdann.configuration import base_config

ROOT = Path(__file__).parents[1]
SHARES = (4, 2, 1, 1, 1)  # of config.emotions, in the imbalanced target
TRUE_PRIOR = ",".join(str(share / sum(SHARES)) for share in SHARES)
METHODS = "source_only,co_training"
TINY = ("epochs=1", "seeds=2", "encoder.hidden=8", "co_training.rounds=1", "batch_size=8")
NO_STATISTICS = ("features.recipe=frames", "encoder.name=conv1d", "methods=source_only,dann")


class Recipe(NamedTuple):
    """One variation of `configs/best.py`."""

    overrides: tuple[str, ...] = ()
    is_imbalanced: bool = False  # whether only a part of the target is kept


RECIPES = {
    "best: all statistics, raw level, by speaker": Recipe(),
    "unseen target speakers": Recipe(("protocol=inductive",)),
    "without speaker ids": Recipe(("features.normalise=voice",)),
    "without speaker ids, as one corpus": Recipe(("features.normalise=corpus",)),
    "imbalanced target 4:2:1:1:1": Recipe(is_imbalanced=True),
    "imbalanced, its true prior given": Recipe((f"co_training.prior={TRUE_PRIOR}",), True),
    "imbalanced, a uniform prior": Recipe(("co_training.prior=uniform",), True),
    "a uniform prior": Recipe(("co_training.prior=uniform",)),
    "level normalised": Recipe(("audio.level_db=-26",)),
    "first view alone": Recipe(("co_training.rounds=0",)),
    "prosody alone": Recipe(("features.recipe=prosody",)),
    "prosody alone, self-training": Recipe(("features.recipe=prosody", "methods=self_training")),
    "all statistics, self-training": Recipe(("methods=self_training",)),
    "frames, 1-D CNN, DANN": Recipe(NO_STATISTICS),
    "frames, 1-D CNN, DANN, level normalised": Recipe((*NO_STATISTICS, "audio.level_db=-26")),
}
TINY_RECIPE = "imbalanced target 4:2:1:1:1"


def measure(
    source: Path, target: Path, recipe: Recipe, workdir: Path, data_dir: Path | None
) -> dict[str, str]:
    """Runs a recipe in one direction, and returns mean and standard deviation of UAR by method."""
    if recipe.is_imbalanced:
        target = write_imbalanced(target, workdir.parent)
    results = workdir / "results.json"
    if not results.exists():
        train(source, target, recipe.overrides, workdir, data_dir)
    rows = json.loads(results.read_text())["rows"]
    return {
        result["method"]: f"{result['uar']['mean']:.3f} ± {result['uar']['std']:.3f}"
        for result in rows
        if result["selection"] == "last"
    }


def train(
    source: Path, target: Path, overrides: tuple[str, ...], workdir: Path, data_dir: Path | None
) -> None:
    """Runs `run.py` with `configs/best.py` and these overrides."""
    command = [sys.executable, ROOT / "run.py", "--config", ROOT / "configs/best.py"]
    command += ["--workdir", workdir, "--resume"]
    command += ["--data-dir", data_dir] if data_dir else []
    settings = (f"source={source}", f"target={target}", "tsne=false", "baseline=false")
    settings = (*settings, f"methods={METHODS}", *overrides)
    command += [f"--config.{setting}" for setting in settings]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)


def write_imbalanced(manifest: Path, folder: Path) -> Path:
    """Writes a manifest of utterances whose classes have the shares SHARES; returns its path."""
    with manifest.open(newline="") as file:
        utterances = list(csv.DictReader(file))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest.stem}-imbalanced.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(utterances[0]))
        writer.writeheader()
        for utterance in draw_imbalanced(utterances):
            relative = os.path.relpath(manifest.parent / utterance["file"], folder)
            writer.writerow({**utterance, "file": relative})
    return path


def draw_imbalanced(utterances: list[dict[str, str]]) -> list[dict[str, str]]:
    """A random part of the utterances whose classes have the shares SHARES."""
    random = np.random.default_rng(0)
    groups = [[u for u in utterances if u["emotion"] == e] for e in base_config().emotions]
    unit = min(len(group) / share for group, share in zip(groups, SHARES, strict=True))
    kept = []
    for group, share in zip(groups, SHARES, strict=True):
        drawn = random.permutation(len(group))[: int(unit * share)]
        kept += [group[i] for i in sorted(drawn)]
    return kept


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--workdir", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument(
        "--only", nargs="*", default=list(RECIPES), choices=list(RECIPES), metavar="RECIPE"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    first, second = arguments.first, arguments.second
    names = [TINY_RECIPE] if arguments.tiny else arguments.only
    directions = (f"{first.stem} to {second.stem}", f"{second.stem} to {first.stem}")
    print(header(("recipe", "method", *directions), ("---", "---", "---:", "---:")), flush=True)
    for i, (name, recipe) in enumerate(RECIPES.items()):
        if name not in names:
            continue
        if arguments.tiny:
            recipe = recipe._replace(overrides=(*recipe.overrides, *TINY))
        scores = []  # of each direction, by method
        for source, target in ((first, second), (second, first)):
            # The number of a recipe is part of the name of its work directory.
            workdir = arguments.workdir / f"{i:02d}-{source.stem}"
            scores.append(measure(source, target, recipe, workdir, arguments.data_dir))
        for method in scores[0]:
            print(row(name, method, *(score[method] for score in scores)), flush=True)


if __name__ == "__main__":
    main()
