"""How far apart the representations of two domains are, measured after training."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def a_distance(source: np.ndarray, target: np.ndarray, seed: int) -> float | None:
    """Proxy A-distance: how well a linear classifier tells the two domains apart after training.

    The distance is 2 (1 - 2 err), where err is the balanced error of a logistic regression on a
    held-out half. It is about 0 if the domains cannot be told apart and 2 if they always can.
    Ben-David et al., "Analysis of representations for domain adaptation" (NeurIPS 2006), section 4.

    Args:
      source: [n, d] float, representations of the source.
      target: [m, d] float, representations of the target.
      seed: seed of the split into halves.

    Returns:
      The distance, from -2 to 2; None if a domain has fewer than two utterances.
    """
    if min(len(source), len(target)) < 2:
        return None
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
