"""Adaptation by batch norm's statistics alone."""

from typing import Any

from jdann.methods.contract import Method, term
from jdann.methods.source_only import nothing
from jdann.models.network import SEPARATE


def adabn(config: Any) -> Method:
    """Adaptive batch normalisation: trained on the source alone, evaluated with statistics of the target.

    loss = source risk. After training every batch norm's mean and variance are computed anew over the whole unlabelled
    target, padding left out.

    Source: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation", algorithm 1.
    """
    del config
    return term(
        nothing, domains=("source",), recompute_statistics=True, needs=frozenset({"batch_norm"})
    )


def dsbn(config: Any) -> Method:
    """Domain-specific batch normalisation: each domain is normalised by statistics of its own, in training too.

    loss = source risk; made to be added to: "dann+dsbn". Scale and shift, which the paper keeps apart as well, are
    shared.

    Source: Chang et al. 2019, "Domain-Specific Batch Normalization for Unsupervised Domain Adaptation", section 3.2.
    """
    del config
    return term(nothing, batch_norm=SEPARATE, needs=frozenset({"batch_norm"}))
