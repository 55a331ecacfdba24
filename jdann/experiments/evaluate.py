"""Scores a finished run again: on its own target, whose labels may be new, or on another corpus."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from jdann import configuration, files, selection
from jdann.corpora.index import Place, place
from jdann.corpora.naming import AUTO
from jdann.corpora.resolve import NAMES
from jdann.data.pairs import Direction, Domain
from jdann.data.splits import Split
from jdann.data.target_labels import read_target_labels
from jdann.errors import InputError
from jdann.experiments import results, workdir
from jdann.experiments.corpus_paths import make_absolute
from jdann.experiments.finished_run import load_target
from jdann.experiments.job_training import make_job_training
from jdann.experiments.jobs import Job, plan_jobs
from jdann.experiments.outcomes import Outcome, restore_job
from jdann.experiments.owner import owned
from jdann.experiments.score_rows import ORACLE
from jdann.experiments.settings import encoder_names, make_members, naming_of
from jdann.experiments.train import open_directions, write_predictions
from jdann.training import loop
from jdann.training.records import outputs

_DIAGNOSED_UTTERANCES = 1000  # of each domain, in the A-distance
ELSEWHERE = "elsewhere"  # protocol of scores on utterances that were not adapted to
TRANSDUCTIVE = "transductive"  # protocol of scores on utterances that were adapted to
_NAME_CHARACTERS = 60  # of a folder in evaluation/, before the digest
log = logging.getLogger("jdann")


def evaluate(
    path: Path, data_dir: Path, target: str | None = None, layout: str = AUTO
) -> dict[str, Any]:
    """Scores the last checkpoints of a finished run. Nothing is trained.

    Args:
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      target: None: the run's own target with the labels that it has now; results.json and
        predictions.csv are written again. Otherwise a corpus: its utterances are predicted and
        scored, and the results are written to a folder of `evaluation/`.
      layout: of the other corpus, if it is a folder.

    Returns:
      What results.json holds. The protocol of scores on another corpus is "transductive" if the
      run adapted to all of its utterances, else "elsewhere". The key "adapted_utterances" says to
      how many of them the run adapted. It is missing if the run's own target cannot be read any
      more.

    Raises:
      InputError: there is no finished run, or the corpus cannot be used.
    """
    config = workdir.read_config(path)
    if absent := configuration.missing(config):
        raise InputError(
            f"{path / workdir.CONFIG}: lacks {absent[0]}, because another version of jdann wrote "
            "it; evaluate the run by that version, or train again in another --workdir"
        )
    with owned(path):
        return _evaluate(path, data_dir, config, target, layout)


def _evaluate(
    path: Path, data_dir: Path, config: Any, target: str | None, layout: str
) -> dict[str, Any]:
    """Scores a run whose config is complete; see `evaluate`."""
    before = workdir.read_results(path)
    seconds = before.get("seconds")  # the training's
    if target is not None:
        return _evaluate_elsewhere(path, data_dir, config, (target, layout), seconds)
    directions = open_directions(config, data_dir, run=path)
    workdir.check_groups(path, directions)
    outcomes = [
        restore_job(job, directions[job.direction], config, path / workdir.CHECKPOINTS)
        for job in plan_jobs(config, directions)
    ]
    summary = results.summarise(config, directions, outcomes)
    summary["seconds"] = seconds
    write_predictions(path, config, directions, outcomes)
    files.write_json(path / workdir.RESULTS, summary)
    return summary


def result_folder(path: Path, target: str | None) -> Path:
    """The folder to which `evaluate` writes results for a target; None: the run's own target."""
    if target is None:
        return path
    return path / workdir.EVALUATION / folder_name(make_absolute(target))


def _evaluate_elsewhere(
    path: Path, data_dir: Path, trained: Any, elsewhere: tuple[str, str], seconds: float | None
) -> dict[str, Any]:
    """Scores a run's methods on another corpus, which is given by its name and its layout."""
    target, layout = make_absolute(elsewhere[0]), elsewhere[1]
    changed = {"target": target, "target_layout": layout, "target_labels": ""}
    values = configuration.to_dict(trained) | changed | {"both_directions": False}
    config: Any = FrozenConfigDict(configuration.tuples(values))
    (direction,) = open_directions(config, data_dir, run=path)
    adapted = _adapted_labels(direction.target, trained, data_dir)
    direction = direction._replace(target=_with_labels_of_run(direction.target, adapted))
    outcomes = [
        _predict(encoder, method, direction, config, path / workdir.CHECKPOINTS)
        for encoder in encoder_names(config)
        for method in config.methods
        if method != "supervised"
    ]
    summary = results.summarise(config, [direction], outcomes)
    protocol = ELSEWHERE
    if adapted is not None:
        scored = [place(u) for u in direction.target.features.utterances]
        count = sum(utterance_place in adapted for utterance_place in scored)
        protocol = TRANSDUCTIVE if count == len(scored) else ELSEWHERE
        summary["adapted_utterances"] = count
    summary["protocol"] = protocol
    if protocol == ELSEWHERE:
        summary["estimates"] = []  # they hold for what was adapted to
    # Each training has kept only two of its records, so there is no oracle and no gap to it.
    summary["rows"] = [
        {name: value for name, value in row.items() if name != "oracle_gap"}
        | {"protocol": protocol}
        for row in summary["rows"]
        if row["selection"] != ORACLE
    ]
    summary["seconds"] = seconds
    folder = result_folder(path, target)
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, config, [direction], outcomes)
    files.write_json(folder / workdir.RESULTS, summary)
    return summary


def folder_name(target: str) -> str:
    """The name of the folder in `evaluation/` for a corpus, which is readable and unique.

    Args:
      target: a corpus specification with absolute paths.

    Returns:
      For a name such as "demo:en", "demo-en". For paths, their last parts and a digest of the
      whole paths, such as "list.csv-1f0c29ab".
    """
    if target in NAMES:
        return target.replace(":", "-")
    parts = [Path(part).name for part in target.split(",")]
    readable = re.sub(r"[^\w.-]+", "-", "+".join(parts))[:_NAME_CHARACTERS].strip(".-")
    digest = hashlib.blake2b(target.encode("utf-8", "surrogateescape"), digest_size=4)
    return f"{readable}-{digest.hexdigest()}"


def _adapted_labels(scored: Domain, trained: Any, data_dir: Path) -> dict[Place, int] | None:
    """The utterances to which a run adapted, and the labels on which it was trained.

    The utterances are named by their audio, so that a second list of the same files counts as the
    same corpus.

    Args:
      scored: the domain that is scored now, for the message.
      trained: the run's config.
      data_dir: where prepared corpora are kept.

    Returns:
      For the place of each utterance, an index into the emotions; -1 if the run was not trained on
      its label. None if the run's target cannot be read any more.

    Raises:
      InputError: the labels that the run was trained on cannot be read any more.
    """
    emotions = tuple(trained.emotions)
    utterances = load_target(trained.target, emotions, data_dir, naming_of(trained, "target"))
    if utterances is None:
        name = scored.corpus.name
        log.warning("%s: so it is not known whether the run adapted to it", name)
        return None
    labels = np.full(len(utterances), -1)
    if trained.target_labels:
        labels = read_target_labels(
            trained.target_labels, utterances, emotions, data_dir, naming_of(trained, "target")
        )
    return dict(zip(map(place, utterances), labels.tolist(), strict=True))


def _with_labels_of_run(scored: Domain, adapted: dict[Place, int] | None) -> Domain:
    """The domain with the labels that the run was trained on, which must not be scored.

    Raises:
      InputError: nothing would be left to score.
    """
    if adapted is None:
        return scored
    labels = [adapted.get(place(u), -1) for u in scored.features.utterances]
    if min(labels) >= 0:
        raise InputError(
            f"{scored.corpus.name}: the run was trained on the labels of all its utterances; give "
            "a corpus with others"
        )
    return scored._replace(target_labels=np.array(labels, np.int32))


def _predict(
    encoder: str, method: str, direction: Direction, config: Any, checkpoints: Path
) -> Outcome:
    """A trained method's outputs on another corpus; folds are averaged."""
    rows = np.arange(len(direction.target.emotion))
    split = Split("all", rows[:0], rows[:0], rows, rows)
    job = Job(0, encoder, method, (split,))
    training, _ = make_job_training(job, direction, config)
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
    # The first of the two states was chosen by the config's criterion. The states that the other
    # criteria would have chosen were not kept.
    values = np.stack([np.zeros(config.seeds), np.full(config.seeds, np.nan)])
    unknown = np.full_like(values, np.nan)
    criteria = {
        name: values if name == config.selection else unknown for name in selection.CRITERIA
    }
    return Outcome(
        job=job,
        logits=np.mean(logits, axis=0),  # [chosen and last, seeds, n, classes]
        tested=~direction.target.is_trained_on,
        record_at=(0, config.epochs),
        criteria=((rows, criteria),),
        history=(("all", {}),),
        diverged=(None,) * config.seeds,
        representation=representation,
        rows=(source_rows, target_rows),
    )
