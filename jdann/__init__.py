"""Train a speech emotion recogniser for a language in which nobody has labelled anything.

Importing jdann costs next to nothing: everything is loaded on first use, jax too.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

# Not on first use: the name of the module would take the place of the function.
from jdann.gradient_reversal import gradient_reversal

if TYPE_CHECKING:  # so that editors and type checkers find what is loaded on first use
    from jdann.api import Result, evaluate, sweep, train
    from jdann.experiments.memory import Vectors, Waveforms
    from jdann.features.recipe import RECIPES
    from jdann.inference.recogniser import Recogniser
    from jdann.methods import METHODS
    from jdann.models import ENCODERS
    from jdann.selection import CRITERIA

__version__ = "0.1.0"

# public name: the module that defines it
_LAZY = {
    "CRITERIA": "jdann.selection",
    "ENCODERS": "jdann.models",
    "METHODS": "jdann.methods",
    "RECIPES": "jdann.features.recipe",
    "Recogniser": "jdann.inference.recogniser",
    "Result": "jdann.api",
    "Vectors": "jdann.experiments.memory",
    "Waveforms": "jdann.experiments.memory",
    "evaluate": "jdann.api",
    "sweep": "jdann.api",
    "train": "jdann.api",
}
_SUBMODULES = frozenset(
    module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
)

__all__ = [
    "CRITERIA",
    "ENCODERS",
    "METHODS",
    "RECIPES",
    "Recogniser",
    "Result",
    "Vectors",
    "Waveforms",
    "__version__",
    "evaluate",
    "gradient_reversal",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"jdann.{name}")
    raise AttributeError(f"module 'jdann' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
