"""What a method is: a NamedTuple of pure functions. A factory of this package makes it.

A method trains in phases, one after the other. Each phase takes a part of the epochs. In a phase,
every training step makes one or several updates. Each update has its own loss and changes some of
the three groups of parameters. Most methods have one phase with one update: `term` makes such
methods, and only these can be added to each other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jdann.data.batches import Source, Target
from jdann.errors import InputError
from jdann.models.network import FROZEN, JOINT, SEPARATE

__all__ = [
    "FROZEN",
    "GROUPS",
    "JOINT",
    "SEPARATE",
    "Context",
    "Dims",
    "Init",
    "InitialLabels",
    "Loss",
    "LossValue",
    "Method",
    "Params",
    "Phase",
    "PseudoLabels",
    "Source",
    "Target",
    "Update",
    "add",
    "no_parameters",
    "term",
]

GROUPS = ("encoder", "classifier", "method")  # of parameters

Params: TypeAlias = Any  # a tree of arrays
LossValue: TypeAlias = tuple[jax.Array, dict[str, jax.Array]]  # a scalar, and diagnostics: scalars


class Dims(NamedTuple):
    """Sizes that a method's own parameters depend on."""

    representation: int
    classes: int
    speakers: int  # speakers of the source; 0 where they are unknown


class Context(NamedTuple):
    """What else a loss may use. Every field is traced: a new value does not compile again.

    `forward`, `encode`, `classify` and `teacher` take features [batch, frames, bins] and their
    length [batch] without augmentation. They run the network without dropout.
    """

    strength: jax.Array  # scalar, lambda of this step
    progress: jax.Array  # scalar in [0, 1): the part of the phase that is done
    key: jax.Array  # random key of this update
    params: dict[str, Params]  # {"encoder", "classifier", "method"}; see `Update.trains`
    label_smoothing: float  # of the source risk, 0 to 1
    memory: Params  # what `Method.remember` returned when the phase began
    # Target utterances, with the current parameters and the target's running statistics:
    # (features, length) -> (representation, logits)
    forward: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    # The source's running statistics: (encoder parameters, features, length) -> representation
    encode: Callable[[Params, jax.Array, jax.Array], jax.Array]
    # The current classifier: representation -> logits
    classify: Callable[[jax.Array], jax.Array]
    # Target utterances, with the moving average of the parameters: (features, length) -> logits.
    # It carries no gradient.
    teacher: Callable[[jax.Array, jax.Array], jax.Array]


# (the method's parameters, Source or None, Target or None, Context). A domain that is not among
# `Phase.domains` is None; so a loss may declare a narrower type for its two batches.
Loss: TypeAlias = Callable[[Params, Any, Any, Context], LossValue]
Init: TypeAlias = Callable[[jax.Array, Dims], Params]  # (key, sizes) -> the method's parameters
# (representation [n, d], logits [n, classes], progress) -> labels [n, classes]; see `Phase`
PseudoLabels: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class InitialLabels(NamedTuple):
    """Labels of the target that a method makes before the first step."""

    labels: jax.Array  # [m, classes], in the form of `Phase.pseudo_labels`
    evidence: dict[str, jax.Array]  # scalars that tell how far to trust the labels


# (key, source vectors [n, values], source labels [n, classes], target vectors [m, values]). A label
# is one-hot, or zero for an unlabelled utterance. The fifth argument is the labels [m, classes]
# that the user gives of the target, or None. The sixth is the target rows of each known speaker
# with enough clips, int [speakers, most], padded with -1; or None.
MakeInitialLabels: TypeAlias = Callable[..., InitialLabels]


class Update(NamedTuple):
    """One gradient step within a training step.

    The objective is `loss`, plus the source risk where `source_risk` is true. With strength 0 the
    loss must give no gradient to the encoder and the classifier.
    """

    loss: Loss
    trains: tuple[str, ...] = GROUPS  # the groups of parameters that this update changes
    repeat: int = 1  # how often in a row, each time with a new key and the same utterances
    source_risk: bool = True


class Phase(NamedTuple):
    """A part of the training.

    `pseudo_labels` is called at the beginning of every epoch with the outputs of the averaged model
    for the whole unlabelled target. Each row of its result is a distribution times a weight in [0,
    1]; the row of an utterance without a pseudo-label is zero.
    """

    name: str
    updates: tuple[Update, ...]
    fraction: float = 1.0  # of the epochs
    domains: tuple[str, ...] = ("source", "target")  # whose audio the encoder sees
    # JOINT normalises both domains together, SEPARATE each domain by its own statistics; FROZEN
    # uses the running statistics and leaves them as they are.
    batch_norm: str = JOINT
    rate: float = 1.0  # factor of the learning rate
    pseudo_labels: PseudoLabels | None = None


class Method(NamedTuple):
    """A way to adapt."""

    init: Init  # makes the method's own parameters, such as a discriminator; {} for none
    phases: tuple[Phase, ...]
    # Called with all parameters when a phase begins; its result is constant within the phase.
    remember: Callable[[Params], Params] = lambda params: {}
    # Labels the target once, before the first step, from one vector per utterance. The labels have
    # the form of `Phase.pseudo_labels` and stay the same during the whole training.
    initial_labels: MakeInitialLabels | None = None
    evidence: tuple[str, ...] = ()  # the names of `InitialLabels.evidence`
    # Whether batch norm's statistics are computed over the whole target before it is evaluated.
    recompute_statistics: bool = False
    # What the data or the encoder must have: "speakers", "batch_norm" or "statistics", which is one
    # vector per utterance.
    needs: frozenset[str] = frozenset()

    @property
    def uses_target(self) -> bool:
        """Whether the training sees target audio in any phase."""
        return any("target" in phase.domains for phase in self.phases)


def no_parameters(key: jax.Array, dims: Dims) -> Params:
    """`Method.init` of a method without parameters."""
    return {}


def term(
    loss: Loss,
    init: Init = no_parameters,
    *,
    domains: tuple[str, ...] = ("source", "target"),
    batch_norm: str = JOINT,
    pseudo_labels: PseudoLabels | None = None,
    initial_labels: MakeInitialLabels | None = None,
    evidence: tuple[str, ...] = (),
    recompute_statistics: bool = False,
    needs: frozenset[str] = frozenset(),
) -> Method:
    """Makes a method that adds one term to the source risk and trains all parameters together.

    Args:
      loss: the term.
      init: makes the parameters of the term.
      domains: as in `Phase`; so are `batch_norm` and `pseudo_labels`.
      initial_labels: as in `Method`; so are `evidence`, `recompute_statistics` and `needs`.
    """
    phase = Phase(
        "all", (Update(loss),), domains=domains, batch_norm=batch_norm, pseudo_labels=pseudo_labels
    )
    return Method(
        init,
        (phase,),
        initial_labels=initial_labels,
        evidence=evidence,
        recompute_statistics=recompute_statistics,
        needs=needs,
    )


def add(methods: dict[str, Method]) -> Method:
    """Adds the losses of several methods. Each keeps parameters of its own.

    Args:
      methods: by name, each made by `term`.

    Raises:
      InputError: a method trains in its own order, two methods make pseudo-labels, or two methods
        treat batch norm differently.
    """
    total_name = "+".join(methods)
    for name, method in methods.items():
        if not _is_term(method):
            raise InputError(
                f"method {total_name}: {name} trains in an order of its own; use it alone"
            )
    phases = {name: method.phases[0] for name, method in methods.items()}
    labelling = [
        name
        for name, phase in phases.items()
        if phase.pseudo_labels is not None or methods[name].initial_labels is not None
    ]
    if len(labelling) > 1:
        names = " and ".join(labelling)
        raise InputError(f"method {total_name}: {names} both make pseudo-labels; keep one")
    batch_norms = {phase.batch_norm for phase in phases.values()} - {JOINT}
    if len(batch_norms) > 1:
        raise InputError(
            f"method {total_name}: its parts treat batch norm differently; leave one out"
        )

    def init(key: jax.Array, dims: Dims) -> Params:
        return {
            name: method.init(jax.random.fold_in(key, i), dims)
            for i, (name, method) in enumerate(methods.items())
        }

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        total, diagnostics = 0.0, {}
        for i, (name, phase) in enumerate(phases.items()):
            part_context = context._replace(
                key=jax.random.fold_in(context.key, i),
                params={**context.params, "method": context.params["method"][name]},
            )
            value, part = phase.updates[0].loss(params[name], source, target, part_context)
            total, diagnostics = total + value, {**diagnostics, **part}
        return jnp.asarray(total), diagnostics

    return term(
        loss,
        init,
        domains=max((phase.domains for phase in phases.values()), key=len),
        batch_norm=next(iter(batch_norms), JOINT),
        pseudo_labels=phases[labelling[0]].pseudo_labels if labelling else None,
        initial_labels=methods[labelling[0]].initial_labels if labelling else None,
        evidence=methods[labelling[0]].evidence if labelling else (),
        recompute_statistics=any(method.recompute_statistics for method in methods.values()),
        needs=frozenset().union(*(method.needs for method in methods.values())),
    )


def _is_term(method: Method) -> bool:
    """Whether the method has one phase with one plain update, as `term` makes it."""
    (phase, *others) = method.phases
    return not others and phase.updates == (Update(phase.updates[0].loss),)
