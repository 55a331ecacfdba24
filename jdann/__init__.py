"""Train a speech emotion recogniser for a language in which nobody has labelled anything.

Importing jdann costs no more than importing jax: everything but the gradient reversal is loaded on first use.
"""

import importlib
import pkgutil
from typing import Any

from jdann.gradient_reversal import gradient_reversal

__version__ = "0.1.0"

_LAZY = {"Recogniser": "jdann.inference.recogniser"}  # public name: the module that defines it
_SUBMODULES = frozenset(
    module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
)

__all__ = ["Recogniser", "__version__", "gradient_reversal"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"jdann.{name}")
    raise AttributeError(f"module 'jdann' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
