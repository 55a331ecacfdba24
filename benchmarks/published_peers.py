"""What `published.py` compares jdann's methods with: methods that others would try first.

All of them get the same normalised statistics of utterances as co-training.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from jdann.evaluation.baseline import svm_predict
from jdann.features.prosody import PROSODIC
from jdann.methods.pseudo_labels import balanced, most_confident

KEPT_FRACTIONS = (0.3, 0.5, 0.7, 0.9)  # of each class, in the rounds of self-training
CALIBRATION_FOLDS = 3
SINKHORN_ITERATIONS = 50


class Statistics(NamedTuple):
    """The normalised statistics of a source and a target; the target has no labels."""

    source: np.ndarray  # [n, values] float32; prosodic statistics are in the first columns
    emotion: np.ndarray  # [n] int, labels of the source, 0 or more
    target: np.ndarray  # [m, values] float32

    def prosody(self) -> "Statistics":
        """The prosodic statistics alone."""
        columns = len(PROSODIC)
        return self._replace(source=self.source[:, :columns], target=self.target[:, :columns])


class Peer(NamedTuple):
    """A method: its predictions [m] int of the target, and whether they depend on the seed."""

    predict: Callable[[Statistics, int], np.ndarray]
    is_random: bool = False


def svm(statistics: Statistics, seed: int) -> np.ndarray:
    """A support vector machine (RBF, C = 1) that is trained on the source."""
    del seed
    return svm_predict(statistics.source, statistics.emotion, statistics.target)


def self_trained_svm(statistics: Statistics, seed: int) -> np.ndarray:
    """A support vector machine that then trains on its own labels of the target, in four rounds.

    The posteriors are balanced so that all emotions are equally frequent. In each round, the most
    confident labels of each emotion are kept, and more of them than in the round before.

    Source: Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via
    Class-Balanced Self-Training", section 4.

    Args:
      statistics: of source and target.
      seed: of the folds by which posteriors are calibrated.
    """
    source, emotion, target = statistics
    classes = np.unique(emotion)
    shares = [1 / len(classes)] * len(classes)
    model = _fit_calibrated_svm(source, emotion, seed)
    for fraction in KEPT_FRACTIONS:
        log_posteriors = jnp.log(jnp.asarray(model.predict_proba(target), jnp.float32) + 1e-9)
        log_posteriors = balanced(log_posteriors, shares, SINKHORN_ITERATIONS)
        kept = np.asarray(most_confident(log_posteriors, fraction))
        labels = classes[np.asarray(log_posteriors).argmax(-1)]
        model = _fit_calibrated_svm(
            np.concatenate([source, target[kept]]), np.concatenate([emotion, labels[kept]]), seed
        )
    return model.predict(target)


def _fit_calibrated_svm(features: np.ndarray, emotion: np.ndarray, seed: int) -> Pipeline:
    """A support vector machine with posteriors, fitted to features [n, values]."""
    smallest = np.unique(emotion, return_counts=True)[1].min()
    folds = StratifiedKFold(min(CALIBRATION_FOLDS, smallest), shuffle=True, random_state=seed)
    machine = CalibratedClassifierCV(SVC(C=1.0, kernel="rbf"), cv=folds, ensemble=False)
    return make_pipeline(StandardScaler(), machine).fit(features, emotion)


def prosodic_discriminant(statistics: Statistics, seed: int) -> np.ndarray:
    """Linear discriminant analysis on prosody, trained on the source.

    The covariance is shrunk by the method of Ledoit and Wolf 2004. All emotions are equally likely.
    """
    del seed
    source, emotion, target = statistics.prosody()
    classes = len(np.unique(emotion))
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(classes, 1 / classes)
    )
    return model.fit(source, emotion).predict(target)


def coral(statistics: Statistics) -> Statistics:
    """Gives the source the covariance of the target.

    A = (C_s + I)^(-1/2) (C_t + I)^(1/2), and the source becomes D_s A.

    Source: Sun, Feng and Saenko 2016, "Return of Frustratingly Easy Domain Adaptation",
    algorithm 1.
    """
    source, _, target = statistics
    covariances = [np.cov(part.astype(np.float64), rowvar=False) for part in (source, target)]
    source_covariance, target_covariance = (
        covariance + np.eye(len(covariance)) for covariance in covariances
    )
    alignment = _power(source_covariance, -0.5) @ _power(target_covariance, 0.5)
    return statistics._replace(source=(source @ alignment).astype(np.float32))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def coral_svm(statistics: Statistics, seed: int) -> np.ndarray:
    """CORAL on all statistics, then the support vector machine."""
    return svm(coral(statistics), seed)


def coral_discriminant(statistics: Statistics, seed: int) -> np.ndarray:
    """CORAL on prosody, then the discriminant."""
    return prosodic_discriminant(coral(statistics.prosody()), seed)


PEERS = {
    "SVM": Peer(svm),
    "SVM, self-training": Peer(self_trained_svm, is_random=True),
    "LDA on prosody": Peer(prosodic_discriminant),
    "CORAL, SVM": Peer(coral_svm),
    "CORAL, LDA on prosody": Peer(coral_discriminant),
}
