"""Ways to adapt. METHODS is all of them; a config names them."""

from collections.abc import Callable
from typing import Any

from jdann.errors import InputError
from jdann.methods.adversarial import DomainDiscriminator, dann
from jdann.methods.contract import Dims, Method, Source, Target
from jdann.methods.source_only import source_only

METHODS: dict[str, Callable[[Any], Method]] = {
    "source_only": source_only,
    "dann": dann,
}

__all__ = ["METHODS", "Dims", "DomainDiscriminator", "Method", "Source", "Target", "dann", "make_method", "source_only"]


def make_method(name: str, config: Any) -> Method:
    """Makes the method that a config names.

    Raises:
      InputError: there is no method of that name.
    """
    if name not in METHODS:
        raise InputError(f"config.methods names {name!r}; known are {', '.join(METHODS)} and supervised")
    return METHODS[name](config)
