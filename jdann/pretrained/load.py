"""A pretrained encoder from a folder or the Hub: its network with its weights."""

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.files import default_data_dir
from jdann.parameters import Precision, shown
from jdann.pretrained import hub, smart_turn
from jdann.pretrained.catalogue import RESEMBLYZER
from jdann.pretrained.contract import Architecture, SpeechEncoder
from jdann.pretrained.digest import digest
from jdann.pretrained.weights import CONFIG, read_json, read_tensors, to_params

# model_type of config.json: the module whose `architecture` makes the network. Only the module that
# is needed is imported.
FAMILIES = {
    "wav2vec2": "jdann.pretrained.wav2vec2",
    "hubert": "jdann.pretrained.wav2vec2",
    "data2vec-audio": "jdann.pretrained.wav2vec2",
    "wavlm": "jdann.pretrained.wavlm",
    "whisper": "jdann.pretrained.whisper",
}
_MOST_LOADED = 2  # encoders that a process keeps; a large one has 1.2 GB


def find_encoder(name: str, data_dir: Path | None = None) -> Path:
    """Where the files of an encoder are. What is not on this machine is fetched.

    Args:
      name: a folder with config.json and safetensors; an id of the Hub such as
        "facebook/hubert-base-ls960", with "@REVISION" where it is not the main one; or
        "smart-turn-v3.2", which pip fetches.
      data_dir: the folder of prepared corpora and cached features, where encoders may lie, too;
        None: that of TFDS.

    Returns:
      The folder; of smart-turn, the file. `load_encoder` takes either as a name.

    Raises:
      InputError: there is no such encoder, or it cannot be fetched.
    """
    data_dir = data_dir or default_data_dir()
    _check_has_layers(name)
    if name == smart_turn.NAME:
        return smart_turn.find_or_fetch(data_dir).absolute()
    if Path(name).is_file():
        if Path(name).suffix not in (".whl", ".onnx"):
            raise InputError(f"{name} is a file; give the folder with config.json and safetensors")
        return Path(name).absolute()
    return hub.find_or_fetch(name, data_dir).absolute()


def find_on_machine(name: str, data_dir: Path) -> Path | None:
    """As `find_encoder`; None if the files are not on this machine. The network is not asked."""
    _check_has_layers(name)
    if name == smart_turn.NAME:
        return smart_turn.find_on_machine(data_dir)
    return hub.find_on_machine(name, data_dir)


def _check_has_layers(name: str) -> None:
    if name == RESEMBLYZER:
        raise InputError(
            f"{name} tells voices apart and has no layers for features; jdann uses it by itself "
            "where speakers are unknown (config.speakers)"
        )


def load_encoder(
    name: str, data_dir: Path | None = None, precision: Precision = "float32"
) -> SpeechEncoder:
    """An encoder with its weights; the same one again costs nothing.

    Args:
      name: as for `find_encoder`, or what it returns.
      data_dir: as for `find_encoder`.
      precision: "float32", or "mixed": `in_bfloat16`.

    Raises:
      InputError: there is no such encoder, it cannot be fetched, it is of another family, or its
        files are damaged.
    """
    path = find_encoder(name, data_dir)
    versions = () if path.is_file() else _file_versions(path)
    load = _load if precision == "float32" else _load_in_bfloat16
    return load(name, path, versions)


def _load(name: str, path: Path, versions: tuple[Any, ...]) -> SpeechEncoder:
    return _load_folder(name, path, versions) if versions else _load_smart_turn(path)


@functools.lru_cache(maxsize=1)
def _load_in_bfloat16(name: str, path: Path, versions: tuple[Any, ...]) -> SpeechEncoder:
    return in_bfloat16(_load(name, path, versions))


@functools.lru_cache(maxsize=1)
def _load_smart_turn(file: Path) -> SpeechEncoder:
    return smart_turn.read_encoder(file)


def _file_versions(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files that `_load_folder` may read."""
    files = [*folder.glob("*.json"), *folder.glob("*.safetensors")]
    stats = [(path.name, path.stat()) for path in sorted(files) if path.exists()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@functools.lru_cache(maxsize=_MOST_LOADED)
def _load_folder(name: str, folder: Path, versions: tuple[Any, ...]) -> SpeechEncoder:
    del versions  # of the files: a folder that has changed is read again
    settings = read_settings(folder)
    network = make_architecture(settings, folder)
    tensors = read_tensors(folder)
    try:
        params = to_params(tensors, network)
    except InputError as error:
        named = str(folder) in str(error)
        raise InputError(str(error) if named else f"{folder}: {error}") from error
    return SpeechEncoder(name, network, params, digest(params, settings))


def read_settings(folder: Path) -> dict[str, Any]:
    """What config.json says, with `do_normalize` of preprocessor_config.json where there is one.

    Raises:
      InputError: config.json is missing, or one of the two is damaged.
    """
    settings = read_json(folder / CONFIG)
    if (folder / hub.PREPROCESSOR).exists():
        preprocessing = read_json(folder / hub.PREPROCESSOR)
        if "do_normalize" in preprocessing:
            settings["do_normalize"] = preprocessing["do_normalize"]
    return settings


def make_architecture(settings: Mapping[str, Any], folder: Path) -> Architecture:
    """The network that the settings of a folder describe.

    Raises:
      InputError: it is of a family that jdann does not know, or the settings cannot be used.
    """
    config = folder / CONFIG
    family = settings.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        problem = f"is {shown(family)}" if "model_type" in settings else "is missing"
        raise InputError(
            f"{config}: model_type {problem}; expected a speech encoder of one of the families "
            f"{', '.join(FAMILIES)}"
        )
    try:
        return importlib.import_module(FAMILIES[family]).architecture(settings)
    except InputError as error:
        raise InputError(f"{config}: {str(error).removeprefix(f'{CONFIG}: ')}") from error
    except KeyError as error:
        raise InputError(f"{config}: the key {error} is missing; fetch the file again") from error
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{config} gives no {family} network: {error}") from error


def in_bfloat16(encoder: SpeechEncoder) -> SpeechEncoder:
    """The encoder with products in bfloat16, and sums in float32.

    Its kernels are rounded here, once, so that no batch waits for it.
    """
    module = encoder.architecture.module.clone(dtype=jnp.bfloat16)

    def rounded(keys: Any, array: Any) -> Any:
        return jnp.asarray(array, jnp.bfloat16) if keys[-1].key == "kernel" else array

    return encoder._replace(
        architecture=encoder.architecture._replace(module=module),
        params=jax.tree_util.tree_map_with_path(rounded, encoder.params),
    )
