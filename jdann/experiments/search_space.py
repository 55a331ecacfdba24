"""What `jdann tune` may change: `config.tune.space`, checked, and the config of each trial."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from jdann import configuration
from jdann.errors import InputError

KINDS = ("log", "uniform", "int", "choice")
# These keys define the task. Trials with different values of one could not be compared.
_FIXED = (
    "source",
    "target",
    "both_directions",
    "emotions",
    "methods",
    "seeds",
    "seed",
    "seeds_in",
    "baseline",
    "protocol",
    "folds",
    "validation_fraction",
    "max_failed_fraction",
    "sweep",
    "tune",
    "selection",
    "evaluate_every",
    "checkpoint_every_s",
    "tsne",
)
_EXAMPLE = '("optimiser.learning_rate", "log", 1e-4, 1e-2)'


class Dimension(NamedTuple):
    """One key of the config and the values that it may have."""

    key: str  # with dots
    kind: str  # one of KINDS
    values: tuple[Any, ...]  # the lowest and the highest, or the choices


def read_space(config: Any) -> tuple[Dimension, ...]:
    """The search space that a config declares.

    Args:
      config: a whole jdann config; `tune.space` is read.

    Raises:
      InputError: an entry has another form, or names no key or a key that all trials share, or
        holds a value that the key cannot have.
    """
    space = []
    for entry in config.tune.space:
        if not _is_dimension(entry):
            raise InputError(
                f"config.tune.space holds {entry!r}; expected entries as {_EXAMPLE}, of a kind of "
                f"{', '.join(KINDS)}"
            )
        space.append(Dimension(entry[0], entry[1], tuple(entry[2:])))
    if not space:
        raise InputError(
            "config.tune.space is empty; declare in the config file what to search, as in "
            f"({_EXAMPLE},)"
        )
    keys = [dimension.key for dimension in space]
    if len(set(keys)) != len(keys):
        raise InputError(f"config.tune.space names {', '.join(keys)}; expected each key once")
    for dimension in space:
        _check(config, dimension)
    return tuple(space)


def _is_dimension(entry: Any) -> bool:
    return (
        isinstance(entry, tuple)
        and len(entry) >= 3
        and isinstance(entry[0], str)
        and entry[1] in KINDS
    )


def _check(config: Any, dimension: Dimension) -> None:
    """Refuses a dimension that a trial could not take a value from."""
    key, kind, values = dimension
    name = f"config.tune.space, {key}"
    if key.split(".")[0] in _FIXED:
        raise InputError(
            f"{name}: trials with different values of it cannot be compared; leave it out of the "
            "space"
        )
    for value in values:
        apply(config, {key: value}, name)
    if kind == "choice":
        return
    if not _is_range(kind, values):
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise InputError(
            f"{name} is {kind!r} of {values}; expected two {numbers}, the lower one first"
        )
    if kind == "log" and values[0] <= 0:
        raise InputError(
            f"{name} is 'log' from {values[0]}; expected a range above 0, or 'uniform'"
        )


def _is_range(kind: str, values: tuple[Any, ...]) -> bool:
    """Whether the values are two numbers of a kind, the lower one first."""
    number = int if kind == "int" else int | float
    if not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
        return False
    return len(values) == 2 and values[0] < values[1]


def apply(config: Any, values: dict[str, Any], name: str = "") -> FrozenConfigDict:
    """A config with other values of some keys.

    Args:
      config: a whole jdann config; it is not changed.
      values: by key, with dots.
      name: what messages call the values; empty: their keys.

    Raises:
      InputError: a key does not exist, or cannot have its value.
    """
    changed = ConfigDict(config.to_dict())
    for key, value in values.items():
        configuration.set_key(changed, key, value, name or f"config.{key}")
    configuration.check(changed)
    return FrozenConfigDict(changed)


def propose(trial: Any, space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a trial, by key.

    Args:
      trial: an `optuna.Trial`.
      space: from `read_space`.
    """
    proposed = {}
    for key, kind, values in space:
        if kind == "choice":
            # A storage holds text, and a choice may be a tuple.
            names = [str(value) for value in values]
            proposed[key] = values[names.index(trial.suggest_categorical(key, names))]
        elif kind == "int":
            proposed[key] = trial.suggest_int(key, *values)
        else:
            proposed[key] = trial.suggest_float(key, *values, log=kind == "log")
    return proposed


def parse(params: dict[str, Any], space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a finished trial, by key, as `propose` returned them.

    Args:
      params: `FrozenTrial.params`.
      space: from `read_space`.
    """
    choices = {
        dimension.key: {str(value): value for value in dimension.values}
        for dimension in space
        if dimension.kind == "choice"
    }
    return {key: choices[key][value] if key in choices else value for key, value in params.items()}
