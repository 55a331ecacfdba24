"""Criteria that look at class probabilities alone. p_i is the softmax of row i's logits, c the number of classes."""

import jax
import jax.numpy as jnp

from jdann.selection.contract import Evidence, evenly

SND_ROWS = 1024  # at most: its matrix of similarities is quadratic
SND_TEMPERATURE = 0.05
MCC_TEMPERATURE = 2.5
LARGEST_LOSS = 100.0  # nats: float32 knows no smaller probability than exp(-104)


def losses(logits: jax.Array, emotion: jax.Array) -> jax.Array:
    """Cross-entropies.

    Args:
      logits: [n, classes].
      emotion: [n] int; what stands where it is -1 means nothing.

    Returns:
      [n] nats, from 0 to LARGEST_LOSS.
    """
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(emotion, 0)[:, None], 1)[
        :, 0
    ]
    return jnp.minimum(-chosen, LARGEST_LOSS)


def source_risk(evidence: Evidence) -> jax.Array:
    """Risk on held-out source: the mean of -log p_i[emotion_i]. Lower is better, 0 to LARGEST_LOSS nats.

    Blind to the target. It is fair only where the source held out was not learnt from.

    Source: the usual practice; see Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking for
    Unsupervised Domain Adaptation", arXiv 2208.07360, where it is hard to beat.
    """
    labelled = evidence.source_emotion >= 0
    return jnp.mean(losses(evidence.source_logits, evidence.source_emotion), where=labelled)


def entropy(evidence: Evidence) -> jax.Array:
    """Mean entropy of the target's predictions, mean_i H(p_i). Lower is better, 0 to ln c nats.

    A model that predicts one class with confidence looks perfect.

    Source: Morerio et al. 2018, "Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain Adaptation", ICLR.
    """
    return _entropy(jax.nn.softmax(evidence.target_logits)).mean()


def information_maximisation(evidence: Evidence) -> jax.Array:
    """Entropy minus diversity, mean_i H(p_i) - H(mean_i p_i). Lower is better, -ln c to 0 nats.

    Minus the mutual information of utterance and prediction. Diversity presumes that the target's classes are balanced.

    Source: Musgrave et al. 2022, arXiv 2208.07360; Liang et al. 2020 (SHOT), ICML, equation 3.
    """
    p = jax.nn.softmax(evidence.target_logits)
    return jnp.minimum(_entropy(p).mean() - _entropy(p.mean(0)), 0.0)


def bnm(evidence: Evidence) -> jax.Array:
    """Nuclear norm of the target's probabilities P [m, c], |P|_* / sqrt(m c). Higher is better, 1/c to 1.

    1/c for predictions that are uniform, 1/sqrt(c) for one class predicted with confidence, 1 for all classes predicted
    with confidence and equally often.

    Source: Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label
    Insufficient Situations", CVPR; as a criterion Musgrave et al. 2022, arXiv 2208.07360.
    """
    p = jax.nn.softmax(evidence.target_logits)
    gram = jnp.matmul(p.T, p, precision="highest") / len(
        p
    )  # [c, c]: its eigenvalues are the squares of singular values
    return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram), 0)).sum() / p.shape[1] ** 0.5


def softmax_correlation(evidence: Evidence) -> jax.Array:
    """Cosine of C = P^T P / m and the identity, tr C / (|C|_F sqrt(c)). Higher is better, 1/sqrt(c) to 1.

    1/sqrt(c) both for uniform predictions and for one class, 1 where predictions are confident and all classes equally
    frequent. Also known as SoftmaxCorr and Corr-C.

    Source: Tu et al. 2023, "Assessing Model Out-of-distribution Generalization with Softmax Prediction Probability
    Baselines and a Correlation Method"; as a criterion Ericsson et al. 2023, "Better Practices for Domain Adaptation",
    arXiv 2309.03879.
    """
    p = jax.nn.softmax(evidence.target_logits)
    correlation = jnp.matmul(p.T, p, precision="highest") / len(p)
    return jnp.trace(correlation) / (jnp.linalg.norm(correlation) * p.shape[1] ** 0.5)


def mcc(evidence: Evidence) -> jax.Array:
    """Class confusion of the target's predictions, 1 - mean_j C_jj / sum_k C_jk. Lower is better, 0 to 1.

    C = Q^T W Q with Q the softmax at temperature MCC_TEMPERATURE and W the weights 1 + exp(-H(q_i)). A class that is never
    predicted counts as confused, which is the limit of its row as its probability goes to 0.

    Source: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", ECCV, equations 2 to 6.
    """
    q = jax.nn.softmax(evidence.target_logits / MCC_TEMPERATURE)
    weight = 1 + jnp.exp(-_entropy(q))
    confusion = jnp.matmul((q * weight[:, None]).T, q, precision="highest")
    row = confusion.sum(1)
    return 1 - jnp.mean(jnp.where(row > 0, jnp.diag(confusion) / jnp.where(row > 0, row, 1), 0))


def snd(evidence: Evidence) -> jax.Array:
    """Soft neighbourhood density: mean entropy of each target row's similarities to the others. Higher is better.

    mean_i H(softmax_{j != i}(cos(p_i, p_j) / SND_TEMPERATURE)), 0 to ln(m - 1) nats, of at most SND_ROWS rows. A model
    that predicts one class looks perfect, and so does one whose predictions are all uncertain: read it beside the source
    risk, as the paper says.

    Source: Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
    Density", ICCV, equations 1 to 3.
    """
    p = evenly(jax.nn.softmax(evidence.target_logits), SND_ROWS)
    m = len(p)
    if m < 2:
        return jnp.zeros(())
    p = p / jnp.linalg.norm(p, axis=1, keepdims=True)  # at least 1/sqrt(c)
    similarity = jnp.matmul(p, p.T, precision="highest") / SND_TEMPERATURE
    # Similarities lie in 0 to 20: exp needs no shift by the maximum. H(softmax(s)) = log sum exp s - sum softmax(s) s.
    weight = jnp.where(jnp.eye(m, dtype=bool), 0, jnp.exp(similarity))
    total = weight.sum(1)
    return jnp.mean(jnp.log(total) - (weight * similarity).sum(1) / total)


def _entropy(p: jax.Array) -> jax.Array:
    """Entropy [...] of probabilities [..., c], with 0 log 0 = 0."""
    return -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1)), axis=-1)
