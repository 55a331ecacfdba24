"""Every key of a config, and random values for it: borders, wrong types and extremes."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jdann import configuration, parameters
from jdann.methods import METHODS
from jdann.parameters import Parameter

_TEXTS = (
    *(
        "",
        " ",
        "none",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "1_000",
        "١٢",
        "½",
        "1,5",
        "True",
        "[]",
    ),
    *("()", "[[", "[[1]]", "{}", "None", "a\nb", "a\0b", "\ud83d", "é", "%s", "../x", "x" * 3000),
    *("--seeds", "'", '"', "\\", "; rm", "dann,dann", "dann+", "+", ",", ",,", "angry", "auto"),
)
_NUMBERS = (
    *(0, 1, -1, 2, 3, 0.0, -0.0, 0.5, 1.0, -1e-9, 1e-320, 1e300, -1e300, 2**31 - 1, 2**31, 2**63),
    *(10**30, 10**400, math.nan, math.inf, -math.inf, 1.0000001, 0.9999999, 1e-12),
)
_OTHERS = (
    *(True, False, None, [], [1], [0], [-1], ["a"], [[1]], [1, "a"], [None], [True], [1.5], {}),
    *({"a": 1}, [math.nan], [2**63], [10**400], ["happy", "happy"], b"bytes", {1, 2}, 1j),
)


def keys() -> dict[str, Parameter | None]:
    """Each key with the values that it may have; None: `configuration.check` looks at it itself."""
    ranges: dict[str, Parameter | None] = dict.fromkeys(_leaves(configuration.base_config()))
    for key, hint in configuration.RANGES.items():
        ranges[key] = parameters.parameter(key, hint)
    for name, factory in METHODS.items():
        for parameter, described in parameters.parameters(factory).items():
            if f"{name}.{parameter}" in ranges:
                ranges[f"{name}.{parameter}"] = described
    return ranges


def _leaves(config: Any, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def borders(parameter: Parameter) -> list[Any]:
    """The values at and beyond the borders of a number's range."""
    if parameter.range is None or parameter.kind is tuple:
        return []
    values: list[Any] = []
    for border in (parameter.range.low, parameter.range.high):
        if math.isfinite(border):
            step = 1 if parameter.kind is int else 1e-6
            values += [parameter.kind(border + sign * step) for sign in (-1, 0, 1)]
    return values


def random_value(rng: np.random.Generator, parameter: Parameter | None, default: Any) -> Any:
    """A value that may be allowed or not."""
    candidates: list[Any] = [*_TEXTS] if rng.random() < 0.3 else [*_NUMBERS, *_OTHERS]
    if parameter is not None and rng.random() < 0.5:
        candidates = [*borders(parameter), *parameter.choices, default]
    return candidates[rng.integers(len(candidates))]


def as_text(value: Any) -> str:
    """A value as it stands on a command line."""
    if isinstance(value, list | tuple):
        return (
            ",".join(map(str, value)) if not any(isinstance(v, list) for v in value) else str(value)
        )
    return str(value)
