"""What `jdann tune` may change: `config.tune.space`, checked, and turned into a trial's config."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from jdann import configuration
from jdann.errors import InputError

KINDS = ("log", "uniform", "int", "choice")
# Keys that change what is asked rather than how it is answered: trials would not be comparable.
_FIXED = ("source", "target", "both_directions", "emotions", "methods", "seeds", "seed", "seeds_in", "baseline", "protocol",
          "folds", "validation_fraction", "max_failed_fraction", "sweep", "tune", "selection", "evaluate_every",
          "checkpoint_every_s", "tsne")  # fmt: skip
_FORM = '("optimiser.learning_rate", "log", 1e-4, 1e-2)'


class Dimension(NamedTuple):
    """One key of the config and where to look for its value."""

    key: str  # dotted
    kind: str  # of KINDS
    values: tuple[Any, ...]  # lowest and highest, or the choices


def read_space(config: Any) -> tuple[Dimension, ...]:
    """The search space that a config declares.

    Args:
      config: a whole jdann config; read is `tune.space`.

    Raises:
      InputError: an entry has another form, names no key or one that trials must share, or holds a value that the key cannot
        have.
    """
    space = []
    for entry in config.tune.space:
        if (
            not isinstance(entry, tuple)
            or len(entry) < 3
            or not isinstance(entry[0], str)
            or entry[1] not in KINDS
        ):
            raise InputError(
                f"config.tune.space holds {entry!r}; expected entries as {_FORM}, of a kind of {', '.join(KINDS)}"
            )
        space.append(Dimension(entry[0], entry[1], tuple(entry[2:])))
    if not space:
        raise InputError(
            f"config.tune.space is empty; declare in the config file where to look, as in ({_FORM},)"
        )
    keys = [dimension.key for dimension in space]
    if len(set(keys)) != len(keys):
        raise InputError(f"config.tune.space names {', '.join(keys)}; expected each key once")
    for dimension in space:
        _check(config, dimension)
    return tuple(space)


def _check(config: Any, dimension: Dimension) -> None:
    name, (key, kind, values) = f"config.tune.space, {dimension.key}", dimension
    if key.split(".")[0] in _FIXED:
        raise InputError(
            f"{name}: trials with different values of it cannot be compared; leave it out of the space"
        )
    for value in values:
        apply(config, {key: value}, name)
    if kind == "choice":
        return
    number = int if kind == "int" else int | float
    if (
        len(values) != 2
        or not all(isinstance(v, number) and not isinstance(v, bool) for v in values)
        or not values[0] < values[1]
    ):
        whole = "whole numbers" if kind == "int" else "numbers"
        raise InputError(
            f"{name} is {kind!r} of {values}; expected two {whole}, the lower one first"
        )
    if kind == "log" and values[0] <= 0:
        raise InputError(
            f"{name} is 'log' from {values[0]}; expected a range above 0, or 'uniform'"
        )


def apply(config: Any, values: dict[str, Any], name: str = "") -> FrozenConfigDict:
    """A config with other values of some keys.

    Args:
      config: a whole jdann config; not changed.
      values: by dotted key.
      name: what messages call the values; empty: their keys.

    Raises:
      InputError: there is no such key, or it cannot have such a value.
    """
    changed = ConfigDict(config.to_dict())
    for key, value in values.items():
        configuration.set_key(changed, key, value, name or f"config.{key}")
    configuration.check(changed)
    return FrozenConfigDict(changed)


def propose(trial: Any, space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a trial, by dotted key.

    Args:
      trial: an `optuna.Trial`.
      space: from `read_space`.
    """
    values = {}
    for key, kind, of in space:
        if kind == "choice":
            names = [str(value) for value in of]  # storages hold text; a choice may be a tuple
            values[key] = of[names.index(trial.suggest_categorical(key, names))]
        elif kind == "int":
            values[key] = trial.suggest_int(key, *of)
        else:
            values[key] = trial.suggest_float(key, *of, log=kind == "log")
    return values


def parse(params: dict[str, Any], space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a finished trial, by dotted key: what `propose` gave.

    Args:
      params: `FrozenTrial.params`.
      space: from `read_space`.
    """
    choices = {
        d.key: {str(value): value for value in d.values} for d in space if d.kind == "choice"
    }
    return {key: choices[key][value] if key in choices else value for key, value in params.items()}
