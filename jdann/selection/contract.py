"""What a criterion receives, and what a criterion is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Evidence(NamedTuple):
    """The outputs of one trained model for held-out source and for target.

    There is no field for the target's labels. For several models at once, each field has a leading
    axis of members, such as seeds or points of a sweep.
    """

    source_logits: jax.Array  # [n, classes], held-out source
    source_emotion: jax.Array  # [n] int; -1 is unlabelled, and such rows are ignored
    source_representation: jax.Array  # [n, d]
    train_representation: jax.Array  # [k, d], training source; may be the held-out source
    target_logits: jax.Array  # [m, classes]
    target_representation: jax.Array  # [m, d]


class Criterion(NamedTuple):
    """A number that stands in for the target's accuracy, which is unknown.

    `function(evidence)` returns a scalar. The function is pure and works under `jit` and `vmap`,
    unless `on_host` is True: then it takes NumPy arrays and returns a float. It depends only on the
    fields in `needs`. It is finite if these fields are finite, have at least one row, and, for
    labels, at least one label.

    `prepare(evidence)`, if there is one, computes a second argument for the function. Criteria with
    the same `prepare` share this work.
    """

    function: Callable[..., Any]
    higher_is_better: bool
    needs: tuple[str, ...]  # fields of Evidence
    reference: str
    prepare: Callable[[Evidence], Any] | None = None
    on_host: bool = False


def evenly(rows: Any, most: int) -> Any:
    """Returns at most `most` of the rows [n, ...], evenly spaced from the first to the last."""
    n = rows.shape[0]
    return rows if n <= most else rows[np.linspace(0, n - 1, most).round().astype(np.int32)]
