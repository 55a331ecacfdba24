"""Keyword parameters of a factory: its signature holds types, defaults and ranges.

@checked
def dann(*, hidden: Count = 128, layers: Count = 2) -> Method: ...

defaults(dann)   # {"hidden": 128, "layers": 2}: the section `dann` of a config
dann(hidden=0)   # InputError: dann: hidden is 0; expected a whole number of at least 1
"""

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Hashable, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from jdann.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Range(NamedTuple):
    """The values that a number, or each number of a tuple, may have."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # True: `low` itself is excluded
    below: bool = False  # True: `high` itself is excluded

    def holds(self, value: float) -> bool:
        """Whether a finite `value` lies in the range."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        # `math.isfinite` fails for a whole number that is too large for a float.
        return -math.inf < value < math.inf and low and high

    def __str__(self) -> str:
        """For messages: "of at least 1"."""
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.above else 'of at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.below else 'at most'} {self.high:g}")
        return " and ".join(parts) or "that is finite"


Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
Number = Annotated[float, Range()]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Fraction = Annotated[float, Range(0, 1)]
FractionBelowOne = Annotated[float, Range(0, 1, below=True)]
FractionBetween = Annotated[float, Range(0, 1, above=True, below=True)]
Counts = Annotated[tuple[int, ...], Range(1)]
# "mixed": the factors of products are rounded to bfloat16, and summed in float32.
Precision = Literal["float32", "mixed"]


class Parameter(NamedTuple):
    """One keyword parameter of a factory."""

    name: str
    kind: type  # int, float, bool, str or tuple
    default: Any  # `inspect.Parameter.empty` where there is none
    range: Range | None
    choices: tuple[Any, ...]  # of a Literal; empty: any value of the kind

    def problem(self, value: Any) -> str | None:
        """What is expected instead of `value`, or None where it can be used."""
        if self.choices:
            is_choice = isinstance(value, Hashable) and value in self.choices
            return None if is_choice else f"one of {', '.join(map(str, self.choices))}"
        if self.kind is tuple:
            fits = isinstance(value, tuple | list) and bool(value)
            fits = fits and all(_is_a(v, int) and (self.range or Range()).holds(v) for v in value)
            if not fits:
                return f"one or more whole numbers {self.range or Range()}"
            return None if all(map(_fits_32_bits, value)) else f"whole numbers {_AT_MOST[int]}"
        if not _is_a(value, self.kind):
            return _KINDS[self.kind]
        if self.range is not None and not self.range.holds(value):
            return f"{_KINDS[self.kind]} {self.range}"
        has_limit = self.range is not None and self.range.high < math.inf
        if self.kind in (int, float) and not has_limit and not _fits_32_bits(value):
            return f"{_KINDS[self.kind]} {_AT_MOST[self.kind]}"
        return None


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


# Larger numbers overflow in JAX, or become infinite there.
_LARGEST_INT, _LARGEST_FLOAT = 2**31 - 1, 3.4e38
_AT_MOST = {int: f"of at most {_LARGEST_INT}", float: f"of at most {_LARGEST_FLOAT}"}
_LONGEST_SHOWN = 100  # characters of a value in a message


def _fits_32_bits(value: float) -> bool:
    largest = _LARGEST_INT if isinstance(value, int) else _LARGEST_FLOAT
    return abs(value) <= largest


def shown(value: Any) -> str:
    """A value for messages, of which a long one is shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def parameters(factory: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a factory by name, in the order of its signature."""
    hints = get_type_hints(factory, include_extras=True)
    return {
        name: parameter(name, hints.get(name, type(entry.default)), entry.default)
        for name, entry in inspect.signature(factory).parameters.items()
    }


def parameter(name: str, hint: Any, default: Any = inspect.Parameter.empty) -> Parameter:
    """The parameter that a type hint such as `Count` or `Literal["hard", "soft"]` describes."""
    values_range = None
    if get_origin(hint) is Annotated:
        hint, values_range = get_args(hint)[:2]
    if get_origin(hint) is Literal:
        return Parameter(name, type(get_args(hint)[0]), default, None, get_args(hint))
    kind = tuple if get_origin(hint) is tuple else hint
    return Parameter(name, kind, default, values_range, ())


def defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    """The default of each parameter that has one: a factory's section of a config."""
    empty = inspect.Parameter.empty
    return {n: p.default for n, p in parameters(factory).items() if p.default is not empty}


def check(factory: Callable[..., Any], values: Mapping[str, Any], owner: str) -> None:
    """Refuses values that a factory cannot use.

    Args:
      factory: whose parameters they are.
      values: some of its parameters by name.
      owner: what messages put before a parameter's name, e.g. "config.dann."

    Raises:
      InputError: names the parameter, its value and what was expected.
    """
    known = parameters(factory)
    for name, value in values.items():
        if name not in known:
            names = ", ".join(known)
            raise InputError(f"{owner}{name}: no such parameter; expected one of {names}")
        problem = known[name].problem(value)
        if problem is not None:
            raise InputError(f"{owner}{name} is {shown(value)}; expected {problem}")


def checked(factory: Callable[P, R]) -> Callable[P, R]:
    """Decorates a factory of keyword parameters so that each call checks them."""

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> R:
        check(factory, kwargs, f"{factory.__name__}: ")
        return factory(*args, **kwargs)

    return make


def pick(choices: Mapping[str, T], name: str, key: str) -> T:
    """The choice of a name, from a visible dict.

    Args:
      choices: by name.
      name: which one.
      key: what messages call the setting, e.g. "config.optimiser.name".

    Raises:
      InputError: there is no such name; the message lists those that there are.
    """
    if name in choices:
        return choices[name]
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{key} is {shown(name)}; {hint}choose one of {', '.join(choices)}")
