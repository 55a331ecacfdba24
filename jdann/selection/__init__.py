"""Criteria without target labels, to choose a checkpoint or hyper-parameters.

`CRITERIA` lists all of them; to add one, give it a name there. No criterion is safe alone: each can
be misled in some way, which its docstring names.
"""

import difflib
from collections.abc import Sequence
from functools import partial

import chex
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


def evaluate(evidence: Evidence, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the values of criteria for each member. It is compiled once per shape of evidence.

    Args:
      evidence: each field with a leading axis of members; `source_emotion` may be [n], the same for
        all members. A field without rows is missing, such as the source if none was held out.
      names: keys of CRITERIA; None: all of them.

    Returns:
      For each name the values [members] float32. A value is NaN if a field that the criterion needs
      is missing or not finite.

    Raises:
      InputError: there is no criterion of such a name.
    """
    criteria = {name: _criterion(name) for name in (CRITERIA if names is None else names)}
    members = len(evidence.target_logits)
    emotion = np.asarray(evidence.source_emotion)
    emotion = np.broadcast_to(emotion, (members, emotion.shape[-1]))
    evidence = evidence._replace(source_emotion=emotion)  # pyright: ignore[reportArgumentType]
    chex.assert_equal_shape_prefix(list(evidence), 1)
    rows = {field: value.shape[1] for field, value in evidence._asdict().items()}

    values = {name: np.full(members, np.nan, np.float32) for name in criteria}
    possible = {n: c for n, c in criteria.items() if all(rows[field] for field in c.needs)}
    on_device = {name: c for name, c in possible.items() if not c.on_host}
    if on_device:
        functions = tuple(on_device.values())
        results = _on_device(_needed_fields(evidence, functions), functions)
        values |= {n: np.array(v) for n, v in zip(on_device, results, strict=True)}
    for name, criterion in possible.items():
        if criterion.on_host:
            values[name][:] = _on_host(evidence, criterion)
    return values


def _needed_fields(evidence: Evidence, criteria: Sequence[Criterion]) -> Evidence:
    """Empties the fields that no criterion needs, so that they are neither moved nor compiled."""
    needed = {field for criterion in criteria for field in criterion.needs}
    empty = np.zeros((len(evidence.target_logits), 0), np.float32)
    return evidence._replace(**{field: empty for field in evidence._fields if field not in needed})


def _on_host(evidence: Evidence, criterion: Criterion) -> list[float]:
    """Returns the value of one criterion for each member, computed with NumPy arrays."""
    fields = {field: np.asarray(getattr(evidence, field)) for field in criterion.needs}
    values = []
    for member in range(len(evidence.target_logits)):
        member_fields = {field: value[member] for field, value in fields.items()}
        finite = all(np.isfinite(value).all() for value in member_fields.values())
        member_evidence = evidence._replace(**member_fields)
        values.append(criterion.function(member_evidence) if finite else np.nan)
    return values


@partial(jax.jit, static_argnums=1)
def _on_device(evidence: Evidence, criteria: tuple[Criterion, ...]) -> tuple[jax.Array, ...]:
    """Returns the values [members] of each criterion."""

    def values_of_member(evidence: Evidence) -> tuple[jax.Array, ...]:
        finite = {field: jnp.isfinite(value).all() for field, value in evidence._asdict().items()}
        preparations = dict.fromkeys(criterion.prepare for criterion in criteria)
        shared = {prepare: prepare(evidence) for prepare in preparations if prepare}

        def value(criterion: Criterion) -> jax.Array:
            usable = jnp.all(jnp.stack([finite[field] for field in criterion.needs]))
            prepared = (shared[criterion.prepare],) if criterion.prepare else ()
            return jnp.where(usable, criterion.function(evidence, *prepared), jnp.nan)

        return tuple(value(criterion) for criterion in criteria)

    # One member after the other: quadratic criteria of all members at once would fill the memory.
    return jax.lax.map(values_of_member, evidence)


def choose(values: np.ndarray, criterion: str) -> np.ndarray:
    """Returns the record that a criterion prefers, for each member.

    Args:
      values: [records, members] of one criterion, in the order of training. Values that are not
        finite are ignored.
      criterion: a key of CRITERIA, which says whether higher or lower is better.

    Returns:
      [members] int, the index of the best record. Of equal records it is the later one, and it is
      the last one if no value is finite.

    Raises:
      InputError: there is no criterion of that name.
    """
    values = np.asarray(values, np.float64) * (1 if _criterion(criterion).higher_is_better else -1)
    latest_first = np.where(np.isfinite(values), values, -np.inf)[::-1]
    return len(values) - 1 - latest_first.argmax(0)


def rank_correlation(values: np.ndarray, uar: np.ndarray, criterion: str) -> float | None:
    """Returns Spearman's rank correlation of a criterion with the scores that it should predict.

    The scores need target labels, so this judges a criterion; it does not select.

    Args:
      values: [records, members] of one criterion. Values that are not finite are ignored.
      uar: [records, members], or another score for which higher is better.
      criterion: a key of CRITERIA, which says whether higher or lower is better.

    Returns:
      -1 to 1, positive if the criterion ranks as the scores do; None if fewer than two pairs are
      finite, or if all values or all scores are the same.

    Raises:
      InputError: there is no criterion of that name.
      ValueError: the shapes differ.
    """
    # SciPy's statistics take half a second to import, and training does not use them.
    from scipy.stats import spearmanr

    sign = 1 if _criterion(criterion).higher_is_better else -1
    values, uar = np.asarray(values, np.float64), np.asarray(uar, np.float64)
    if values.shape != uar.shape:
        raise ValueError(
            f"values of shape {values.shape} and scores of shape {uar.shape}; expected one shape"
        )
    finite = np.isfinite(values) & np.isfinite(uar)
    values, uar = values[finite], uar[finite]
    if len(values) < 2 or np.ptp(values) == 0 or np.ptp(uar) == 0:
        return None
    return sign * float(np.asarray(spearmanr(values, uar))[0])


def _criterion(name: str) -> Criterion:
    if name not in CRITERIA:
        similar = difflib.get_close_matches(name, CRITERIA, n=1)
        hint = f" (did you mean {similar[0]}?)" if similar else ""
        raise InputError(f"there is no criterion {name!r}; known are {', '.join(CRITERIA)}{hint}")
    return CRITERIA[name]
