"""Which clips of a run's target should be labelled next, as a csv to fill in."""

import os
from pathlib import Path

import numpy as np

from jdann import files
from jdann.errors import InputError
from jdann.evaluation import metrics
from jdann.evaluation.suggestions import suggest_clips
from jdann.experiments import workdir
from jdann.experiments.finished_run import Choice, load_run_target, read_chosen
from jdann.experiments.labelled_clips import WEIGHT, find_rows, read_labels
from jdann.experiments.predictions_file import Place
from jdann.experiments.settings import naming_of
from jdann.inference import model


def suggest_labels(
    path: Path, csv: Path | None, data_dir: Path, choice: Choice, count: int, output: Path
) -> int:
    """Writes a csv of clips to label next: uncertain ones, balanced over classes and speakers.

    Args:
      path: the work directory of a finished run.
      csv: clips that are labelled already and therefore not suggested; None: there are none. Clips
        with a label in the target itself are never suggested.
      data_dir: where prepared corpora are kept.
      choice: the training whose uncertainty is used; by default the last method that adapts.
      count: clips to suggest.
      output: the csv to write; its column `emotion` is empty.

    Returns:
      How many clips were suggested: `count`, or fewer if there are not enough clips.

    Raises:
      InputError: all clips are labelled, the output exists, or there is no such run.
    """
    if count < 1:
        raise InputError(f"--suggest {count}: expected a number of clips, 1 or more")
    if output.exists():
        raise InputError(
            f"{output}: exists already and may hold labels; give another name by --output"
        )
    if not (path / workdir.CONFIG).exists():
        raise InputError(
            f"{path}: is not the work directory of a run; --suggest chooses among the clips in "
            "its predictions.csv"
        )
    results = workdir.read_results(path)
    predictions = read_chosen(path, results, choice)
    adapting = [p for p in predictions if not p.method.startswith(model.NOT_ADAPTED)]
    chosen = (adapting or predictions)[-1]
    target = load_run_target(path, results, data_dir, choice.direction)
    unlabelled = chosen.emotion == metrics.UNLABELLED
    if csv is not None:
        naming = naming_of(workdir.read_config(path), "target")
        labels = [label for label in read_labels(csv, naming) if label.emotion is not None]
        unlabelled[find_rows(csv, labels, chosen.places, target, path)] = False
    candidates = np.flatnonzero(unlabelled)
    if not len(candidates):
        raise InputError(
            f"{path}: all {len(unlabelled):,} clips of the target are labelled; nothing is left to "
            "suggest"
        )
    count = min(count, len(candidates))
    speaker = [chosen.speaker[row] or None for row in candidates]
    suggestion = suggest_clips(chosen.probability[candidates], speaker, count)
    audio = {Place(u.file, u.start_s, u.end_s): u.path for u in target or ()}
    rows = []
    for row, weight in zip(candidates[suggestion.rows], suggestion.weight, strict=True):
        place = chosen.places[row]
        file = _relative(audio.get(place) or place.file, output.parent)
        rows.append(
            (file, None, chosen.speaker[row], place.start_s or None, place.end_s, f"{weight:.4g}")
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(output, ("file", "emotion", "speaker", "start", "end", WEIGHT), rows)
    return count


def _relative(file: str, folder: Path) -> str:
    """The path of a file relative to a folder; unchanged if the file is not in the folder."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(folder.resolve()):
        return os.fspath(path.relative_to(folder.resolve()))
    return file
