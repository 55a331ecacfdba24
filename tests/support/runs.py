"""Small runs of the command line for tests."""

import csv
from pathlib import Path

from tests.support.corpora import write_manifest

SMALL = ("epochs=3", "seeds=2", "batch_size=8", "encoder.channels=8", "encoder.strides=1", "encoder.kernel_size=3",
         "evaluate_every=1", "checkpoint_every_s=0", "tsne=false")  # fmt: skip


def arguments(source, target, workdir, data_dir, *more):
    return ["--config", "en2zh", f"--config.source={source}", f"--config.target={target}", "--workdir", str(workdir),
            "--data-dir", str(data_dir), *(f"--config.{s}" for s in SMALL), *more]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def relabelled(manifest: Path, name: str, change) -> Path:
    """A manifest beside `manifest` with the same audio and other labels; None drops the column."""
    rows = read(manifest)
    if change is None:
        return write_manifest(
            manifest.with_name(name), [(r["file"], r["speaker"]) for r in rows], ("file", "speaker")
        )
    changed = [(r["file"], change(r["emotion"]), r["speaker"], "en") for r in rows]
    return write_manifest(manifest.with_name(name), changed)
