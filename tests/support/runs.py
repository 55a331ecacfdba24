"""Small runs of the command line for tests."""

import csv
from pathlib import Path

import pytest

from jdann.cli import main
from tests.support.corpora import write_manifest

SMALL = (
    "epochs=3",
    "seeds=2",
    "batch_size=8",
    "encoder.channels=8",
    "encoder.strides=1",
    "encoder.kernel_size=3",
    "evaluate_every=1",
    "checkpoint_every_s=0",
    "tsne=false",
    "audio.speech_only=false",  # the corpora of most tests are tones
)
CLOCK = ("date", "seconds", "fit_seconds", "train_seconds")  # fields of a time of day or a duration


def arguments(source, target, workdir, data_dir, *more) -> list[str]:
    """The options of a small run, and more options or overrides."""
    return [
        "--config",
        "base",
        f"--config.source={source}",
        f"--config.target={target}",
        "--workdir",
        str(workdir),
        "--data-dir",
        str(data_dir),
        *(f"--config.{override}" for override in SMALL),
        *map(str, more),
    ]


def fail(capsys, *options, status: int = 2) -> str:
    """Runs the command line, which must exit with a status; returns what it printed as errors."""
    with pytest.raises(SystemExit) as stopped:
        main([str(option) for option in options])
    assert stopped.value.code == status
    return capsys.readouterr().err


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def relabelled(manifest: Path, name: str, change) -> Path:
    """Writes a manifest of the same audio with other labels.

    Args:
      manifest: the original; the new one is written beside it.
      name: of the new one.
      change: from the old label to the new one; None: leave the labels out.
    """
    rows = read(manifest)
    if change is None:
        unlabelled = [(row["file"], row["speaker"]) for row in rows]
        return write_manifest(manifest.with_name(name), unlabelled, ("file", "speaker"))
    changed = [(row["file"], change(row["emotion"]), row["speaker"], "en") for row in rows]
    return write_manifest(manifest.with_name(name), changed)


def without_clock(value):
    """JSON without what a clock tells."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in CLOCK}
        return {k: without_clock(v) for k, v in kept.items()}
    return [without_clock(v) for v in value] if isinstance(value, list) else value
