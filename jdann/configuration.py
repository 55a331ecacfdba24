"""Configs: found, overridden from the command line, checked, written down."""

import importlib.util
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from jdann.errors import InputError


def base_config() -> ConfigDict:
    """Every key with its default: `get_config()` of configs/base.py."""
    return _run(config_folder() / "base.py")


def config_folder() -> Path:
    """The folder of the configs that come with jdann: beside the package in a clone, inside it once installed."""
    package = Path(__file__).parent
    beside = package.parent / "configs"
    return beside if (beside / "base.py").exists() else package / "configs"


def load_config(name: str, overrides: Sequence[tuple[str, str]] = ()) -> FrozenConfigDict:
    """Runs a config file's `get_config()` and applies overrides.

    Args:
      name: a path, or the bare name of a config that comes with jdann ("en2zh"). A `.json` is a config as a work directory holds
        it; keys that it lacks have their defaults.
      overrides: pairs of a dotted key ("encoder.name") and a value as text.

    Raises:
      InputError: there is no such file, key, or the value is not of the key's type.
    """
    path = Path(name)
    if not path.is_file():
        shipped = config_folder() / f"{path.stem}.py"
        if path.is_dir() and (
            path.name != name or not shipped.exists()
        ):  # a work directory may have a config's name
            raise InputError(
                f"config {name}: is a folder; give a config file, such as {path / 'config.json'}"
            )
        if not shipped.exists():
            known = ", ".join(sorted(p.stem for p in config_folder().glob("*.py")))
            raise InputError(f"config {name}: no such file; give a path, or one of {known}")
        path = shipped
    config = _read(path) if path.suffix == ".json" else _run(path)
    for key, text in overrides:
        _override(config, key, text)
    check(config)
    return FrozenConfigDict(config)


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain nested dicts and lists, for JSON."""
    return json.loads(json.dumps(config.to_dict()))


def missing(config: Any) -> list[str]:
    """The keys of `configs/base.py` that a config lacks, as one does that an earlier version wrote."""
    present = {key for key, _ in _leaves(ConfigDict(config.to_dict()))}
    return [key for key, _ in _leaves(base_config()) if key not in present]


def tuples(value: Any) -> Any:
    """Turns the lists of a config that came from JSON back into tuples."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def _read(path: Path) -> ConfigDict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"config {path}: is damaged ({error}); expected a config as a work directory holds it"
        ) from None
    config = base_config()
    leaves = list(_leaves(ConfigDict(tuples(found)))) if isinstance(found, dict) else []
    if not leaves:
        raise InputError(
            f"config {path}: holds no keys; expected a config as a work directory holds it"
        )
    for key, value in leaves:
        set_key(config, key, value, f"config {path}: {key}")
    return config


def set_key(config: ConfigDict, key: str, value: Any, name: str) -> None:
    """Sets a dotted key to a value of the key's type.

    Args:
      config: is changed.
      key: such as "optimiser.learning_rate".
      value: a whole number is taken for a float.
      name: what messages call the key.

    Raises:
      InputError: there is no such key, or the value is of another type.
    """
    node, leaf = _node(config, key, name)
    current = node[leaf]
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(current):
        raise InputError(f"{name} is {value!r}; expected a value like {current!r}")
    node[leaf] = value


def _node(config: ConfigDict, key: str, name: str) -> tuple[ConfigDict, str]:
    """The group that holds a key, and the key's own name in it."""
    *folders, leaf = key.split(".")
    node: Any = config
    for folder in folders:
        node = node.get(folder) if isinstance(node, ConfigDict) else None
    if not isinstance(node, ConfigDict) or leaf not in node:
        raise InputError(
            f"{name}: no such key{_nearest(config, key)}; configs/base.py lists them all"
        )
    group = node[leaf]
    if isinstance(group, ConfigDict):
        raise InputError(
            f"{name}: this is a group; set one of {', '.join(f'{key}.{k}' for k in group)}"
        )
    return node, leaf


def _run(path: Path) -> ConfigDict:
    specification = importlib.util.spec_from_file_location(f"jdann_config_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise InputError(
            f"config {path}: not a Python file; expected one with a function get_config()"
        )
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"config {path}: {type(error).__name__}: {error}; see configs/en2zh.py for the form"
        ) from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"config {path}: get_config() returns {type(config).__name__}; expected an ml_collections.ConfigDict"
        )
    return config


def _override(config: ConfigDict, key: str, text: str) -> None:
    node, leaf = _node(config, key, f"--config.{key}")
    node[leaf] = _parse(key, text, node[leaf])


def _parse(key: str, text: str, current: Any) -> Any:
    if isinstance(current, bool):
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise InputError(f"--config.{key}={text}: expected true or false")
    if isinstance(current, str):
        return text
    if isinstance(current, tuple):
        if text.lstrip().startswith("[["):
            return _parse_nested(key, text)
        parts = [
            part.strip().strip("'\"") for part in text.strip("()[]").split(",") if part.strip()
        ]
        if len({type(value) for value in current}) != 1:  # nothing says of what kind they are
            return tuple(_number_or_text(part) for part in parts)
        return tuple(_parse(key, part, current[0]) for part in parts)
    kind = type(current)
    try:
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise InputError(f"--config.{key}={text}: expected {expected}, such as {current}") from None


def _parse_nested(key: str, text: str) -> tuple[Any, ...]:
    try:
        return tuples(json.loads(text))
    except ValueError as error:
        raise InputError(f"--config.{key}={text}: expected lists as in JSON ({error})") from None


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _nearest(config: ConfigDict, key: str) -> str:
    import difflib

    keys = [name for name, _ in _leaves(config)]
    leaf = key.rsplit(".")[-1]
    near = (
        difflib.get_close_matches(key, keys, n=1)
        or [k for k in keys if k.rsplit(".")[-1] == leaf][:1]
    )
    return f" (did you mean {near[0]}?)" if near else ""


_AT_LEAST = {
    "seeds": 1, "epochs": 1, "batch_size": 1, "folds": 2, "evaluate_every": 1, "checkpoint_every_s": 0, "seed": 0,
    "features_gib": 0, "features.relevance": 0,
    "optimiser.learning_rate": 0, "optimiser.weight_decay": 0, "optimiser.clip_norm": 0, "strength.maximum": 0,
    "augment.crop_frames": 0, "augment.time_masks": 0, "augment.time_mask_frames": 0, "augment.frequency_masks": 0,
    "augment.frequency_mask_bins": 0,
    "encoder.kernel_size": 1, "dann.hidden": 1, "features.n_fft": 16, "features.hop_length": 1, "features.n_mels": 1,
    "features.n_mfcc": 1, "audio.offset_s": 0, "audio.max_duration_s": 0.1, "audio.sample_rate_hz": 1000, "audio.trim_db": 0,
}  # fmt: skip
_FRACTIONS = (
    "validation_fraction",
    "max_failed_fraction",
    "label_smoothing",
    "encoder.dropout",
    "optimiser.warmup_fraction",
)


def check(config: ConfigDict) -> None:
    """Refuses values that could only fail later.

    Raises:
      InputError: names the key, its value and what was expected.
    """
    for key, least in _AT_LEAST.items():
        value = _get(config, key)
        if value is not None and not value >= least:
            raise InputError(f"config.{key} is {value}; expected at least {least}")
    for key in _FRACTIONS:
        value = _get(config, key)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"config.{key} is {value}; expected a fraction between 0 and 1")
    for key, value in _leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"config.{key} is {value}; expected a finite number")
        if (
            isinstance(value, tuple)
            and key.startswith("encoder.")
            and (not value or min(value) < 1)
        ):
            raise InputError(f"config.{key} is {value}; expected whole numbers of at least 1")
    for name in ("strength", "learning_rate", "weight_decay"):
        values = _get(config, f"sweep.{name}")
        if any(not isinstance(v, int | float) or not 0 <= v < math.inf for v in values) or len(
            set(values)
        ) != len(values):
            raise InputError(
                f"config.sweep.{name} is {tuple(values)}; expected finite numbers of at least 0, each once"
            )
    if config.validation_fraction == 1:
        raise InputError(
            "config.validation_fraction is 1; expected less, so that something is left to learn from"
        )
    if config.seed + config.seeds > 2**32:
        raise InputError(f"config.seed is {config.seed}; expected less than 2**32 with all seeds")
    encoders = [name.strip() for name in config.encoder.name.split(",")]
    if len(set(encoders)) != len(encoders):
        raise InputError(
            f"config.encoder.name is {config.encoder.name!r}; expected each encoder once"
        )
    if len(set(config.emotions)) != len(config.emotions) or len(config.emotions) < 2:
        raise InputError(
            f"config.emotions is {tuple(config.emotions)}; expected at least two, each once"
        )
    if not config.methods or len(set(config.methods)) != len(config.methods):
        raise InputError(
            f"config.methods is {tuple(config.methods)}; expected at least one, each once"
        )
    if config.protocol not in ("transductive", "inductive"):
        raise InputError(
            f"config.protocol is {config.protocol!r}; choose transductive or inductive"
        )


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _get(config: ConfigDict, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        if part not in node:
            return None
        node = node[part]
    return node
