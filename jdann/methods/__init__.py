"""Ways to adapt. METHODS is all of them; a config names them, alone or added: "cdan+mcc"."""

from collections.abc import Callable
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
from jdann.methods.self_training import self_training, shot
from jdann.methods.source_only import source_only
from jdann.methods.virtual_adversarial import dirt_t, vada

METHODS: dict[str, Callable[[Any], Method]] = {
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
    "Source",
    "Target",
    "Update",
    "add",
    "dann",
    "make_method",
    "source_only",
    "term",
]


def make_method(name: str, config: Any) -> Method:
    """Makes the method that a config names.

    Args:
      name: a key of METHODS, or several joined by "+".
      config: a whole jdann config; each method reads the group of its own name.

    Raises:
      InputError: there is no method of that name, or the methods cannot be added.
    """
    names = name.split("+")
    for one in names:
        if one not in METHODS:
            raise InputError(
                f"config.methods names {one!r}; known are {', '.join(METHODS)} and supervised"
            )
    if len(set(names)) != len(names):
        raise InputError(f"config.methods names {name!r}; expected each part once")
    if len(names) == 1:
        return METHODS[name](config)
    return add({one: METHODS[one](config) for one in names})
