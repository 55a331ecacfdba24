"""What a method is: a NamedTuple of pure functions. A factory in this package makes it from the config.

A method trains in phases, one after the other, each a part of the epochs. In a phase every step makes one or several
updates, each with a loss of its own and on some of the three groups of parameters. Most methods are one phase of one
update, made by `term`; only these can be added to one another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jdann.data.batches import Source, Target
from jdann.errors import InputError
from jdann.models.network import FROZEN, JOINT, SEPARATE

GROUPS = ("encoder", "classifier", "method")  # of parameters


class Dims(NamedTuple):
    """Sizes that a method's own parameters depend on."""

    representation: int
    classes: int
    speakers: int  # of the source; 0 where unknown


class Context(NamedTuple):
    """What else a loss may use. All is traced: a change of a value compiles nothing anew."""

    strength: jax.Array  # scalar, lambda of this step
    progress: jax.Array  # scalar in [0, 1), part of the phase that is done
    key: jax.Array  # random, of this update alone
    params: Any  # {"encoder", "classifier", "method"}, those that the update trains being differentiated
    label_smoothing: float  # of the source risk, 0 to 1
    memory: Any  # what `Method.remember` returned when the phase began
    forward: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    # (features, length) -> (representation, logits) of target utterances with the present parameters, without augmentation
    # and dropout, by the target's running statistics
    encode: Callable[[Any, jax.Array, jax.Array], jax.Array]
    # (encoder parameters, features, length) -> representation by the running statistics of the source
    classify: Callable[
        [jax.Array], jax.Array
    ]  # representation -> logits, with the present classifier
    teacher: Callable[[jax.Array, jax.Array], jax.Array]
    # (features, length) -> logits of target utterances with the moving average of the parameters; carries no gradient


Loss = Callable[[Any, Any, Any, Context], tuple[jax.Array, dict[str, jax.Array]]]
# (the method's parameters, Source or None, Target or None, Context) -> (scalar, diagnostics: scalars for the history)


class Update(NamedTuple):
    """One gradient step of a training step.

    The objective is the source risk, where `source_risk` says so, plus `loss`. With strength 0 the loss gives the encoder
    and the classifier no gradient.
    """

    loss: Loss
    trains: tuple[str, ...] = GROUPS
    repeat: int = 1  # times in a row, each with its own key; the same utterances
    source_risk: bool = True


class Phase(NamedTuple):
    """A part of the training.

    `domains` names whose audio passes the encoder. `batch_norm` says what its batch norm does: JOINT normalises both
    domains together, SEPARATE each by statistics of its own, FROZEN uses and keeps the running ones.
    `pseudo_labels(representation [n, d], logits [n, classes], progress) -> [n, classes]` is called once at the beginning
    of every epoch with the outputs of the averaged model for the whole unlabelled target; each row it returns is a
    distribution times a weight in [0, 1], zero for an utterance that is to have no pseudo-label.
    """

    name: str
    updates: tuple[Update, ...]
    fraction: float = 1.0  # of the epochs
    domains: tuple[str, ...] = ("source", "target")
    batch_norm: str = JOINT
    rate: float = 1.0  # factor of the learning rate
    pseudo_labels: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None = None


class Method(NamedTuple):
    """A way to adapt.

    `init(key, dims) -> params` makes the method's own parameters (a discriminator, say; `{}` for none).
    `remember(params) -> memory` is called with all parameters when a phase begins; the memory is constant in the phase.
    `label(key, source, emotion, target) -> [m, classes]` makes pseudo-labels, as in `Phase`, once before the first step, of vectors
    an utterance: source [n, values], its emotion [n] int32, -1 where unlabelled, and target [m, values].
    `recompute_statistics`: the target is evaluated with batch norm's statistics computed over the whole target.
    `needs`: what the data or the encoder must have, of "speakers", "batch_norm" and "statistics", vectors an utterance.
    """

    init: Callable[[jax.Array, Dims], Any]
    phases: tuple[Phase, ...]
    remember: Callable[[Any], Any] = lambda params: {}
    label: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array] | None = None
    recompute_statistics: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def uses_target(self) -> bool:
        """Whether any phase sees target audio."""
        return any("target" in phase.domains for phase in self.phases)


def no_parameters(key: jax.Array, dims: Dims) -> dict[str, Any]:
    """`Method.init` of a method without parameters."""
    del key, dims
    return {}


def term(
    loss: Loss, init: Callable[[jax.Array, Dims], Any] = no_parameters, **phase: Any
) -> Method:
    """A method that adds one loss to the source risk and trains everything by it, in one phase.

    Args:
      loss: what it adds.
      init: makes its parameters.
      **phase: other fields of `Phase`, or `needs`, `label` and `recompute_statistics` of `Method`.
    """
    of_method = {
        name: phase.pop(name)
        for name in ("needs", "label", "recompute_statistics")
        if name in phase
    }
    return Method(init, (Phase("all", (Update(loss),), **phase),), **of_method)


def add(methods: dict[str, Method]) -> Method:
    """Adds the losses of several methods, each with parameters of its own.

    Args:
      methods: by name, each made by `term`.

    Raises:
      InputError: one of them trains in its own order, or two of them make pseudo-labels or treat batch norm differently.
    """
    for name, method in methods.items():
        plain = len(method.phases) == 1 and method.phases[0].updates == (
            Update(method.phases[0].updates[0].loss),
        )
        if not plain:
            raise InputError(
                f"config.methods names {'+'.join(methods)}, but {name} trains in an order of its own; name it alone"
            )
    phases = {name: method.phases[0] for name, method in methods.items()}
    labellers = [method.label for method in methods.values() if method.label is not None]
    pseudo = [
        name
        for name, phase in phases.items()
        if phase.pseudo_labels is not None or methods[name].label is not None
    ]
    if len(pseudo) > 1:
        raise InputError(
            f"config.methods names {'+'.join(methods)}, but {' and '.join(pseudo)} both make pseudo-labels; keep one"
        )
    norms = {phase.batch_norm for phase in phases.values()} - {JOINT}
    if len(norms) > 1:
        raise InputError(
            f"config.methods names {'+'.join(methods)}, whose members treat batch norm differently; drop one"
        )

    def init(key: jax.Array, dims: Dims) -> dict[str, Any]:
        return {
            name: method.init(jax.random.fold_in(key, i), dims)
            for i, (name, method) in enumerate(methods.items())
        }

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        total, diagnostics = 0.0, {}
        for i, (name, phase) in enumerate(phases.items()):
            own = context._replace(
                key=jax.random.fold_in(context.key, i),
                params={**context.params, "method": context.params["method"][name]},
            )
            value, seen = phase.updates[0].loss(params[name], source, target, own)
            total, diagnostics = total + value, {**diagnostics, **seen}
        return jax.numpy.asarray(total), diagnostics

    return term(
        loss,
        init,
        domains=max((phase.domains for phase in phases.values()), key=len),
        batch_norm=next(iter(norms), JOINT),
        pseudo_labels=phases[pseudo[0]].pseudo_labels if pseudo else None,
        label=labellers[0] if labellers else None,
        needs=frozenset().union(*(method.needs for method in methods.values())),
        recompute_statistics=any(method.recompute_statistics for method in methods.values()),
    )
