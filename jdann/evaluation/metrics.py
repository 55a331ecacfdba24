"""How well predictions agree with labels: confusion matrices, scores, their spread over seeds, rows of results.json."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

UNLABELLED = -1  # the emotion of an utterance that has none


class Scores(NamedTuple):
    """Scores of one set of predictions; classes absent from the labels count for neither `macro_f1` nor `uar`."""

    accuracy: float
    macro_f1: float
    uar: float  # unweighted average recall
    recall: np.ndarray  # [classes] float64, NaN for a class absent from the labels
    confusion: np.ndarray  # [classes, classes] int64, rows: label, columns: prediction
    per_speaker: dict[str, float]  # accuracy


def confusion_matrix(emotion: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts utterances by label and prediction.

    Args:
      emotion: [n] int, labels from 0 to classes - 1; entries of -1 are unlabelled and left out.
      predicted: [n] int, from 0 to classes - 1.
      classes: number of classes.

    Returns:
      [classes, classes] int64, rows: label, columns: prediction.
    """
    emotion, predicted = np.asarray(emotion), np.asarray(predicted)
    labelled = emotion != UNLABELLED
    cell = emotion[labelled].astype(np.int64) * classes + predicted[labelled]
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def score(
    emotion: np.ndarray, predicted: np.ndarray, speaker: Sequence[str | None], classes: int
) -> Scores | None:
    """Scores predictions against labels.

    Equal to scikit-learn's `accuracy_score`, and to its `f1_score` and `recall_score` with `average="macro"` and the
    classes that occur in `emotion` as `labels`.

    Args:
      emotion: [n] int, labels from 0 to classes - 1; entries of -1 are unlabelled and not scored.
      predicted: [n] int, from 0 to classes - 1.
      speaker: n speaker ids; None where unknown, which counts for no speaker.
      classes: number of classes.

    Returns:
      The scores, or None where nothing is labelled.
    """
    emotion, predicted = np.asarray(emotion), np.asarray(predicted)
    confusion = confusion_matrix(emotion, predicted, classes)
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


def mean_probability(logits: np.ndarray) -> np.ndarray:
    """Class probabilities, the mean over seeds.

    Args:
      logits: [seeds, n, classes] float.

    Returns:
      [n, classes] float.
    """
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return (exponential / exponential.sum(-1, keepdims=True)).mean(0)


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Mean and spread of one number over seeds.

    Args:
      values: one value per seed, at least one.

    Returns:
      "mean", "std" (of the sample, n - 1 in the denominator; None for a single seed, whose spread is unknown) and
      "values", ready for JSON.
    """
    values = [float(value) for value in values]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": values}


def paired_gain(values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Gain over a reference, seed by seed, so that what a seed does to both cancels.

    Args:
      values: one value per seed.
      reference: the reference's value for the same seeds, in the same order; usually those of "source_only".

    Returns:
      The differences, as `summarise` gives them.

    Raises:
      ValueError: the two differ in length.
    """
    return summarise([value - other for value, other in zip(values, reference, strict=True)])


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
      selection: how the checkpoint was chosen: "last", a criterion without target labels, or "oracle".
      protocol: "transductive" or "inductive".
      scores_per_seed: one entry per seed, all of the same utterances.
      classes: names of the classes, in the order of the confusion matrices.

    Returns:
      The row, ready for JSON. "achievable" is False where target labels were used, by the oracle and the supervised
      ceiling. "recall" is {"mean": None, "std": None} of a class absent from the labels; "confusion" is summed over the
      seeds.
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
        "n": int(first.confusion.sum()),
        "accuracy": summarise([scores.accuracy for scores in scores_per_seed]),
        "macro_f1": summarise([scores.macro_f1 for scores in scores_per_seed]),
        "uar": summarise([scores.uar for scores in scores_per_seed]),
        "recall": recall,
        "per_speaker": per_speaker,
        "confusion": confusion.tolist(),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """`summarise` without the single values; JSON knows no NaN."""
    if np.isnan(values).any():
        return {"mean": None, "std": None}
    summary = summarise(values)
    return {"mean": summary["mean"], "std": summary["std"]}


def a_distance(source: np.ndarray, target: np.ndarray, seed: int) -> float | None:
    """Proxy A-distance: how well a linear classifier, trained afterwards, tells the two domains apart.

    2 (1 - 2 err), err the balanced error of a logistic regression on a held-out half: about 0 where the domains cannot
    be told apart, 2 where they always can. Ben-David et al., "Analysis of representations for domain adaptation"
    (NeurIPS 2006), section 4.

    Args:
      source: [n, d] float representations of the source.
      target: [m, d] float representations of the target.
      seed: of the split into halves.

    Returns:
      The distance, from -2 to 2; None where a domain has fewer than two utterances.
    """
    if min(len(source), len(target)) < 2:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    train, test, train_domain, test_domain = train_test_split(
        points, domain, test_size=0.5, stratify=domain, random_state=seed
    )
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    error = 1 - balanced_accuracy_score(
        test_domain, classifier.fit(train, train_domain).predict(test)
    )
    return float(2 * (1 - 2 * error))
