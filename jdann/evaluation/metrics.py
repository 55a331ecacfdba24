"""Compares predictions with labels: confusion matrices, scores, their spread over seeds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

UNLABELLED = -1  # the emotion of an utterance without a label


class Scores(NamedTuple):
    """Scores of one set of predictions.

    `macro_f1` and `uar` are means over the classes that occur among the labels.
    """

    accuracy: float
    macro_f1: float
    uar: float  # unweighted average recall
    recall: np.ndarray  # [classes] float64, NaN for a class absent from the labels
    confusion: np.ndarray  # [classes, classes], rows: label, columns: prediction
    per_speaker: dict[str, float]  # accuracy


def confusion_matrix(
    emotion: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Counts utterances by label and prediction.

    Args:
      emotion: [n] int, labels from 0 to classes - 1; UNLABELLED entries are left out.
      predicted: [n] int, from 0 to classes - 1.
      classes: number of classes.
      weight: [n] float, for how many utterances each one counts; None: 1.

    Returns:
      [classes, classes] int64, or float64 with weights; rows: label, columns: prediction.
    """
    emotion, predicted = np.asarray(emotion), np.asarray(predicted)
    labelled = emotion != UNLABELLED
    cell = emotion[labelled].astype(np.int64) * classes + predicted[labelled]
    weights = None if weight is None else np.asarray(weight)[labelled]
    return np.bincount(cell, weights, classes * classes).reshape(classes, classes)


def class_recall(emotion: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The recall of each class that occurs among the labels, for one or many sets of predictions.

    Args:
      emotion: [n] int, labels; UNLABELLED entries are left out.
      predicted: [..., n] int.

    Returns:
      [present classes, ...] float64, in ascending order of the classes; the first axis is empty if
      nothing is labelled.
    """
    emotion, predicted = np.asarray(emotion), np.asarray(predicted)
    labelled = emotion != UNLABELLED
    emotion, predicted = emotion[labelled], predicted[..., labelled]
    correct = predicted == emotion
    present = np.unique(emotion)
    recalls = [correct[..., emotion == label].mean(-1) for label in present]
    return np.array(recalls).reshape(len(present), *predicted.shape[:-1])


def unweighted_average_recall(emotion: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The mean recall over the classes that occur among the labels (UAR, balanced accuracy).

    Args:
      emotion: [n] int, labels, of which at least one is not UNLABELLED; those that are UNLABELLED
        are left out.
      predicted: [..., n] int.

    Returns:
      [...] float64, the UAR of each set of predictions.
    """
    return np.mean(class_recall(emotion, predicted), axis=0)


def score(
    emotion: np.ndarray,
    predicted: np.ndarray,
    speaker: Sequence[str | None],
    classes: int,
    weight: np.ndarray | None = None,
) -> Scores | None:
    """Scores predictions against labels.

    The scores equal scikit-learn's `accuracy_score`, and its `f1_score` and `recall_score` with
    `average="macro"` and with the classes that occur in `emotion` as `labels`.

    Args:
      emotion: [n] int, labels from 0 to classes - 1; UNLABELLED entries are not scored.
      predicted: [n] int, from 0 to classes - 1.
      speaker: n speaker ids, or None for an unknown speaker, who gets no accuracy of their own.
      classes: number of classes.
      weight: [n] float, for how many utterances each one counts; None: 1. The accuracy of a
        speaker is not weighted.

    Returns:
      The scores; None if nothing is labelled.
    """
    emotion, predicted = np.asarray(emotion), np.asarray(predicted)
    confusion = confusion_matrix(emotion, predicted, classes, weight)
    labels, predictions, correct = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    present = labels > 0
    if not present.any():
        return None
    recall = np.divide(correct, labels, out=np.full(classes, np.nan), where=present)
    f1 = 2 * correct[present] / (labels + predictions)[present]

    hits: dict[str, list[bool]] = {}
    for name, label, prediction in zip(speaker, emotion, predicted, strict=True):
        if name is not None and label != UNLABELLED:
            hits.setdefault(name, []).append(bool(label == prediction))
    return Scores(
        accuracy=float(correct.sum() / labels.sum()),
        macro_f1=float(f1.mean()),
        uar=float(recall[present].mean()),
        recall=recall,
        confusion=confusion,
        per_speaker={name: float(np.mean(hits[name])) for name in sorted(hits)},
    )


def mean_probabilities(logits: np.ndarray, temperature: float | None = None) -> np.ndarray:
    """Class probabilities of an ensemble: the mean over its members of softmax(logits / T).

    Args:
      logits: [members, n, classes] float.
      temperature: T, above 0, with which the result is computed in float64. None: T = 1 in the
        precision of `logits`.

    Returns:
      [n, classes], float64 with a temperature, otherwise of the type of `logits`.
    """
    if temperature is not None:
        logits = np.asarray(logits, np.float64) / temperature
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return (exponential / exponential.sum(-1, keepdims=True)).mean(0)


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Mean and spread of one number over the seeds.

    Args:
      values: one value per seed, at least one.

    Returns:
      "mean", "std" and "values", ready for JSON. "std" is the standard deviation of the sample
      (n - 1 in the denominator); it is None for a single seed.
    """
    values = [float(value) for value in values]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": values}


def paired_gain(values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Gain over a reference, seed by seed.

    What a seed changes in both values cancels.

    Args:
      values: one value per seed.
      reference: the values of the reference, usually "source_only", for the same seeds in the same
        order.

    Returns:
      The differences, as `summarise` returns them.

    Raises:
      ValueError: `values` and `reference` differ in length.
    """
    return summarise([value - base for value, base in zip(values, reference, strict=True)])


def row(
    method: str,
    encoder: str,
    direction: tuple[str, str],
    selection: str,
    protocol: str,
    scores_per_seed: Sequence[Scores],
    classes: Sequence[str],
) -> dict[str, Any]:
    """One row of results.json: a method's scores with one way of selecting its checkpoint.

    Args:
      method: a name of `jdann.methods.METHODS`, "supervised, ..." or "svm".
      encoder: the encoder's name.
      direction: names of source and target.
      selection: how the checkpoint was chosen: "last", a criterion without target labels, or
        "oracle".
      protocol: "transductive" or "inductive".
      scores_per_seed: one entry per seed, all for the same utterances.
      classes: names of the classes, in the order of the confusion matrices.

    Returns:
      The row, ready for JSON. "achievable" is False for the oracle and the supervised ceiling,
      which use target labels. "recall" of a class absent from the labels is
      {"mean": None, "std": None}. "confusion" is summed over the seeds.
    """
    first = scores_per_seed[0]
    confusion = np.sum([scores.confusion for scores in scores_per_seed], axis=0)
    recall = {
        name: _spread([scores.recall[index] for scores in scores_per_seed])
        for index, name in enumerate(classes)
    }
    per_speaker = {
        name: _spread([scores.per_speaker[name] for scores in scores_per_seed])
        for name in first.per_speaker
    }
    return {
        "method": method,
        "encoder": encoder,
        "source": direction[0],
        "target": direction[1],
        "selection": selection,
        "protocol": protocol,
        "achievable": selection != "oracle" and not method.startswith("supervised"),
        "n": round(float(first.confusion.sum())),
        "accuracy": summarise([scores.accuracy for scores in scores_per_seed]),
        "macro_f1": summarise([scores.macro_f1 for scores in scores_per_seed]),
        "uar": summarise([scores.uar for scores in scores_per_seed]),
        "recall": recall,
        "per_speaker": per_speaker,
        "confusion": confusion.tolist(),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """`summarise` without the single values; None instead of NaN, which JSON does not have."""
    if np.isnan(values).any():
        return {"mean": None, "std": None}
    summary = summarise(values)
    return {"mean": summary["mean"], "std": summary["std"]}
