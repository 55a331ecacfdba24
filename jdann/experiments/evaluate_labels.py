"""How good a run or a model is on a few labelled clips.

Nothing is trained. The predictions of a run are read from its predictions.csv. The labelled clips
are not recognised again, because the run normalised each speaker with all of that speaker's audio.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import files
from jdann.corpora.index import place
from jdann.errors import InputError
from jdann.evaluation import intervals, metrics
from jdann.experiments import workdir
from jdann.experiments.evaluate import ELSEWHERE, TRANSDUCTIVE, result_folder
from jdann.experiments.finished_run import (
    Choice,
    load_run_target,
    read_chosen,
)
from jdann.experiments.labelled_clips import Label, find_rows, keep_labelled, read_labels
from jdann.experiments.predictions_file import MethodPredictions
from jdann.experiments.score_rows import Clips, Scored, compare, score_predictions
from jdann.experiments.settings import naming_of
from jdann.inference import model
from jdann.inference.clips import Part
from jdann.inference.recogniser import Recogniser
from jdann.selection.prediction_sets import COVERAGE, conformal_level, make_sets
from jdann.training.task import LAST

log = logging.getLogger("jdann")
WANTED_HALF_WIDTH = 0.05  # of an interval of UAR


class LabelledPredictions(NamedTuple):
    """Labelled clips and the predictions for them."""

    labels: tuple[Label, ...]
    speaker: tuple[str | None, ...]
    predictions: tuple[MethodPredictions, ...]  # for these clips only
    about: dict[str, Any]  # what results.json says about the run or the model
    adapted: int | None  # to how many of the clips the run or model adapted; None: not known
    other_labels: int  # clips with a label that is not among the emotions


def evaluate_labels(path: Path, csv: Path, data_dir: Path, choice: Choice) -> dict[str, Any]:
    """Scores a run or a model on a few labelled clips.

    Args:
      path: the work directory of a finished run, or the folder of a model.
      csv: a table of clips, which `read_labels` reads.
      data_dir: where prepared corpora are kept.
      choice: which trainings of the run are scored.

    Returns:
      What results.json holds. For a run it is also written to a folder of `evaluation/`.

    Raises:
      InputError: the clips are not those of the run's target, too few are labelled, or there is
        no such run or model.
    """
    is_run = (path / workdir.CONFIG).exists()
    predict = _predictions_of_run if is_run else _predictions_of_model
    labelled = predict(path, csv, data_dir, choice)
    emotions = labelled.about["emotions"]
    total = len(labelled.labels)
    protocol = labelled.about.get("protocol", ELSEWHERE)
    if not is_run:
        protocol = TRANSDUCTIVE if labelled.adapted == total else ELSEWHERE
    clips = _make_clips(labelled, emotions)
    scored: list[Scored] = []
    for predictions in labelled.predictions:
        names = {name: getattr(predictions, name) for name in ("method", "encoder")}
        names |= {"source": predictions.source, "target": predictions.target}
        predicted = predictions.probability.argmax(1)
        (item,) = score_predictions(names, LAST, protocol, clips, [predicted], emotions)
        item.row["labels"] = _labels_needed(item, clips, predicted, len(emotions))
        # predictions.csv of a run has other probabilities than its model, which is calibrated.
        sets = None if is_run else _sets(predictions.probability, clips)
        item.row["labels"]["sets"] = sets
        scored.append(item)
    results = labelled.about | {
        "protocol": protocol,
        "scored": True,
        "rows": compare(scored, LAST),
        "selection": [],
        "predicted_share": [],
        "diagnostics": [],
        "labels": {
            "file": str(csv),
            "weighted": clips.weight is not None,
            "other_labels": labelled.other_labels,
        },
    }
    if labelled.adapted is not None:
        results["adapted_utterances"] = labelled.adapted
    results["directions"] = [_direction(labelled, csv)]
    if is_run:
        folder = result_folder(path, str(csv)).with_name(
            f"labels-{result_folder(path, str(csv)).name}"
        )
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / workdir.RESULTS, results)
    return results


def _predictions_of_run(
    path: Path, csv: Path, data_dir: Path, choice: Choice
) -> LabelledPredictions:
    """Finds the predictions of a run for labelled clips of its target."""
    results = workdir.read_results(path)
    labels = read_labels(csv, naming_of(workdir.read_config(path), "target"))
    kept, other_labels = keep_labelled(csv, labels, results["emotions"])
    predictions = read_chosen(path, results, choice)
    target = load_run_target(path, results, data_dir, choice.direction)
    rows = find_rows(csv, kept, predictions[0].places, target, path)
    speaker = tuple(
        predictions[0].speaker[row] or label.speaker for row, label in zip(rows, kept, strict=True)
    )
    adapted = len(rows) if results["protocol"] == TRANSDUCTIVE else 0
    restricted = tuple(_restrict(method, rows) for method in predictions)
    return LabelledPredictions(tuple(kept), speaker, restricted, results, adapted, other_labels)


def _restrict(predictions: MethodPredictions, rows: Sequence[int]) -> MethodPredictions:
    return predictions._replace(
        emotion=predictions.emotion[rows],
        probability=predictions.probability[rows],
        places=tuple(predictions.places[row] for row in rows),
        speaker=tuple(predictions.speaker[row] for row in rows),
    )


def _predictions_of_model(
    path: Path, csv: Path, data_dir: Path, choice: Choice
) -> LabelledPredictions:
    """Recognises labelled clips by a model, each by itself."""
    recogniser = Recogniser.load(path, choice.method, choice.encoder, choice.direction)
    labels = read_labels(csv, naming_of(recogniser.card["config"], "target"))
    kept, other_labels = keep_labelled(csv, labels, recogniser.labels)
    missing = [label for label in kept if not Path(label.path).exists()]
    if missing:
        raise InputError(
            f"{csv}: {len(missing)} of {len(kept)} clips do not exist, the first being "
            f"{missing[0].place.file} (line {missing[0].line}); paths are relative to the csv"
        )
    parts = [Part(label.path, label.place.start_s, label.place.end_s) for label in kept]
    probability = recogniser.probabilities(parts)
    no_speech = np.isnan(probability).any(1)
    if no_speech.any():
        files = ", ".join(kept[i].place.file for i in np.flatnonzero(no_speech))
        log.warning("left out, because they hold no speech: %s", files)
        kept = [kept[i] for i in np.flatnonzero(~no_speech)]
        probability = probability[~no_speech]
    card = recogniser.card
    predictions = MethodPredictions(
        card["source"]["name"],
        card["target"]["name"],
        card["method"],
        card["encoder"],
        emotion=np.full(len(kept), metrics.UNLABELLED),
        probability=probability,
        places=tuple(label.place for label in kept),
        speaker=tuple(label.speaker or "" for label in kept),
    )
    domains = [
        {side: card[side] | {"per_speaker": {}, "per_emotion": {}} for side in ("source", "target")}
    ]
    about = {
        "schema": card.get("schema"),
        "title": f"{card['source']['description']} -> {card['target']['description']}",
        "synthetic": any(card[side].get("synthetic") for side in ("source", "target")),
        "normalise": card["config"]["features"]["normalise"],
        "seeds": card["seeds"],
        "emotions": list(recogniser.labels),
        "config": card["config"],
        "directions": domains,
        "notes": [],
    }
    speaker = tuple(label.speaker for label in kept)
    adapted = _count_adapted_by_model(path, kept, data_dir, card["direction"])
    return LabelledPredictions(tuple(kept), speaker, (predictions,), about, adapted, other_labels)


def _count_adapted_by_model(
    path: Path, labels: Sequence[Label], data_dir: Path, direction: int
) -> int | None:
    """To how many clips a model adapted; None if that is not known.

    It is known only if the model still lies in the folder of its run.
    """
    run = path.resolve().parent.parent
    if path.resolve().parent.name != model.FOLDER or not (run / workdir.RESULTS).exists():
        return None
    results = workdir.read_results(run)
    if results["protocol"] != TRANSDUCTIVE:
        return None  # each of the averaged networks adapted to the audio of other speakers
    target = load_run_target(run, results, data_dir, direction)
    if target is None:
        return None
    places = set(map(place, target))
    return sum(label.place._replace(file=label.path) in places for label in labels)


def _make_clips(labelled: LabelledPredictions, emotions: Sequence[str]) -> Clips:
    """The labelled clips, ready to be scored.

    Weights are used if all clips have one. They are divided by their mean, so that a sum of weights
    is comparable to a number of clips.
    """
    emotion = np.array([emotions.index(label.emotion or "") for label in labelled.labels])
    weight = None
    if all(label.weight is not None for label in labelled.labels):
        weight = np.array([label.weight for label in labelled.labels], float)
        weight /= weight.mean()
    resamples = intervals.draw_resamples(emotion, labelled.speaker, len(emotions), weight)
    return Clips(emotion, labelled.speaker, (None,) * len(emotion), resamples, weight)


def _sets(probabilities: np.ndarray, clips: Clips) -> dict[str, float]:
    """Which level of prediction sets keeps its coverage on clips like these, and their size."""
    level = conformal_level(probabilities, clips.emotion, weight=clips.weight)
    sizes = make_sets(probabilities, level).sum(1)
    mean_size = float(np.average(sizes, weights=clips.weight))
    return {"coverage": COVERAGE, "level": level, "mean_size": mean_size}


def _labels_needed(
    scored: Scored, clips: Clips, predicted: np.ndarray, classes: int
) -> dict[str, Any]:
    """The interval for these speakers only, and what would narrow the intervals."""
    resamples = scored.resamples
    assert resamples is not None and scored.samples is not None  # there are two clips or more
    count = len(clips.emotion)
    # If clips are resampled whoever speaks them, the interval is for these speakers only.
    by_clip = intervals.draw_resamples(clips.emotion, [None] * count, classes, clips.weight)
    assert by_clip is not None
    samples = intervals.resample_scores(by_clip, clips.emotion, [predicted], classes, clips.weight)
    half = max(scored.least_half_width, intervals.half_width(samples.uar, by_clip))
    needed: dict[str, Any] = {
        "interval_of_these_speakers": intervals.interval(scored.row["uar"]["mean"], half),
        "wanted_half_width": WANTED_HALF_WIDTH,
        "more_labels": intervals.units_for(half, count, WANTED_HALF_WIDTH) - count,
        "more_speakers": None,
    }
    if resamples.unit == intervals.SPEAKERS:
        half = intervals.half_width(scored.samples.uar, resamples)
        speakers = intervals.units_for(half, resamples.units, WANTED_HALF_WIDTH)
        needed["more_speakers"] = speakers - resamples.units
    return needed


def _direction(labelled: LabelledPredictions, csv: Path) -> dict[str, Any]:
    """The direction in results.json, with the labelled clips as its target."""
    names = {"source": labelled.predictions[0].source, "target": labelled.predictions[0].target}
    direction = next(
        domains
        for domains in labelled.about["directions"]
        if all(domains[side]["name"] == name for side, name in names.items())
    )
    labels = [label.emotion or "" for label in labelled.labels]
    speakers = [speaker or "unknown" for speaker in labelled.speaker]
    target = direction["target"] | {
        "description": f"{len(labels)} labelled clips of {direction['target']['description']}"
        f" ({csv.name})",
        "utterances": len(labels),
        "per_emotion": {name: labels.count(name) for name in sorted(set(labels))},
        "per_speaker": {name: speakers.count(name) for name in sorted(set(speakers))},
    }
    return direction | {"target": target}
