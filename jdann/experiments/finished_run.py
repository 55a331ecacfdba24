"""Reads a finished run: its results, its predictions and its target."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann import corpora
from jdann.corpora import Utterance
from jdann.errors import InputError
from jdann.experiments import workdir
from jdann.experiments.predictions_file import MethodPredictions, read_predictions
from jdann.experiments.settings import naming_of

log = logging.getLogger("jdann")


class Choice(NamedTuple):
    """Some of a run's trainings."""

    method: str | None = None  # None: all methods
    encoder: str | None = None  # None: all encoders
    direction: int = 0  # 0: from source to target; 1: the opposite


def load_run_target(
    path: Path, results: dict[str, Any], data_dir: Path, direction: int
) -> tuple[Utterance, ...] | None:
    """The utterances of the target of a run; None if it cannot be read any more.

    Args:
      path: the work directory.
      results: the content of its results.json.
      data_dir: where prepared corpora are kept.
      direction: 0: the target of the config; 1: the source of the config, which is the target of
        the opposite direction.
    """
    config: Any = workdir.read_config(path)
    domain = "source" if direction == 1 else "target"
    naming = naming_of(config, domain)
    return load_target(config[domain], results["emotions"], data_dir, naming)


def read_chosen(path: Path, results: dict[str, Any], choice: Choice) -> list[MethodPredictions]:
    """The predictions of the chosen trainings of a run.

    Args:
      path: the work directory.
      results: the content of its results.json.
      choice: which trainings.

    Raises:
      InputError: the run has no such trainings; the message lists those that it has.
    """
    file = path / workdir.PREDICTIONS
    predictions = read_predictions(file, results["emotions"])
    if not predictions:
        raise InputError(f"{file}: is missing or empty; write it anew by jdann evaluate {path}")
    directions = results["directions"]
    if choice.direction not in range(len(directions)):
        raise InputError(f"{path}: --direction {choice.direction}: the run has one direction, 0")
    domains = directions[choice.direction]
    names = domains["source"]["name"], domains["target"]["name"]
    chosen = [
        method
        for method in predictions
        if (method.source, method.target) == names
        and choice.method in (None, method.method)
        and choice.encoder in (None, method.encoder)
    ]
    if not chosen:
        known = dict.fromkeys(f"{method.method} with {method.encoder}" for method in predictions)
        raise InputError(
            f"{path}: has no predictions of {choice.method or 'any method'} with "
            f"{choice.encoder or 'any encoder'}; there are: {', '.join(known)}"
        )
    return chosen


def load_target(
    spec: str, emotions: Sequence[str], data_dir: Path, naming: corpora.Naming
) -> tuple[Utterance, ...] | None:
    """The utterances that a run adapted to; None if its target cannot be read any more.

    Args:
      spec: the target in the config of the run.
      emotions: those of the run.
      data_dir: where prepared corpora are kept.
      naming: how names are understood, by the config of the run.
    """
    try:
        return corpora.load_all(spec, tuple(emotions), data_dir, naming).utterances
    except (InputError, OSError) as error:
        log.warning("the target of the run cannot be read (%s)", error)
        return None
