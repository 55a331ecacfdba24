"""The recogniser that a run leaves: a model that needs neither corpora nor checkpoints."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdann import configuration
from jdann.cluster import processes
from jdann.cluster.mesh import gather
from jdann.data import normalise
from jdann.data.batches import Frames, StoredFrames
from jdann.data.pairs import Direction, Domain
from jdann.errors import InputError
from jdann.evaluation.metrics import mean_probabilities
from jdann.experiments import estimates
from jdann.experiments.jobs import Job
from jdann.experiments.new_speakers import can_co_train, make_ensemble_reference
from jdann.experiments.results import versions
from jdann.experiments.settings import seeds_of
from jdann.inference import model
from jdann.inference.model import Adaptation
from jdann.selection import Evidence, calibration
from jdann.selection.contract import evenly
from jdann.selection.density_ratio import MAX_ROWS, importance_weights
from jdann.selection.familiarity import Familiarity, Speech, fit_familiarity
from jdann.speakers import similar_voices
from jdann.training.members import CompiledTraining
from jdann.training.records import outputs
from jdann.training.state import Outputs
from jdann.training.task import Fitted

_importance_weights = jax.jit(importance_weights)
_FAMILIAR_ROWS = 5000  # utterances of each domain; more would tell little
_LEAST_FAMILIAR, _FAMILIAR_VALUES = 10, 2000  # utterances of each domain, values of each


def write_recogniser(
    path: Path,
    job: Job,
    direction: Direction,
    config: Any,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
    order: int,
    familiarity: Familiarity | None = None,
) -> Path:
    """Writes the model of one job to `recogniser/` in the work directory.

    Args:
      path: the work directory.
      job: what was trained.
      direction: its two domains.
      config: of the run.
      training: the job's compiled functions.
      fitted: the result of each of the job's splits.
      order: the job's place among those of the run, so that the last one can be found.
      familiarity: of the direction, from `find_familiarity`.

    Returns:
      The folder. It holds the chosen averages of every split and seed that did not diverge.
    """
    folder = path / model.FOLDER / job.name
    made = make_model(job, direction, config, training, fitted, order)
    if processes.is_first():
        model.save_model(folder, made._replace(familiarity=familiarity))
    return folder


def make_model(
    job: Job,
    direction: Direction,
    config: Any,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
    order: int = 0,
) -> model.Model:
    """The model of one job, in memory; see `write_recogniser`.

    Raises:
      InputError: every member diverged.
    """
    members = [
        {"split": split.name, "seed": seed}
        for split, result in zip(job.splits, fitted, strict=True)
        for seed, diverged in zip(seeds_of(config), result.diverged, strict=True)
        if diverged is None
    ]
    if not members:
        raise InputError(
            f"{job.method} with {job.encoder}: every seed diverged, so there is no recogniser"
        )
    adaptation = adaptation_to_unknown_speakers(
        direction.target, direction.statistics[1], config.features.normalise
    )
    calibrated = _calibrate(job, direction, training, fitted)
    card = {
        "labels": list(config.emotions),
        "method": job.method,
        "encoder": job.encoder,
        "direction": job.direction,
        "order": order,
        "source": _describe(direction.source),
        "target": _describe(direction.target),
        "members": members,
        "seeds": sorted({member["seed"] for member in members}),
        "temperature": calibrated["temperature"],
        "calibration": calibrated,
        "values": adaptation.mean.shape[1],
        "config": _config_of_model(config, direction),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    reference = None
    if can_co_train(direction) and not job.is_supervised:
        reference = make_ensemble_reference(job.method, job.splits, direction, training, fitted)
    return model.Model(_chosen_variables(job, fitted), adaptation, card, reference)


def find_familiarity(direction: Direction) -> Familiarity | None:
    """How the speech of both domains varies.

    None if a recipe gives no vector per utterance, if the vectors are too long for a covariance,
    or if a domain has too few utterances.
    """
    domains = direction.source, direction.target
    if not direction.target.is_vector or len(direction.target.bins) > _FAMILIAR_VALUES:
        return None
    if min(len(domain.emotion) for domain in domains) < _LEAST_FAMILIAR:
        return None
    return fit_familiarity(*map(_speech, domains))


def _speech(domain: Domain) -> Speech:
    """The features of at most _FAMILIAR_ROWS utterances, and their speakers."""
    chosen = evenly(np.arange(len(domain.emotion)), _FAMILIAR_ROWS)
    wanted = set(chosen.tolist())
    rows = [x for i, x in enumerate(domain.features.read()) if i in wanted]  # [1, values] each
    known = np.array([speaker is not None for speaker in domain.speaker])
    _, number = np.unique([speaker or "" for speaker in domain.speaker], return_inverse=True)
    return Speech(np.concatenate(rows), np.where(known, number, -1)[chosen])


def _config_of_model(config: Any, direction: Direction) -> dict[str, Any]:
    """The config as a model keeps it: the layer of a pretrained encoder is a number."""
    values: dict[str, Any] = configuration.to_dict(config) | _corpus_names(
        direction, config.target_labels
    )
    for key in ("layers", "encoder_digest", "encoder_precision"):
        if key in direction.recipe_settings:
            values["features"][key] = direction.recipe_settings[key]
    return values


def _corpus_names(direction: Direction, target_labels: str) -> dict[str, str]:
    """The corpora by name: a model that is handed on does not tell where they were stored."""
    names = {"source": direction.source.corpus.name, "target": direction.target.corpus.name}
    return names | {"target_labels": Path(target_labels).name}


def _evaluation_domain(job: Job) -> str:
    """Whose batch statistics the target is evaluated with."""
    return "source" if job.is_supervised else "target"  # the ceiling's source is the target


def _finite(result: Fitted) -> np.ndarray:
    """Which members did not diverge, bool [members]."""
    return np.array([place is None for place in result.diverged])


def _chosen_variables(job: Job, fitted: Sequence[Fitted]) -> Any:
    """The chosen averages of all splits, with a leading axis of members that did not diverge."""
    per_split = []
    for result in fitted:
        finite, average = _finite(result), result.chosen_state.average
        statistics = average["batch_stats"][_evaluation_domain(job)]
        variables = {
            "encoder": {"params": average["encoder"], "batch_stats": statistics},
            "classifier": average["classifier"],
        }
        variables = gather(variables)
        per_split.append(jax.tree.map(lambda x, rows=finite: np.asarray(x)[rows], variables))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *per_split)


def _calibrate(
    job: Job,
    direction: Direction,
    training: CompiledTraining,
    fitted: Sequence[Fitted],
) -> dict[str, Any]:
    """The temperature, how it was found, the calibration errors, and the estimated accuracy.

    Target labels are read for the errors only, after the temperature is fixed.
    """
    source, source_frames = direction.source, direction.source_frames
    if job.is_supervised:
        source, source_frames = direction.target, direction.target_frames
    domain = _evaluation_domain(job)
    evidence: list[calibration.Evidence] = []
    target_predictions = []
    for split, result in zip(job.splits, fitted, strict=True):
        finite = _finite(result)
        if not finite.any():
            continue

        def evaluate(
            frames: Frames | StoredFrames,
            rows: np.ndarray,
            domain: str,
            result: Fitted = result,
            finite: np.ndarray = finite,
        ) -> Outputs:
            everything = outputs(training, result.chosen_state, frames, rows, domain)
            return Outputs(*(values[finite] for values in everything))

        test = evaluate(direction.target_frames, split.test, domain)
        target_predictions.append((test.logits, direction.target.emotion[split.test]))
        if len(split.validation):
            held_out = evaluate(source_frames, split.validation, "source")
            trained_on = evaluate(source_frames, evenly(split.source, MAX_ROWS), "source")
            target = evaluate(direction.target_frames, evenly(split.target, MAX_ROWS), domain)
            emotion = source.emotion[split.validation]
            weights = _density_ratios(held_out, emotion, trained_on, target)
            evidence.append(
                calibration.Evidence(held_out.logits, emotion, weights, target.logits)  # pyright: ignore
            )
    temperatures = _mean_temperatures([calibration.temperatures(e) for e in evidence])
    chosen, estimate = calibration.THRESHOLDED if evidence else "none", None
    if not job.is_supervised and target_predictions:
        logits = [values for values, _ in target_predictions]
        estimate = estimates.estimate_accuracy(logits, direction.target, job.method)
        chosen = calibration.ESTIMATED
        temperatures[chosen] = estimates.find_temperature(logits, estimate)
    source_predictions = [(e.source, e.emotion) for e in evidence]
    errors = {
        name: _calibration_errors(temperature, source_predictions, target_predictions)
        for name, temperature in temperatures.items()
    }
    return {
        "by": chosen,
        "temperature": temperatures[chosen],
        "temperatures": temperatures,
        "expected_calibration_error": errors,
        "estimate": estimate and estimate._asdict(),
    }


def _mean_temperatures(per_split: Sequence[dict[str, float]]) -> dict[str, float]:
    """The geometric mean over splits of each way's temperature; {"none": 1} without any."""
    if not per_split:
        return {"none": 1.0}
    return {
        name: float(np.exp(np.mean([np.log(values[name]) for values in per_split])))
        for name in per_split[0]
    }


def _calibration_errors(
    temperature: float, source: Sequence[Any], target: Sequence[Any]
) -> dict[str, float | None]:
    """The expected calibration error on held-out source and on the target."""
    errors = {}
    for domain, predictions in (("source", source), ("target", target)):
        if predictions:
            probabilities = [mean_probabilities(logits, temperature) for logits, _ in predictions]
            errors[domain] = calibration.expected_calibration_error(
                np.concatenate(probabilities),
                np.concatenate([emotion for _, emotion in predictions]),
            )
    return errors


def _density_ratios(
    held_out: Outputs, emotion: np.ndarray, trained_on: Outputs, target: Outputs
) -> np.ndarray:
    """Density ratios [held-out source], averaged over members, each with a mean of 1."""
    per_member = []
    for member in range(len(held_out.logits)):
        evidence = Evidence(
            source_logits=held_out.logits[member],
            source_emotion=emotion,  # pyright: ignore
            source_representation=held_out.representation[member],
            train_representation=trained_on.representation[member],
            target_logits=target.logits[member],
            target_representation=target.representation[member],
        )
        weight = np.asarray(_importance_weights(evidence))
        per_member.append(weight / max(float(weight.mean()), 1e-30))
    return np.mean(per_member, axis=0)


def adaptation_to_unknown_speakers(
    target: Domain, statistics: normalise.Statistics, by: str
) -> Adaptation:
    """Statistics for a clip from an unknown speaker.

    They are those of similar voices in the target or, if the recipe has no pitch, of the whole
    target.
    """
    features, voices = target.features, target.voices
    positions = np.zeros((1, 0), np.float32)
    if by == "utterance":
        statistics = normalise.identity(features.bins)
    elif len(statistics.groups) > 1 and voices is not None:
        positions = similar_voices.position_grid(voices.positions)
        moments = normalise.voice_moments(features.read(), voices.positions, positions)
        names = tuple(f"voice {i}" for i in range(len(positions)))
        statistics = normalise.statistics(moments, names)
    elif len(statistics.groups) > 1:
        statistics = normalise.fit(features.read(), ["target"] * len(target.emotion))
    return Adaptation(statistics.mean, statistics.std, positions)


def _describe(domain: Domain) -> dict[str, Any]:
    """What a model's card says about a domain."""
    utterances = domain.features.utterances
    return {
        "name": domain.corpus.name,
        "description": domain.corpus.description,
        "synthetic": domain.corpus.synthetic,
        "languages": sorted({u.language for u in utterances if u.language}),
        "utterances": len(domain.emotion),
        "target_labels": int(domain.is_trained_on.sum()),
    }
