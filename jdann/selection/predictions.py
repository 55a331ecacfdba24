"""Criteria that use only class probabilities.

In the docstrings, p_i is the softmax of row i's logits, c the number of classes, H the entropy.

`jdann.methods` minimises some of the same quantities as losses. They are separate functions here,
because a loss and a criterion have different duties. A loss needs a finite gradient and moderate
logits. A criterion has no gradient, but it must be finite for every model, even one with logits of
1e38. Where the definitions differ, the docstrings say how.
"""

import jax
import jax.numpy as jnp

from jdann.selection.contract import Evidence, evenly

SND_ROWS = 1024  # at most, because the matrix of similarities is quadratic
SND_TEMPERATURE = 0.05
MCC_TEMPERATURE = 2.5
LARGEST_LOSS = 100.0  # nats: the smallest probability in float32 is about exp(-104)


def losses(logits: jax.Array, emotion: jax.Array) -> jax.Array:
    """Returns the cross-entropy of each row.

    Args:
      logits: [n, classes].
      emotion: [n] int. The loss of a row with -1 has no meaning.

    Returns:
      [n] nats, 0 to LARGEST_LOSS.
    """
    label = jnp.maximum(emotion, 0)[:, None]
    log_probability = jnp.take_along_axis(jax.nn.log_softmax(logits), label, 1)[:, 0]
    return jnp.minimum(-log_probability, LARGEST_LOSS)


def source_risk(evidence: Evidence) -> jax.Array:
    """Risk on held-out source: the mean of -log p_i[emotion_i]. Lower is better.

    It says nothing about the target. It is fair only if the held-out source was not trained on.

    Source: common practice. Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark
    Ranking for Unsupervised Domain Adaptation", arXiv 2208.07360, find it hard to beat.

    Returns:
      A scalar, 0 to LARGEST_LOSS nats.
    """
    labelled = evidence.source_emotion >= 0
    return jnp.mean(losses(evidence.source_logits, evidence.source_emotion), where=labelled)


def entropy(evidence: Evidence) -> jax.Array:
    """Mean entropy of the target's predictions, mean_i H(p_i). Lower is better.

    A model that predicts a single class with confidence looks perfect.

    Source: Morerio et al. 2018, "Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain
    Adaptation", ICLR.

    Returns:
      A scalar, 0 to ln c nats.
    """
    return _entropy(jax.nn.softmax(evidence.target_logits)).mean()


def information_maximisation(evidence: Evidence) -> jax.Array:
    """Entropy minus diversity, mean_i H(p_i) - H(mean_i p_i). Lower is better.

    This is minus the mutual information of utterance and prediction. Diversity assumes that the
    target's classes are balanced.

    Source: Musgrave et al. 2022, arXiv 2208.07360; Liang et al. 2020 (SHOT), ICML, equation 3.

    Returns:
      A scalar, -ln c to 0 nats.
    """
    p = jax.nn.softmax(evidence.target_logits)
    return jnp.minimum(_entropy(p).mean() - _entropy(p.mean(0)), 0.0)


def bnm(evidence: Evidence) -> jax.Array:
    """Nuclear norm of the target's probabilities P [m, c], |P|_* / sqrt(m c). Higher is better.

    It is 1/c for uniform predictions, 1/sqrt(c) for a single class that is predicted with
    confidence, and 1 if all classes are predicted with confidence and equally often.

    `jdann.methods.confusion.nuclear_norm` counts small singular values as zero, because their
    gradient is rounding noise. Here they count, since no gradient is taken.

    Source: Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm
    Maximization under Label Insufficient Situations", CVPR; as a criterion Musgrave et al. 2022,
    arXiv 2208.07360.

    Returns:
      A scalar, 1/c to 1.
    """
    p = jax.nn.softmax(evidence.target_logits)
    gram = jnp.matmul(p.T, p, precision="highest") / len(p)  # [c, c]
    squares = jnp.maximum(jnp.linalg.eigvalsh(gram), 0)  # of the singular values of P / sqrt(m)
    return jnp.sqrt(squares).sum() / p.shape[1] ** 0.5


def softmax_correlation(evidence: Evidence) -> jax.Array:
    """Cosine of C = P^T P / m and the identity, tr C / (|C|_F sqrt(c)). Higher is better.

    It is 1/sqrt(c) for uniform predictions and for a single class, and 1 if predictions are
    confident and all classes are equally frequent. Other names are SoftmaxCorr and Corr-C.

    Source: Tu et al. 2023, "Assessing Model Out-of-distribution Generalization with Softmax
    Prediction Probability Baselines and a Correlation Method"; as a criterion Ericsson et al. 2023,
    "Better Practices for Domain Adaptation", arXiv 2309.03879.

    Returns:
      A scalar, 1/sqrt(c) to 1.
    """
    p = jax.nn.softmax(evidence.target_logits)
    correlation = jnp.matmul(p.T, p, precision="highest") / len(p)
    return jnp.trace(correlation) / (jnp.linalg.norm(correlation) * p.shape[1] ** 0.5)


def mcc(evidence: Evidence) -> jax.Array:
    """Class confusion of the target's predictions, 1 - mean_j C_jj / sum_k C_jk. Lower is better.

    C = Q^T W Q. Q is the softmax at MCC_TEMPERATURE, and W has the weights 1 + exp(-H(q_i)).

    A class that is never predicted counts as confused here: this is the limit of its row as its
    probability goes to 0. In the loss `jdann.methods.confusion.class_confusion` such a class counts
    as not confused, since its row is zero. As a criterion, that would reward a model that drops
    classes.

    Source: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", ECCV,
    equations 2 to 6.

    Returns:
      A scalar, 0 to 1.
    """
    q = jax.nn.softmax(evidence.target_logits / MCC_TEMPERATURE)
    weight = 1 + jnp.exp(-_entropy(q))
    confusion = jnp.matmul((q * weight[:, None]).T, q, precision="highest")  # [c, c]
    row = confusion.sum(1)
    return 1 - jnp.mean(jnp.where(row > 0, jnp.diag(confusion) / jnp.where(row > 0, row, 1), 0))


def snd(evidence: Evidence) -> jax.Array:
    """Soft neighbourhood density: mean entropy of each target row's similarities to the others.

    mean_i H(softmax_{j != i}(cos(p_i, p_j) / SND_TEMPERATURE)), of at most SND_ROWS rows. Higher is
    better. A model that predicts a single class looks perfect, and so does a model whose
    predictions are all uncertain. So compare it with the source risk, as the paper advises.

    Source: Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of Domain Adaptation
    via Soft Neighborhood Density", ICCV, equations 1 to 3.

    Returns:
      A scalar, 0 to ln(m - 1) nats; 0 for a single row.
    """
    p = evenly(jax.nn.softmax(evidence.target_logits), SND_ROWS)
    m = len(p)
    if m < 2:
        return jnp.zeros(())
    p = p / jnp.linalg.norm(p, axis=1, keepdims=True)  # the norms are at least 1/sqrt(c)
    similarity = jnp.matmul(p, p.T, precision="highest") / SND_TEMPERATURE  # 0 to 20
    # exp needs no shift by the maximum for such values.
    # H(softmax(s)) = log sum exp s - sum softmax(s) s.
    weight = jnp.where(jnp.eye(m, dtype=bool), 0, jnp.exp(similarity))
    total = weight.sum(1)
    return jnp.mean(jnp.log(total) - (weight * similarity).sum(1) / total)


def _entropy(p: jax.Array) -> jax.Array:
    """Returns the entropy [...] of probabilities [..., c], with 0 log 0 = 0.

    `jdann.methods.confusion.entropies` takes logits, for the sake of its gradient. It is NaN where
    a difference of logits is infinite; this function is not.
    """
    return -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1)), axis=-1)
