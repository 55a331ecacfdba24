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

import numpy as np

from jdann.configuration import base_config

ROOT = Path(__file__).parents[1]
SHARES = (4, 2, 1, 1, 1)  # of config.emotions, in the imbalanced target
METHODS = "source_only,co_training"
TINY = ("epochs=1", "seeds=2", "encoder.hidden=8", "co_training.rounds=1", "batch_size=8")
NO_STATISTICS = ("features.recipe=frames", "encoder.name=conv1d", "methods=source_only,dann")

RECIPES: dict[str, tuple[str, ...]] = {
    "best: all statistics, raw level, by speaker": (),
    "unseen target speakers": ("protocol=inductive",),
    "without speaker ids": ("features.normalise=voice",),
    "without speaker ids, as one corpus": ("features.normalise=corpus",),
    "imbalanced target 4:2:1:1:1": ("imbalanced",),
    "imbalanced, its true prior given": (
        "imbalanced",
        "co_training.prior=" + ",".join(str(s / sum(SHARES)) for s in SHARES),
    ),
    "imbalanced, a uniform prior": ("imbalanced", "co_training.prior=uniform"),
    "a uniform prior": ("co_training.prior=uniform",),
    "level normalised": ("audio.level_db=-26",),
    "first view alone": ("co_training.rounds=0",),
    "prosody alone": ("features.recipe=prosody",),
    "prosody alone, self-training": ("features.recipe=prosody", "methods=self_training"),
    "all statistics, self-training": ("methods=self_training",),
    "frames, 1-D CNN, DANN": NO_STATISTICS,
    "frames, 1-D CNN, DANN, level normalised": (*NO_STATISTICS, "audio.level_db=-26"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--workdir", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument(
        "--only", nargs="*", default=list(RECIPES), choices=list(RECIPES), metavar="RECIPE"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    names, more = arguments.only, ()
    if arguments.tiny:
        names, more = ["imbalanced target 4:2:1:1:1"], TINY
    first, second = arguments.first.stem, arguments.second.stem
    print(f"| recipe | method | {first} to {second} | {second} to {first} |")
    print("|---|---|---:|---:|", flush=True)
    for i, name in enumerate(RECIPES):
        if name not in names:
            continue
        directions = [
            measure(
                source,
                target,
                (*RECIPES[name], *more),
                arguments.workdir / f"{i:02d}-{source.stem}",
                arguments.data_dir,
            )
            for source, target in (
                (arguments.first, arguments.second),
                (arguments.second, arguments.first),
            )
        ]
        for method in directions[0]:
            print(
                f"| {name} | {method} | {' | '.join(d[method] for d in directions)} |", flush=True
            )


def measure(
    source: Path, target: Path, overrides: tuple[str, ...], workdir: Path, data_dir: Path | None
) -> dict[str, str]:
    """Runs a recipe in one direction, and returns mean and standard deviation of UAR by method."""
    if overrides[:1] == ("imbalanced",):
        overrides, target = overrides[1:], imbalanced(target, workdir.parent)
    results = workdir / "results.json"
    if not results.exists():
        command = [sys.executable, ROOT / "run.py", "--config", ROOT / "configs/best.py"]
        command += ["--workdir", workdir, "--resume"]
        command += ["--data-dir", data_dir] if data_dir else []
        settings = (f"source={source}", f"target={target}", "tsne=false", "baseline=false")
        settings = (*settings, f"methods={METHODS}", *overrides)
        command += [f"--config.{setting}" for setting in settings]
        outcome = subprocess.run(command, capture_output=True, text=True)
        if outcome.returncode:
            sys.exit(outcome.stderr)
    rows = json.loads(results.read_text())["rows"]
    return {
        r["method"]: f"{r['uar']['mean']:.3f} ± {r['uar']['std']:.3f}"
        for r in rows
        if r["selection"] == "last"
    }


def imbalanced(manifest: Path, folder: Path) -> Path:
    """Writes a manifest of utterances whose classes have the shares SHARES; returns its path."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(parents=True, exist_ok=True)
    path, random, emotions = (
        folder / f"{manifest.stem}-imbalanced.csv",
        np.random.default_rng(0),
        base_config().emotions,
    )
    by_class = [[r for r in rows if r["emotion"] == emotion] for emotion in emotions]
    unit = min(len(group) / share for group, share in zip(by_class, SHARES, strict=True))
    kept = [
        group[i]
        for group, share in zip(by_class, SHARES, strict=True)
        for i in sorted(random.permutation(len(group))[: int(unit * share)])
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {**r, "file": os.path.relpath(manifest.parent / r["file"], folder)} for r in kept
        )
    return path


if __name__ == "__main__":
    main()
