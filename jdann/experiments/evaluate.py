"""Scores a finished run again: on its own target, whose labels may have come since, or on another corpus."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann import configuration, files, selection
from jdann.data.pairs import Direction
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.experiments import jobs, workdir
from jdann.experiments.jobs import Job, Outcome
from jdann.experiments.train import open_directions, summarise, write_predictions
from jdann.training import loop

_DIAGNOSED = 1000  # utterances of each domain in the A-distance


def evaluate(path: Path, data_dir: Path, target: str | None = None) -> dict[str, Any]:
    """Scores the last checkpoints of a finished run. Nothing is trained.

    Args:
      path: the work directory.
      data_dir: where prepared corpora and cached features live.
      target: None: the run's own target with the labels it has now; results.json and predictions.csv are written anew. A
        corpus: its utterances are predicted and scored, and the outcome is written to `evaluation/<its name>/`.

    Returns:
      What results.json holds.

    Raises:
      InputError: there is no finished run, or the corpus cannot be used.
    """
    config = workdir.read_config(path)
    if absent := configuration.missing(config):
        lacks = f"{path / 'config.json'}: lacks {absent[0]}, being of another version of jdann"
        raise InputError(
            f"{lacks}; evaluate it by that version, or train again in another --workdir"
        )
    before = workdir.read_json(path / "results.json")
    workdir.check_kind(path, before)
    seconds = before["seconds"]
    if target is not None:
        changed = ConfigDict(
            configuration.to_dict(config) | {"target": target, "both_directions": False}
        )
        config = FrozenConfigDict(workdir.tuples(json.loads(changed.to_json())))
    directions = open_directions(config, data_dir)
    if target is None:
        planned = jobs.plan_jobs(config, directions)
        outcomes = [
            jobs.restore_job(job, directions[job.direction], config, path / "checkpoints")
            for job in planned
        ]
        into = path
    else:
        methods = [
            (encoder, method) for encoder in jobs.encoder_names(config) for method in config.methods
        ]
        outcomes = [
            _predict(encoder, method, directions[0], config, path / "checkpoints")
            for encoder, method in methods
            if method != "supervised"
        ]
        into = path / "evaluation" / target.strip("./").replace("/", "-").replace(":", "-")
        into.mkdir(parents=True, exist_ok=True)
    results = summarise(config, directions, outcomes)
    if target is not None:
        results["protocol"] = "elsewhere"
        results["rows"] = [
            row | {"protocol": "elsewhere"}
            for row in results["rows"]
            if row["selection"] != "oracle"
        ]
    results["seconds"] = seconds
    write_predictions(into, config, directions, outcomes)
    files.write_json(into / "results.json", results)
    return results


def _predict(
    encoder: str, method: str, direction: Direction, config: Any, checkpoints: Path
) -> Outcome:
    """A trained method's outputs on a corpus that it was not adapted to; folds are averaged."""
    folders = sorted(checkpoints.glob(f"0-{encoder}-{method}-*"))
    rows = np.arange(len(direction.target.emotion))
    split = Split("all", rows[:0], rows[:0], rows, rows)
    job = Job(0, encoder, method, (split,))
    train, _ = jobs.make_job_train(job, direction, config)
    logits: list[np.ndarray] = []
    representation = None
    some = tuple(
        np.random.default_rng(0).permutation(len(d.emotion))[:_DIAGNOSED]
        for d in (direction.source, direction.target)
    )
    for folder in folders:
        states = loop.restore_states(train, jobs.seeds(config), jobs.make_hyper(config), folder)
        if states is None:
            continue
        logits.append(
            np.stack(
                [
                    loop.outputs(train, state, direction.target_frames, rows, "target")[0]
                    for state in states
                ]
            )
        )
        if representation is None:
            frames = (direction.source_frames, direction.target_frames)
            domains = zip(frames, some, ("source", "target"), strict=True)
            of = [loop.outputs(train, states[1], f, r, domain)[1][0] for f, r, domain in domains]
            representation = (of[0], of[1])
    if representation is None:
        raise InputError(
            f"{checkpoints}: no checkpoint of {method} with {encoder} can be read; train first"
        )
    # The config's criterion chose the first of the two; what the others would have chosen was not kept.
    values = np.stack([np.zeros(config.seeds), np.full(config.seeds, np.nan)])
    chosen = {
        name: values if name == config.selection else np.full_like(values, np.nan)
        for name in selection.CRITERIA
    }
    return Outcome(
        job,
        np.mean(logits, axis=0),  # [chosen and last, seeds, n, classes]
        np.ones(len(rows), bool),
        (0, config.epochs),
        ((rows, chosen),),
        (("all", {}),),
        (None,) * config.seeds,
        representation,
        (some[0], some[1]),
    )
