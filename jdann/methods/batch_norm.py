"""Adaptation by the statistics of batch norm alone."""

from jdann.methods.contract import SEPARATE, Method, term
from jdann.methods.source_only import no_loss
from jdann.parameters import checked


@checked
def adabn() -> Method:
    """Adaptive batch normalisation: trained on the source, evaluated with statistics of the target.

    loss = source risk. After training, the mean and the variance of every batch norm are computed
    again over the whole unlabelled target, without padding.

    Source: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation",
    algorithm 1.
    """
    needs = frozenset({"batch_norm"})
    return term(no_loss, domains=("source",), recompute_statistics=True, needs=needs)


@checked
def dsbn() -> Method:
    """Domain-specific batch normalisation: each domain has its own statistics, in training too.

    loss = source risk. It is made to be added to another method: "dann+dsbn". Scale and shift are
    shared; the paper keeps them apart too.

    Source: Chang et al. 2019, "Domain-Specific Batch Normalization for Unsupervised Domain
    Adaptation", section 3.2.
    """
    return term(no_loss, batch_norm=SEPARATE, needs=frozenset({"batch_norm"}))
