"""Which checkpoint, which hyper-parameters: criteria without target labels. CRITERIA is all of them.

No criterion is safe alone. Each has a way to be fooled, which its docstring names.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.selection import density_ratio, geometry, predictions
from jdann.selection.contract import Criterion, Evidence

__all__ = ["CRITERIA", "Criterion", "Evidence", "choose", "evaluate", "rank_correlation"]

_SOURCE = ("source_logits", "source_emotion")
_LOGITS = ("target_logits",)
_RATIO = ("source_representation", "train_representation", "target_representation")

CRITERIA: dict[str, Criterion] = {
    "source_risk": Criterion(predictions.source_risk, False, _SOURCE, "source validation"),
    "entropy": Criterion(predictions.entropy, False, _LOGITS, "Morerio et al. 2018"),
    "information_maximisation": Criterion(
        predictions.information_maximisation, False, _LOGITS, "Musgrave et al. 2022"
    ),
    "bnm": Criterion(predictions.bnm, True, _LOGITS, "Cui et al. 2020"),
    "softmax_correlation": Criterion(
        predictions.softmax_correlation, True, _LOGITS, "Tu et al. 2023"
    ),
    "mcc": Criterion(predictions.mcc, False, _LOGITS, "Jin et al. 2020"),
    "snd": Criterion(predictions.snd, True, _LOGITS, "Saito et al. 2021"),
    "dev": Criterion(
        density_ratio.dev,
        False,
        (*_SOURCE, *_RATIO),
        "You et al. 2019",
        density_ratio.domain_classifier,
    ),
    "iwv": Criterion(
        density_ratio.iwv,
        False,
        (*_SOURCE, *_RATIO),
        "Sugiyama et al. 2007",
        density_ratio.domain_classifier,
    ),
    "class_ami": Criterion(
        geometry.class_ami,
        True,
        ("target_logits", "target_representation"),
        "Musgrave et al. 2022",
        on_host=True,
    ),
    "mmd": Criterion(
        geometry.mmd,
        False,
        ("source_representation", "target_representation"),
        "Gretton et al. 2012",
    ),
    "a_distance": Criterion(
        density_ratio.a_distance,
        False,
        ("train_representation", "target_representation"),
        "Ben-David et al. 2006",
        density_ratio.domain_classifier,
    ),
}


def evaluate(evidence: Evidence, names: Sequence[str] = tuple(CRITERIA)) -> dict[str, np.ndarray]:
    """Values of criteria for every member, compiled once for each shape of evidence.

    Args:
      evidence: every field with a leading axis of members; `source_emotion` may be [n], the same for all. A field without
        rows is missing: no held-out source, say.
      names: of CRITERIA.

    Returns:
      A dict from each name to values [members] float32; NaN where something that the criterion needs is missing or not
      finite.

    Raises:
      InputError: there is no criterion of such a name.
    """
    criteria = {name: _named(name) for name in names}
    members = len(evidence.target_logits)
    emotion = np.asarray(evidence.source_emotion)
    evidence = evidence._replace(
        source_emotion=np.broadcast_to(emotion, (members, emotion.shape[-1]))
    )
    rows = {field: value.shape[1] for field, value in evidence._asdict().items()}
    possible = {
        name: criterion
        for name, criterion in criteria.items()
        if all(rows[field] for field in criterion.needs)
    }

    values = {name: np.full(members, np.nan, np.float32) for name in names}
    on_device = tuple(name for name, criterion in possible.items() if not criterion.on_host)
    if on_device:
        values |= {
            name: np.array(value)
            for name, value in _on_device(_needed(evidence, on_device), on_device).items()
        }
    for name, criterion in possible.items():
        if criterion.on_host:
            values[name][:] = _on_host(evidence, criterion)
    return values


def _needed(evidence: Evidence, names: tuple[str, ...]) -> Evidence:
    """Evidence emptied of what the criteria do not need: it is not moved to the device, nor compiled for anew."""
    needed = {field for name in names for field in CRITERIA[name].needs}
    empty = np.zeros((len(evidence.target_logits), 0), np.float32)
    return evidence._replace(**{field: empty for field in evidence._fields if field not in needed})


def _on_host(evidence: Evidence, criterion: Criterion) -> list[float]:
    fields = {field: np.asarray(getattr(evidence, field)) for field in criterion.needs}

    def one(member: int) -> float:
        own = {field: value[member] for field, value in fields.items()}
        finite = all(np.isfinite(value).all() for value in own.values())
        return criterion.function(evidence._replace(**own)) if finite else np.nan

    return [one(member) for member in range(len(evidence.target_logits))]


@partial(jax.jit, static_argnames="names")
def _on_device(evidence: Evidence, names: tuple[str, ...]) -> dict[str, jax.Array]:
    def one(evidence: Evidence) -> dict[str, jax.Array]:
        finite = {field: jnp.isfinite(value).all() for field, value in evidence._asdict().items()}
        preparations = dict.fromkeys(CRITERIA[name].prepare for name in names)
        shared = {prepare: prepare(evidence) for prepare in preparations if prepare}

        def value(criterion: Criterion) -> jax.Array:
            usable = jnp.all(jnp.stack([finite[field] for field in criterion.needs]))
            prepared = (shared[criterion.prepare],) if criterion.prepare else ()
            return jnp.where(usable, criterion.function(evidence, *prepared), jnp.nan)

        return {name: value(CRITERIA[name]) for name in names}

    return jax.lax.map(
        one, evidence
    )  # one after the other: quadratic criteria side by side would fill the memory


def choose(values: np.ndarray, criterion: str) -> np.ndarray:
    """The record that a criterion prefers.

    Args:
      values: [records, members] of one criterion, records in the order of training; what is not finite is passed over.
      criterion: a name of CRITERIA, which says whether high or low is better.

    Returns:
      [members] int: each member's best record; the later one of equals, and the last where nothing is finite.

    Raises:
      InputError: there is no criterion of that name.
    """
    values = np.asarray(values, np.float64) * (1 if _named(criterion).higher_is_better else -1)
    latest_first = np.where(np.isfinite(values), values, -np.inf)[::-1]
    return len(values) - 1 - latest_first.argmax(0)


def rank_correlation(values: np.ndarray, uar: np.ndarray, criterion: str) -> float | None:
    """Spearman's rank correlation of a criterion with the scores that it should foretell. It needs target labels.

    Args:
      values: [records, members] of one criterion; what is not finite is left out.
      uar: [records, members], or another score of which more is better.
      criterion: a name of CRITERIA, which says whether high or low is better.

    Returns:
      From -1 to 1, positive where the criterion is right; None where fewer than two pairs are left or either is constant.

    Raises:
      InputError: there is no criterion of that name.
      ValueError: the two differ in shape.
    """
    from scipy.stats import spearmanr

    sign = 1 if _named(criterion).higher_is_better else -1
    values, uar = np.asarray(values, np.float64), np.asarray(uar, np.float64)
    if values.shape != uar.shape:
        raise ValueError(
            f"values of shape {values.shape} and scores of shape {uar.shape}; expected one shape"
        )
    both = np.isfinite(values) & np.isfinite(uar)
    values, uar = values[both], uar[both]
    if len(values) < 2 or np.ptp(values) == 0 or np.ptp(uar) == 0:
        return None
    return sign * float(np.asarray(spearmanr(values, uar))[0])


def _named(name: str) -> Criterion:
    if name not in CRITERIA:
        raise InputError(f"there is no criterion {name!r}; known are {', '.join(CRITERIA)}")
    return CRITERIA[name]
