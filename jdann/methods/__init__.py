"""Ways to adapt. METHODS lists all of them; several can be added to each other: "cdan+mcc"."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jdann.errors import InputError
from jdann.methods.adversarial import cdan, cdan_e, dann, speaker_adversary
from jdann.methods.batch_norm import adabn, dsbn
from jdann.methods.co_training import co_training
from jdann.methods.confusion import bnm, bsp, entropy, information_maximisation, mcc
from jdann.methods.consistency import adamatch, fixmatch
from jdann.methods.contract import Context, Dims, Method, Phase, Source, Target, Update, add, term
from jdann.methods.contrastive import sup_con
from jdann.methods.discrepancy import dan, deep_coral, deep_jdot, jan
from jdann.methods.disparity import mcd, mdd
from jdann.methods.gan import adda, wdgrl
from jdann.methods.pseudo_labels import prior_among
from jdann.methods.self_training import self_training, shot
from jdann.methods.source_only import source_only
from jdann.methods.virtual_adversarial import dirt_t, vada
from jdann.parameters import defaults, pick

METHODS: dict[str, Callable[..., Method]] = {
    "source_only": source_only,
    "dann": dann,
    "deep_coral": deep_coral,
    "dan": dan,
    "jan": jan,
    "deep_jdot": deep_jdot,
    "mcc": mcc,
    "bnm": bnm,
    "bsp": bsp,
    "entropy": entropy,
    "information_maximisation": information_maximisation,
    "adabn": adabn,
    "dsbn": dsbn,
    "self_training": self_training,
    "co_training": co_training,
    "shot": shot,
    "fixmatch": fixmatch,
    "adamatch": adamatch,
    "sup_con": sup_con,
    "cdan": cdan,
    "cdan_e": cdan_e,
    "speaker_adversary": speaker_adversary,
    "mdd": mdd,
    "mcd": mcd,
    "adda": adda,
    "wdgrl": wdgrl,
    "vada": vada,
    "dirt_t": dirt_t,
}

__all__ = [
    "METHODS",
    "Context",
    "Dims",
    "Method",
    "Phase",
    "Settings",
    "Source",
    "Target",
    "Update",
    "add",
    "dann",
    "make_method",
    "settings_for_classes",
    "source_only",
    "term",
]

Settings = Mapping[str, Mapping[str, Any]]  # keyword parameters of each method, by its name
_NO_SETTINGS: Settings = {}


def make_method(name: str, settings: Settings = _NO_SETTINGS) -> Method:
    """Makes a method by its name.

    Args:
      name: a key of METHODS, or several joined by "+".
      settings: keyword parameters of each method, by its name; what is left out has its default.

    Raises:
      InputError: there is no such method, a parameter is out of range, or the methods cannot be
      added.
    """
    parts = name.split("+")
    factories = {part: pick(METHODS, part, "method") for part in parts}
    if len(set(parts)) != len(parts):
        raise InputError(f"method {name!r}: expected each part once")
    methods = {part: make(**settings.get(part, {})) for part, make in factories.items()}
    return add(methods) if len(methods) > 1 else methods[name]


def settings_for_classes(settings: Settings, present: Sequence[bool]) -> dict[str, dict[str, Any]]:
    """Settings in which each method's `prior` leaves out the classes that the source lacks.

    Args:
      settings: as for `make_method`.
      present: [classes], which classes have labels in the source.

    Raises:
      InputError: a `prior` has another number of shares than there are classes.
    """
    changed = {name: dict(section) for name, section in settings.items()}
    for name, factory in METHODS.items():
        values = {**defaults(factory), **changed.get(name, {})}
        if "prior" in values:
            prior = prior_among(values["prior"], present, f"config.{name}.prior")
            changed.setdefault(name, {})["prior"] = prior
    return changed
