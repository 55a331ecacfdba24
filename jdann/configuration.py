"""Configs: where they are, overrides from the command line, checks, and writing them down."""

import difflib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict, FrozenConfigDict

from jdann import parameters
from jdann.errors import InputError
from jdann.parameters import (
    Count,
    CountOrZero,
    Counts,
    Fraction,
    FractionBelowOne,
    NonNegative,
    Number,
    Positive,
    Precision,
    Range,
    shown,
)

# Keys that set several keys at once.
BOTH = {"layout": ("source_layout", "target_layout")}


def base_config() -> Any:
    """Every key with its default: `get_config()` of configs/base.py."""
    return _run(config_folder() / "base.py")


def config_folder() -> Path:
    """The folder of the configs that come with jdann.

    It lies beside the package in a clone and inside the package once installed.
    """
    package = Path(__file__).parent
    beside = package.parent / "configs"
    return beside if (beside / "base.py").exists() else package / "configs"


def load_config(name: str, overrides: Sequence[tuple[str, str]] = ()) -> FrozenConfigDict:
    """Runs the `get_config()` of a config file and applies overrides.

    Args:
      name: a path, or the bare name of a config that comes with jdann, such as "en2zh". A `.json`
        is a config as a work directory holds it; keys that it lacks have their defaults.
      overrides: pairs of a dotted key ("encoder.name") and a value as text.

    Raises:
      InputError: there is no such file or key, or a value cannot be used.
    """
    path = _config_path(name)
    config = _read(path) if path.suffix == ".json" else _run(path)
    _spread(config)
    for key, text in overrides:
        for current_key in BOTH.get(key, (key,)):
            _override(config, current_key, text)
    check(config)
    return FrozenConfigDict(config)


def _spread(config: ConfigDict) -> None:
    """Replaces keys in BOTH, which a config may have set."""
    for key, current_keys in BOTH.items():
        if key in config:
            for current_key in current_keys:
                config[current_key] = config[key]
            del config[key]


def _config_path(name: str) -> Path:
    """The file that `--config` names."""
    path = Path(name)
    if path.is_file():
        return path
    bare = path.name == name and not path.suffix
    shipped = config_folder() / f"{name}.py"
    if bare and shipped.is_file():  # also beside a folder of this name, such as a work directory
        return shipped
    if path.is_dir():
        raise InputError(
            f"config {name}: is a folder; give a config file, such as {path / 'config.json'}"
        )
    known = ", ".join(sorted(p.stem for p in config_folder().glob("*.py")))
    raise InputError(f"config {name}: no such file; give a path, or one of {known}")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain nested dicts and lists, for JSON."""
    return json.loads(json.dumps(config.to_dict()))


def missing(config: Any) -> list[str]:
    """The keys of `configs/base.py` that a config of an earlier version lacks."""
    present = {key for key, _ in _leaves(ConfigDict(config.to_dict()))}
    return [key for key, _ in _leaves(base_config()) if key not in present]


def tuples(value: Any) -> Any:
    """Turns the lists of a config that came from JSON back into tuples."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def _read(path: Path) -> ConfigDict:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"config {path}: is damaged ({error}); expected a config as a work directory holds it"
        ) from None
    config = base_config()
    leaves = list(_leaves(ConfigDict(tuples(stored)))) if isinstance(stored, dict) else []
    if not leaves:
        raise InputError(
            f"config {path}: holds no keys; expected a config as a work directory holds it"
        )
    for key, value in leaves:
        for current_key in BOTH.get(key, (key,)):
            set_key(config, current_key, value, f"config {path}: {key}")
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
        value = float(value) if abs(value) < 2**1000 else value  # a larger one fits no float
    if type(value) is not type(current):
        raise InputError(f"{name} is {shown(value)}; expected a value like {current!r}")
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
            f"config {path}: get_config() returns {type(config).__name__}; expected an"
            " ml_collections.ConfigDict"
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
        raise InputError(f"--config.{key}={_short(text)}: expected true or false")
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
        raise InputError(
            f"--config.{key}={_short(text)}: expected {expected}, such as {current}"
        ) from None


def _parse_nested(key: str, text: str) -> tuple[Any, ...]:
    try:
        return tuples(json.loads(text))
    except ValueError as error:
        raise InputError(
            f"--config.{key}={_short(text)}: expected lists as in JSON ({error})"
        ) from None


def _short(text: str) -> str:
    """A text for messages as it was written; a long one is shortened."""
    return text if len(text) <= 100 else f"{text[:97]}..."


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _nearest(config: ConfigDict, key: str) -> str:
    keys = [name for name, _ in _leaves(config)]
    leaf = key.rsplit(".")[-1]
    near = (
        difflib.get_close_matches(key, keys, n=1)
        or [k for k in keys if k.rsplit(".")[-1] == leaf][:1]
    )
    return f" (did you mean {near[0]}?)" if near else ""


# What every key outside the methods' sections may be. `check` looks at the other keys itself.
RANGES: dict[str, Any] = {
    "source": str,
    "target": str,
    "source_layout": str,  # `jdann.corpora.folder` looks it up
    "target_layout": str,
    "labels": str,
    "target_labels": str,
    "speakers": Literal["auto", "names", "voice", "none"],
    "speaker_pattern": str,
    "both_directions": bool,
    "seeds": Count,
    "seed": Annotated[int, Range(0, 2**32 - 1)],
    "seeds_in": str,  # names that a stage looks up are checked there
    "baseline": bool,
    "protocol": Literal["transductive", "inductive"],
    "folds": Annotated[int, Range(2)],
    "validation_fraction": FractionBelowOne,
    "max_failed_fraction": Fraction,
    "audio.sample_rate_hz": Annotated[int, Range(1000)],
    "audio.offset_s": NonNegative,
    "audio.max_duration_s": Annotated[float, Range(0.1)],
    "audio.trim_db": NonNegative,
    "audio.level_db": Number,
    "audio.speech_only": bool,
    "features.recipe": str,
    "features.encoder": str,
    "features.encoder_digest": str,
    "features.encoder_precision": Precision,
    "features.layers": str,
    "features.beside": Literal["none", "prosody", "statistics"],
    "features.n_fft": Annotated[int, Range(16)],
    "features.hop_length": Count,
    "features.n_mels": Count,
    "features.n_mfcc": Count,
    "features.vector_size": Count,
    "features.channel": str,
    "features.voice": bool,
    "features.normalise": str,
    "features.relevance": NonNegative,
    "augment.crop_frames": CountOrZero,
    "augment.time_masks": CountOrZero,
    "augment.time_mask_frames": CountOrZero,
    "augment.frequency_masks": CountOrZero,
    "augment.frequency_mask_bins": CountOrZero,
    "encoder.name": str,
    "encoder.channels": Counts,
    "encoder.kernel_size": Count,
    "encoder.strides": Counts,
    "encoder.hidden": Counts,
    "encoder.input_dropout": Fraction,
    "encoder.batch_norm": bool,
    "encoder.dropout": Fraction,
    "encoder.blocks": Count,
    "encoder.lora_rank": CountOrZero,
    "encoder.lora_alpha": Positive,
    "encoder.gradient_checkpointing": bool,
    "strength.schedule": str,
    "strength.maximum": NonNegative,
    "strength.gamma": NonNegative,
    "epochs": Count,
    "batch_size": Count,
    "features_gib": NonNegative,
    "optimiser.name": str,
    "optimiser.learning_rate": NonNegative,
    "optimiser.schedule": str,
    "optimiser.warmup_fraction": Fraction,
    "optimiser.weight_decay": NonNegative,
    "optimiser.momentum": Fraction,
    "optimiser.clip_norm": NonNegative,
    "label_smoothing": Fraction,
    "precision": str,
    "ema": Fraction,
    "sweep.criterion": str,
    "tune.criterion": str,
    "tune.trials": Count,
    "tune.sampler": str,
    "tune.prune": bool,
    "tune.prune_after": CountOrZero,
    "selection": str,
    "evaluate_every": Count,
    "checkpoint_every_s": NonNegative,
    "tsne": bool,
}
_ABSENT = object()
_SUPERVISED = "supervised"  # the labelled ceiling, which `config.methods` names beside the methods


def check(config: Any) -> None:
    """Refuses values that could only fail later.

    Raises:
      InputError: names the key, its value and what was expected.
    """
    for key, hint in RANGES.items():
        value = _get(config, key)
        problem = None if value is _ABSENT else parameters.parameter(key, hint).problem(value)
        if problem is not None:
            raise InputError(f"config.{key} is {shown(value)}; expected {problem}")
    for name in ("strength", "learning_rate", "weight_decay"):
        values = _get(config, f"sweep.{name}")
        valid = isinstance(values, tuple | list) and all(
            parameters.parameter(name, NonNegative).problem(v) is None for v in values
        )
        if not valid or len(set(values)) != len(values):
            raise InputError(
                f"config.sweep.{name} is {shown(values)}; expected finite numbers of at least 0,"
                " each once"
            )
    if config.seed + config.seeds > 2**32:
        raise InputError(f"config.seed is {config.seed}; expected less than 2**32 with all seeds")
    encoders = [name.strip() for name in config.encoder.name.split(",")]
    if len(set(encoders)) != len(encoders):
        raise InputError(
            f"config.encoder.name is {config.encoder.name!r}; expected each encoder once"
        )
    if not _are_names(config.emotions) or len(config.emotions) < 2:
        raise InputError(
            f"config.emotions is {shown(config.emotions)}; expected at least two, each once"
        )
    _check_methods(config)


def _are_names(values: Any) -> bool:
    """Whether the values are a list of texts, each once."""
    return (
        isinstance(values, tuple | list)
        and all(isinstance(value, str) for value in values)
        and len(set(values)) == len(values)
    )


def _check_methods(config: Any) -> None:
    # Predicting needs no method: Flax and optax stay unloaded there.
    from jdann.methods import METHODS, make_method
    from jdann.methods.pseudo_labels import check_prior

    for name, factory in METHODS.items():
        section = config.get(name, {})
        parameters.check(factory, section, f"config.{name}.")
        if "prior" in section:
            check_prior(section["prior"], f"config.{name}.prior", len(config.emotions))
    if not _are_names(config.methods) or not config.methods:
        raise InputError(
            f"config.methods is {shown(config.methods)}; expected at least one, each once"
        )
    settings = method_settings(config)
    for name in config.methods:
        if name != _SUPERVISED:
            make_method(name, settings)


def method_settings(config: Any) -> dict[str, dict[str, Any]]:
    """The sections of all methods in a config: settings for `jdann.methods.make_method`."""
    # As in `_check_methods`.
    from jdann.methods import METHODS

    return {name: dict(config[name]) for name in METHODS if name in config}


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _get(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key, or _ABSENT: a config of an earlier version may lack it."""
    node: Any = config
    for part in key.split("."):
        if part not in node:
            return _ABSENT
        node = node[part]
    return node
