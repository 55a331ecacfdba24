"""Published ways to estimate an accuracy without labels, beside ours in `trust.py`.

They see what ours sees: the source with its labels, the target without, and the labels that each
way of labelling gives. Where a way needs a recogniser with errors on the source that it did not
learn by heart, it is the discriminant of the source, fitted without the speakers that it labels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.methods import discriminant

FOLDS = 5  # of the source's speakers
ROUNDS = 50  # of expectation-maximisation
SMOOTHING = 0.1  # utterances that are added to each cell of a confusion matrix

CONFIDENCE = "mean confidence"
DIFFERENCE = "difference of confidences (Guillory et al. 2021)"
THRESHOLD = "average thresholded confidence (Garg et al. 2022)"
DRAWS = "agreement of two draws of the folds (Jiang et al. 2022)"
WAYS = "the four ways as annotators (Dawid and Skene 1979)"
AGREEMENT = "agreement with the source alone"
REVERSE = "reverse validation (Zhong et al. 2010)"
NORM = "projection norm (Yu et al. 2022)"
ESTIMATES = (CONFIDENCE, DIFFERENCE, THRESHOLD, DRAWS, WAYS)  # accuracies as they are
PEERS = (*ESTIMATES, AGREEMENT, REVERSE, NORM)


class Labelled(NamedTuple):
    """A target that was labelled in several ways."""

    source: jax.Array  # [n, values], normalised
    source_labels: np.ndarray  # int [n]
    source_speakers: Sequence[str | None]
    target: jax.Array  # [m, values], normalised
    ways: Mapping[str, np.ndarray]  # probabilities [m, classes]
    again: np.ndarray  # probabilities [m, classes] of the chosen way with other folds
    source_alone: str  # which way is that of the source alone
    chosen: str  # the way whose accuracy is estimated


def measure(labelled: Labelled, shrinkage: float) -> dict[str, float]:
    """The value of each of PEERS; those of ESTIMATES are accuracies, 0 to 1."""
    chosen = labelled.ways[labelled.chosen]
    alone = labelled.ways[labelled.source_alone]
    classes = chosen.shape[1]
    held_out = label_held_out(labelled, classes, shrinkage)
    right = held_out.argmax(1) == labelled.source_labels
    as_annotators = [np.asarray(way).argmax(1) for way in labelled.ways.values()]
    names = list(labelled.ways)
    own = discriminant.fit(labelled.target, jnp.asarray(chosen), shrinkage)
    back = np.asarray(discriminant.logits(own, labelled.source)).argmax(1)
    first = discriminant.fit(
        labelled.source, jax.nn.one_hot(labelled.source_labels, classes), shrinkage
    )
    distance = jnp.linalg.norm(own.weight - first.weight) / jnp.linalg.norm(first.weight)
    return {
        CONFIDENCE: float(chosen.max(1).mean()),
        DIFFERENCE: float(right.mean() + alone.max(1).mean() - held_out.max(1).mean()),
        THRESHOLD: float((alone.max(1) >= np.quantile(held_out.max(1), 1 - right.mean())).mean()),
        DRAWS: float((chosen.argmax(1) == labelled.again.argmax(1)).mean()),
        WAYS: accuracies_of_annotators(as_annotators, classes)[names.index(labelled.chosen)],
        AGREEMENT: float((alone.argmax(1) == chosen.argmax(1)).mean()),
        REVERSE: float((back == labelled.source_labels).mean()),
        NORM: float(distance),
    }


def label_held_out(labelled: Labelled, classes: int, shrinkage: float) -> np.ndarray:
    """Probabilities [n, classes] of the source, by discriminants of its other speakers."""
    _, speaker = np.unique([str(name) for name in labelled.source_speakers], return_inverse=True)
    labels = jax.nn.one_hot(labelled.source_labels, classes)
    probabilities = np.zeros((len(speaker), classes))
    for fold in np.unique(speaker % FOLDS):
        rows = speaker % FOLDS == fold
        other_labels = labels * jnp.asarray(~rows, labels.dtype)[:, None]
        model = discriminant.fit(labelled.source, other_labels, shrinkage)
        logits = discriminant.logits(model, labelled.source[rows])
        probabilities[rows] = np.asarray(jax.nn.softmax(logits))
    return probabilities


def accuracies_of_annotators(answers: Sequence[np.ndarray], classes: int) -> list[float]:
    """How often each annotator is right, estimated from their answers alone.

    Source: Dawid and Skene 1979, "Maximum likelihood estimation of observer error-rates using the
    EM algorithm".

    Args:
      answers: int [m] of each annotator.
      classes: how many there are.
    """
    given = np.eye(classes)[np.stack(answers)]  # [annotators, m, classes]
    truth = given.mean(0)  # [m, classes]
    for _ in range(ROUNDS):
        confusion = np.einsum("mt,amg->atg", truth, given) + SMOOTHING
        confusion /= confusion.sum(2, keepdims=True)
        share = truth.mean(0) + 1e-9
        logits = np.log(share) + np.einsum("amg,atg->mt", given, np.log(confusion))
        truth = np.exp(logits - logits.max(1, keepdims=True))
        truth /= truth.sum(1, keepdims=True)
    return [float((truth * answer).sum(1).mean()) for answer in given]
