"""Scores a finished run again: on its own target, whose labels may be new, or on another corpus."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann import configuration, files, selection
from jdann.data.pairs import Direction
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.experiments import jobs, results, workdir
from jdann.experiments.jobs import Job, Outcome
from jdann.experiments.settings import encoder_names, make_members
from jdann.experiments.train import open_directions, write_predictions
from jdann.training import loop
from jdann.training.records import outputs

_DIAGNOSED_UTTERANCES = 1000  # of each domain, in the A-distance
ELSEWHERE = "elsewhere"  # protocol of scores on a corpus that was not adapted to


def evaluate(path: Path, data_dir: Path, target: str | None = None) -> dict[str, Any]:
    """Scores the last checkpoints of a finished run. Nothing is trained.

    Args:
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      target: None: the run's own target with the labels that it has now; results.json and
        predictions.csv are written again. A corpus: its utterances are predicted and scored, and
        the results are written to `evaluation/<its name>/`.

    Returns:
      What results.json holds.

    Raises:
      InputError: there is no finished run, or the corpus cannot be used.
    """
    config = workdir.read_config(path)
    if absent := configuration.missing(config):
        raise InputError(
            f"{path / 'config.json'}: lacks {absent[0]}, because another version of jdann wrote it; "
            "evaluate the run by that version, or train again in another --workdir"
        )
    before = workdir.read_json(path / "results.json")
    workdir.check_kind(path, before)
    if target is not None:
        return _evaluate_elsewhere(path, data_dir, config, target, before["seconds"])
    directions = open_directions(config, data_dir)
    outcomes = [
        jobs.restore_job(job, directions[job.direction], config, path / "checkpoints")
        for job in jobs.plan_jobs(config, directions)
    ]
    summary = results.summarise(config, directions, outcomes)
    summary["seconds"] = before["seconds"]
    write_predictions(path, config, directions, outcomes)
    files.write_json(path / "results.json", summary)
    return summary


def _evaluate_elsewhere(
    path: Path, data_dir: Path, config: Any, target: str, seconds: float
) -> dict[str, Any]:
    """Scores a run's methods on another corpus."""
    values = configuration.to_dict(config) | {"target": target, "both_directions": False}
    changed = ConfigDict(values)
    config = FrozenConfigDict(configuration.tuples(json.loads(changed.to_json())))
    directions = open_directions(config, data_dir)
    outcomes = [
        _predict(encoder, method, directions[0], config, path / "checkpoints")
        for encoder in encoder_names(config)
        for method in config.methods
        if method != "supervised"
    ]
    summary = results.summarise(config, directions, outcomes)
    summary["protocol"] = ELSEWHERE
    summary["rows"] = [
        row | {"protocol": ELSEWHERE} for row in summary["rows"] if row["selection"] != "oracle"
    ]
    summary["seconds"] = seconds
    folder = path / "evaluation" / target.strip("./").replace("/", "-").replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, config, directions, outcomes)
    files.write_json(folder / "results.json", summary)
    return summary


def _predict(
    encoder: str, method: str, direction: Direction, config: Any, checkpoints: Path
) -> Outcome:
    """A trained method's outputs on another corpus; folds are averaged."""
    rows = np.arange(len(direction.target.emotion))
    split = Split("all", rows[:0], rows[:0], rows, rows)
    job = Job(0, encoder, method, (split,))
    training, _ = jobs.make_job_training(job, direction, config)
    members = make_members(config)
    source_rows, target_rows = (
        np.random.default_rng(0).permutation(len(domain.emotion))[:_DIAGNOSED_UTTERANCES]
        for domain in (direction.source, direction.target)
    )
    logits: list[np.ndarray] = []
    representation = None
    for folder in sorted(checkpoints.glob(f"{job.name}-*")):
        states = loop.restore_states(training, members, folder)
        if states is None:
            continue
        per_state = [
            outputs(training, state, direction.target_frames, rows, "target").logits
            for state in states
        ]
        logits.append(np.stack(per_state))
        if representation is None:
            source = outputs(training, states[1], direction.source_frames, source_rows, "source")
            target = outputs(training, states[1], direction.target_frames, target_rows, "target")
            representation = (
                np.asarray(source.representation[0]),
                np.asarray(target.representation[0]),
            )
    if representation is None:
        raise InputError(
            f"{checkpoints}: no checkpoint of {method} with {encoder} can be read; train first"
        )
    # The config's criterion chose the first of the two states. What the other criteria would have
    # chosen was not kept.
    values = np.stack([np.zeros(config.seeds), np.full(config.seeds, np.nan)])
    unknown = np.full_like(values, np.nan)
    criteria = {
        name: values if name == config.selection else unknown for name in selection.CRITERIA
    }
    return Outcome(
        job=job,
        logits=np.mean(logits, axis=0),  # [chosen and last, seeds, n, classes]
        tested=np.ones(len(rows), bool),
        record_at=(0, config.epochs),
        criteria=((rows, criteria),),
        history=(("all", {}),),
        diverged=(None,) * config.seeds,
        representation=representation,
        rows=(source_rows, target_rows),
    )
