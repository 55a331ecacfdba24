"""What a run reports: the rows of results.json, predictions.csv and history.csv.

Target labels are read here, after all training, and nowhere before except in the supervised
ceiling.
"""

import logging
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np

from jdann import configuration, selection
from jdann.data.pairs import Direction, Domain
from jdann.evaluation import baseline, metrics
from jdann.evaluation.domain_distance import a_distance
from jdann.experiments import workdir
from jdann.experiments.estimates import calibrated_probabilities, estimate_rows
from jdann.experiments.job_training import make_job_method
from jdann.experiments.jobs import Job
from jdann.experiments.new_speakers import ADAPTED
from jdann.experiments.outcomes import Outcome
from jdann.experiments.score_rows import (
    BASELINE,
    ORACLE,
    Scored,
    compare,
    make_clips,
    score_predictions,
)
from jdann.experiments.settings import seeds_of
from jdann.inference.answers import find_doubt
from jdann.pretrained import PRETRAINED_RECIPES
from jdann.pretrained.catalogue import training_data_sentence
from jdann.training.task import LAST

_PACKAGES = ("jdann", "jax", "jaxlib", "flax", "optax", "numpy", "librosa", "scikit-learn")
log = logging.getLogger("jdann")


def summarise(
    config: Any, directions: Sequence[Direction], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Scores outcomes: what results.json holds, except for the seconds."""
    scored: list[Scored] = []
    shares, diagnostics, selections, estimates = [], [], [], []
    for outcome in outcomes:
        direction, job = directions[outcome.job.direction], outcome.job
        names = job_names(job, direction)
        scored += score_outcome(outcome, direction, config)
        selections += [names | row for row in selection_rows(outcome, direction)]
        probabilities = calibrated_probabilities(outcome, direction)
        shares.append(names | _share(config, probabilities.argmax(-1)))
        method = make_job_method(job, config)
        estimates += [names | row for row in estimate_rows(outcome, direction, method)]
        distance = None
        if not job.is_supervised:
            distance = a_distance(*outcome.representation, seed=0)
        diagnostics.append(names | {"a_distance": distance})
    for direction in directions if config.baseline else ():
        predicted = baseline_predictions(direction, config)
        names = {"method": BASELINE, "encoder": "-"} | domain_names(direction)
        shares.append(names | _share(config, predicted))
        tested = ~direction.target.is_trained_on
        clips = make_clips(direction.target, tested, len(config.emotions))
        scored += score_predictions(
            names, LAST, "transductive", clips, [predicted], config.emotions
        )
    rows = compare(scored, config.selection)
    return heading(config, directions) | {
        "scored": bool(rows),
        "rows": rows,
        "selection": selections,
        "predicted_share": shares,
        "estimates": estimates,
        "diagnostics": diagnostics,
    }


def domain_names(direction: Direction) -> dict[str, str]:
    """Names of source and target, as every row has them."""
    return {"source": direction.source.corpus.name, "target": direction.target.corpus.name}


def job_names(job: Job, direction: Direction) -> dict[str, str]:
    """What every row says about its job."""
    return {"method": job.method, "encoder": job.encoder} | domain_names(direction)


def score_outcome(outcome: Outcome, direction: Direction, config: Any) -> list[Scored]:
    """A job's rows of results.json, one per way of selecting; none where nothing is labelled."""
    clips = make_clips(direction.target, outcome.tested, len(config.emotions))
    protocol = "within target" if outcome.job.is_supervised else config.protocol
    finite = [seed for seed, place in enumerate(outcome.diverged) if place is None]
    names = job_names(outcome.job, direction)
    scored = []
    for by in dict.fromkeys((LAST, "source_risk", config.selection, ORACLE)):
        logits = chosen_logits(outcome, by, clips.emotion)
        if logits is None:
            continue
        predicted = [logits[seed].argmax(-1) for seed in finite]
        scored += score_predictions(names, by, protocol, clips, predicted, config.emotions)
    if outcome.new_speakers is not None:
        names = names | {"method": f"{outcome.job.method}{ADAPTED}"}
        predicted = [outcome.new_speakers[seed].argmax(-1) for seed in finite]
        by = config.selection
        scored += score_predictions(names, by, protocol, clips, predicted, config.emotions)
    return scored


def chosen_logits(outcome: Outcome, by: str, emotion: np.ndarray) -> np.ndarray | None:
    """The target's logits at the record that a selection chooses, per seed.

    Args:
      outcome: of a job.
      by: "last", a criterion of `jdann.selection`, or "oracle", the only one that reads `emotion`.
      emotion: [n] int, the target's labels, -1 where unlabelled.

    Returns:
      [seeds, n, classes], or None where the selection cannot be made: there is no validation set,
      or the oracle has no labels.
    """
    logits = outcome.logits
    if by == LAST:
        return logits[-1]
    if by == ORACLE:
        uar = recorded_uar(outcome, emotion)
        if uar is None:
            return None
        return logits[np.nan_to_num(uar).argmax(0), np.arange(logits.shape[1])]
    chosen = logits[-1].copy()
    for rows, criteria in outcome.criteria:
        if np.isnan(criteria[by]).all():
            return None
        record = selection.choose(criteria[by], by)  # [seeds]
        seeds = np.arange(len(record))
        chosen[:, rows] = logits[record[:, None], seeds[:, None], rows]
    return chosen


def recorded_uar(outcome: Outcome, emotion: np.ndarray) -> np.ndarray | None:
    """Unweighted average recall [records, seeds] of the tested target; None without labels."""
    scored = outcome.tested & (emotion >= 0)
    if not scored.any():
        return None
    predicted = outcome.logits[:, :, scored].argmax(-1)
    return metrics.unweighted_average_recall(emotion[scored], predicted)


def selection_rows(outcome: Outcome, direction: Direction) -> list[dict[str, Any]]:
    """What each criterion would have chosen, beside the oracle.

    There are no rows where nothing is labelled, and none for a criterion without a value.
    """
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    uar = recorded_uar(outcome, emotion)
    if uar is None or len(outcome.criteria) != 1:
        return []
    rows, seeds = [], np.arange(uar.shape[1])
    for name, values in outcome.criteria[0][1].items():
        if np.isnan(values).all():
            continue
        record = selection.choose(values, name)
        chosen = uar[record, seeds]
        rows.append(
            {
                "criterion": name,
                "epochs": [outcome.record_at[i] for i in record],
                "uar": metrics.summarise(chosen.tolist()),
                "loss_to_oracle": float(np.nanmean(np.nanmax(uar, 0) - chosen)),
                "rank_correlation": selection.rank_correlation(values, uar, name),
            }
        )
    return rows


def baseline_predictions(direction: Direction, config: Any) -> np.ndarray:
    """The SVM's predictions [n] of the target.

    It is trained on the vectors of a vector recipe, else on statistics of the frames.
    """
    log.info("%s: support vector machine on utterance statistics, a baseline", direction.name)
    columns = [i for i, name in enumerate(direction.source.bins) if name != "voicing"]

    def statistics(domain: Domain) -> np.ndarray:
        if domain.is_vector:
            return np.concatenate(list(domain.features.read()))
        return baseline.statistics(domain.features.read(), len(domain.emotion), columns)

    source, target = statistics(direction.source), statistics(direction.target)
    if config.features.normalise not in ("source", "none", "utterance"):
        source = baseline.normalise(source, direction.source.group, direction.source.voices)
        target = baseline.normalise(target, direction.target.group, direction.target.voices)
    labelled = np.flatnonzero(direction.target.is_trained_on)
    labels = direction.target.target_labels[labelled]
    return baseline.svm_predict(
        np.concatenate([source, target[labelled]]),
        np.concatenate([direction.source.emotion, labels]),
        target,
    )


def heading(config: Any, directions: Sequence[Direction]) -> dict[str, Any]:
    """What results.json says about any run: corpora, config, versions, machine and date."""
    notes = _notes(directions, config)
    for note in notes:
        log.info(note)
    corpora = [d.source.corpus for d in directions] + [d.target.corpus for d in directions]
    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    return {
        "schema": workdir.SCHEMA,
        "title": _title(directions),
        "synthetic": any(corpus.synthetic for corpus in corpora),
        "protocol": config.protocol,
        "normalise": config.features.normalise,
        "seeds": list(seeds_of(config)),
        "emotions": list(config.emotions),
        "directions": [
            {"source": _counts(d.source, config), "target": _counts(d.target, config)}
            for d in directions
        ],
        "notes": notes,
        "config": configuration.to_dict(config),
        "versions": versions(),
        "machine": f"{platform.machine()}, {devices}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run depends on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def _notes(directions: Sequence[Direction], config: Any) -> list[str]:
    """What a reader has to know about how the figures came about."""
    notes = []
    for direction in directions:
        source, target = direction.source, direction.target
        labels = np.concatenate([source.emotion, target.target_labels])
        absent = [name for i, name in enumerate(config.emotions) if not (labels == i).any()]
        if absent:
            notes.append(
                f"{source.corpus.name}: has no utterance labelled {' or '.join(absent)}, so "
                "nothing trained on it can recognise that; leave it out of config.emotions unless "
                "its recall in the target is to count as 0"
            )
        excluded = sum(count for _, count in target.corpus.excluded_emotions)
        if excluded:
            notes.append(
                f"{target.corpus.name}: {excluded} utterances labelled outside the chosen emotions "
                "were left out of adaptation too; a target without labels would have contained "
                "them"
            )
    notes += _encoder_notes(directions, config)
    if config.protocol == "inductive" and config.features.normalise in ("voice", "corpus"):
        notes.append(
            "inductive: the target's normalisation statistics include the audio of the speakers "
            "that are scored"
        )
    return notes


def _encoder_notes(directions: Sequence[Direction], config: Any) -> list[str]:
    """Which layers of a pretrained encoder were used, and what the encoder was trained on."""
    if config.features.recipe not in PRETRAINED_RECIPES:
        return []
    used = [f"{d.name}: layer {d.recipe_settings['layers']}" for d in directions]
    return [
        f"{'; '.join(used)} of the pretrained encoder",
        training_data_sentence(config.features.encoder),
    ]


def _title(directions: Sequence[Direction]) -> str:
    arrow = "<->" if len(directions) > 1 else "->"
    source, target = directions[0].source.corpus, directions[0].target.corpus
    return f"{source.description} {arrow} {target.description}"


def _counts(domain: Domain, config: Any) -> dict[str, Any]:
    """What results.json says about a domain."""

    def count(values: Sequence[Any]) -> dict[str, int]:
        texts = [str(value) if value is not None else "unknown" for value in values]
        names, counts = np.unique(texts, return_counts=True)
        return {str(name): int(n) for name, n in zip(names, counts, strict=True)}

    emotions = [config.emotions[e] if e >= 0 else "unlabelled" for e in domain.emotion]
    return {
        "name": domain.corpus.name,
        "description": domain.corpus.description,
        "utterances": len(domain.emotion),
        "minutes": round(float(domain.features.duration_s.sum()) / 60, 2),
        "target_labels": int(domain.is_trained_on.sum()),
        "per_emotion": count(emotions),
        "per_speaker": count(domain.speaker),
        "outside": dict(domain.corpus.excluded_emotions),
        # The notes name the clips without speech.
        "skipped": sum(not clip.no_speech for clip in domain.features.skipped),
        "notes": list(domain.all_notes),
    }


def _share(config: Any, predicted: np.ndarray) -> dict[str, Any]:
    """The share of each emotion among predictions [n]."""
    share = np.bincount(predicted, minlength=len(config.emotions)) / len(predicted)
    return {"share": dict(zip(config.emotions, share.tolist(), strict=True))}


def prediction_columns(emotions: Sequence[str]) -> tuple[str, ...]:
    """The columns of predictions.csv."""
    names = ("source", "target", "method", "encoder", "file", "start", "end", "speaker")
    answer = ("predicted", "confidence", "doubt")
    return (*names, "emotion", *answer, *(f"p_{name}" for name in emotions))


def prediction_rows(
    outcome: Outcome, direction: Direction, emotions: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Rows of predictions.csv: each tested target utterance, with the mean over seeds."""
    job = outcome.job
    names = (*domain_names(direction).values(), job.method, job.encoder)
    probabilities = calibrated_probabilities(outcome, direction)
    for i, row in zip(np.flatnonzero(outcome.tested), probabilities, strict=True):
        u, label = direction.target.features.utterances[i], direction.target.emotion[i]
        emotion = emotions[label] if label >= 0 else None
        answer = (emotions[row.argmax()], f"{row.max():.6f}", find_doubt(emotions, row))
        place = (u.file, u.start_s or None, u.end_s, u.speaker)
        yield (*names, *place, emotion, *answer, *(f"{p:.6f}" for p in row))


def history_rows(
    job: Job,
    direction: Direction,
    fold: str,
    seeds: Sequence[int],
    epoch: int,
    step: int,
    values: dict[str, np.ndarray],
) -> Iterator[dict[str, Any]]:
    """One epoch's rows of history.csv, one per seed; numbers that are not finite are left out."""
    names = job_names(job, direction)
    order = {name: names[name] for name in ("source", "target", "encoder", "method")}
    for s, seed in enumerate(seeds):
        finite = {name: float(v[s]) for name, v in values.items() if np.isfinite(v[s])}
        yield order | {"fold": fold, "seed": seed, "epoch": epoch, "step": step} | finite
