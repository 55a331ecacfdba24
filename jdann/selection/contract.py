"""What a criterion sees and what it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Evidence(NamedTuple):
    """What one trained model says of held-out source and of target. There is no field for the target's labels.

    For several models at once every field has a leading axis of members: seeds, or points of a sweep.
    """

    source_logits: jax.Array  # [n, classes], held-out source
    source_emotion: jax.Array  # [n] int, -1 where unlabelled, which counts for nothing
    source_representation: jax.Array  # [n, d]
    train_representation: jax.Array  # [k, d], source rows learnt from; may equal the former
    target_logits: jax.Array  # [m, classes]
    target_representation: jax.Array  # [m, d]


class Criterion(NamedTuple):
    """A number that stands in for the target's accuracy, which nobody knows.

    `function(evidence) -> scalar` is pure and works under `jit` and `vmap`, unless `on_host`: then it takes NumPy arrays
    and returns a float. It is finite for finite evidence with at least one row, and for labels at least one that is known,
    in each field it needs, and depends on no other field. With `prepare`, `prepare(evidence)` is what it takes as its second
    argument, so that criteria with the same `prepare` share that work.
    """

    function: Callable[..., Any]
    higher_is_better: bool
    needs: tuple[str, ...]  # fields of Evidence
    reference: str
    prepare: Callable[[Evidence], Any] | None = None
    on_host: bool = False


def evenly(rows: Any, most: int) -> Any:
    """At most `most` of the rows [n, ...], evenly spaced from the first to the last."""
    n = rows.shape[0]
    return rows if n <= most else rows[np.linspace(0, n - 1, most).round().astype(np.int32)]
