"""Train a speech emotion recogniser for a language in which nobody has labelled anything.

Importing jdann costs no more than importing jax: everything but the gradient reversal is loaded on first use.
"""

import importlib
from typing import Any

from jdann.gradient_reversal import gradient_reversal

__version__ = "0.1.0"

_MODULES = (
    "audio",
    "baseline",
    "calibration",
    "checkpoint",
    "configuration",
    "corpora",
    "domains",
    "encoders",
    "evaluation",
    "experiment",
    "export",
    "features",
    "methods",
    "normalise",
    "recogniser",
    "report",
    "schedules",
    "sweep",
    "training",
    "tune",
)

__all__ = ["Recogniser", "__version__", "gradient_reversal"]


def __getattr__(name: str) -> Any:
    if name == "Recogniser":
        from jdann.recogniser import Recogniser

        return Recogniser
    if name in _MODULES:
        return importlib.import_module(f"jdann.{name}")
    raise AttributeError(f"module 'jdann' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
