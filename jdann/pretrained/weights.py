"""Published weights: safetensors files in, params of a linen module out. No pickle is ever read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by it
import numpy as np
from flax.errors import FlaxError
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError, safe_open

from jdann.errors import InputError
from jdann.parameters import shown
from jdann.pretrained.contract import Architecture, Rule

CONFIG = "config.json"
ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TYPES = ("F32", "F16", "BF16")  # as safetensors names them
_SHARD = re.compile(r"[\w.+-]+\.safetensors")  # a file beside the index, not a path
_INIT_SAMPLES = 4000  # the shapes of params do not depend on the length of the clip
_MOST_NAMES = 3  # of tensors in a message


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
      InputError: it is missing or damaged, or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; expected the folder of a pretrained encoder, with {CONFIG} and "
            f"{ONE_FILE}"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is not JSON ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {shown(value)}; fetch it again")
    return value


def read_tensors(folder: Path) -> Mapping[str, np.ndarray]:
    """The tensors in a folder, by their published names; each is read when it is asked for.

    Args:
      folder: with config.json, and model.safetensors or the shards that
        model.safetensors.index.json lists.

    Returns:
      A mapping to arrays of float32, float16 or bfloat16.

    Raises:
      InputError: a file is missing or damaged, or there are pickles only. A tensor that cannot be
        read is an InputError when it is asked for.
    """
    read_json(folder / CONFIG)
    if (folder / ONE_FILE).exists():
        return _Tensors([folder / ONE_FILE])
    if (folder / INDEX).exists():
        return _read_shards(folder / INDEX)
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder} has {pickles[0]} and no {ONE_FILE}; jdann reads no pickle, because it could "
            f"run any code; {_CONVERSION}"
        )
    raise InputError(f"{folder} has no {ONE_FILE}, and no {INDEX} with shards; fetch the model")


_CONVERSION = (
    "write the folder anew in Python: "
    'transformers.AutoModel.from_pretrained("FOLDER").save_pretrained("NEW_FOLDER")'
)


def is_complete(folder: Path) -> bool:
    """Whether a folder has config.json and each file of the weights; they may still be damaged."""
    if not (folder / CONFIG).exists():
        return False
    if (folder / ONE_FILE).exists():
        return True
    if not (folder / INDEX).exists():
        return False
    try:
        shards = set(_read_index(folder / INDEX).values())
    except InputError:
        return True  # all files are there that a damaged index tells of
    return all((folder / shard).exists() for shard in shards)


def _read_index(index: Path) -> dict[str, str]:
    """The file of each tensor."""
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise InputError(f"{index}: expected weight_map, from tensors to files; fetch it again")
    for name, shard in shard_of.items():
        if not (isinstance(shard, str) and _SHARD.fullmatch(shard)):
            raise InputError(
                f"{index}: tensor {shown(name)} is in {shown(shard)}; expected the name of a "
                ".safetensors file in the same folder"
            )
    return shard_of


def _read_shards(index: Path) -> Mapping[str, np.ndarray]:
    shard_of = _read_index(index)
    tensors = _Tensors([index.parent / shard for shard in sorted(set(shard_of.values()))])
    absent = [name for name in shard_of if name not in tensors]
    if absent:
        raise InputError(
            f"{index}: the files that it lists lack {_listed(absent)}; fetch the folder again"
        )
    return tensors


class _Tensors(Mapping[str, np.ndarray]):
    """The tensors of several safetensors files, each read when it is asked for."""

    def __init__(self, paths: Iterable[Path]):
        self._files: dict[str, tuple[Path, Any]] = {}
        for path in paths:
            opened = _open_file(path)
            for name in opened.keys():  # noqa: SIM118  the file itself cannot be iterated
                if name in self._files:
                    first = self._files[name][0].name
                    raise InputError(f"{path}: tensor {shown(name)} is in {first}, too")
                self._files[name] = (path, opened)

    def __getitem__(self, name: str) -> np.ndarray:
        path, opened = self._files[name]
        stored = opened.get_slice(name).get_dtype()
        if stored not in _TYPES:
            raise InputError(
                f"{path}: tensor {name} has the type {stored}; expected one of {', '.join(_TYPES)}"
            )
        return opened.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:  # without reading the tensor
        return name in self._files


def _open_file(path: Path) -> Any:
    """A safetensors file whose header and length have been checked."""
    try:
        with path.open("rb") as file:
            if file.read(16).startswith(b"version https:"):
                raise InputError(
                    f"{path} only points to the weights in Git LFS; run git lfs pull in its folder"
                )
        return safe_open(str(path), framework="np")
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing, and {INDEX} lists it; fetch the folder again"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or not complete ({error}); fetch it again") from error


def to_params(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, Any]:
    """The params of an architecture's module, from tensors by their published names.

    Each tensor has its place, and each place its tensor.

    Args:
      tensors: floating point, in the layout of the published file. Those that the architecture
        ignores are not read.
      architecture: whose rules name the place of each tensor.

    Returns:
      Nested dict of float32 arrays [NumPy].

    Raises:
      InputError: names tensors that are missing, that have no place, whose shape is another or
        whose values are not finite.
    """
    if architecture.layers - 1 > len(tensors):  # such a network could be too large to describe
        raise InputError(
            f"{CONFIG} describes {architecture.layers - 1} blocks, and the file holds "
            f"{len(tensors)} tensors only; fetch both again"
        )
    expected = _expected_shapes(architecture)
    places, surplus = _assign_places(tensors, architecture, expected)
    missing = [_tensor_name(path, architecture.rules) for path in expected if path not in places]
    problems = [f"missing: {_listed(missing)}"] if missing else []
    problems += [f"not known: {_listed(surplus)}"] if surplus else []
    if problems:
        raise InputError(_unfit(architecture, problems))
    return unflatten_dict(_permuted_arrays(tensors, architecture, expected, places), sep="/")


def _expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each param, by its path."""
    samples = jnp.zeros((1, _INIT_SAMPLES), jnp.float32)
    length = jnp.full((1,), _INIT_SAMPLES, jnp.int32)
    try:
        variables = jax.eval_shape(architecture.module.init, jax.random.key(0), samples, length)
    except (ArithmeticError, FlaxError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"the settings in {CONFIG} give no {architecture.family} network that can be computed: "
            f"{error}"
        ) from error
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables["params"])
    return {"/".join(str(key.key) for key in keys): leaf.shape for keys, leaf in leaves}


def _assign_places(
    names: Iterable[str], architecture: Architecture, expected: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Rule]], list[str]]:
    """The tensor and the rule of each path, and the names that have no place."""
    places: dict[str, tuple[str, Rule]] = {}
    surplus = []
    for name in names:
        placed = _find_place(name, architecture.rules)
        if placed is None:
            if not any(re.fullmatch(pattern, name) for pattern in architecture.ignored):
                surplus.append(name)
        elif placed[0] in places or placed[0] not in expected:
            surplus.append(name)
        else:
            places[placed[0]] = (name, placed[1])
    return places, surplus


def _find_place(name: str, rules: Iterable[Rule]) -> tuple[str, Rule] | None:
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            return match.expand(rule.path), rule
    return None


def _permuted_arrays(
    tensors: Mapping[str, np.ndarray],
    architecture: Architecture,
    expected: Mapping[str, tuple[int, ...]],
    places: Mapping[str, tuple[str, Rule]],
) -> dict[str, np.ndarray]:
    """The param of each path, in float32."""
    arrays, wrong, not_finite = {}, [], []
    for path, (name, rule) in places.items():
        tensor = tensors[name]
        shape = _published_shape(expected[path], rule.permutation)
        if tensor.shape != shape:
            wrong.append(f"{name} with the shape {list(shape)}, found {list(tensor.shape)}")
            continue
        # NumPy would reverse the axes if it got None.
        axes = rule.permutation or tuple(range(tensor.ndim))
        array = np.ascontiguousarray(np.transpose(tensor, axes), np.float32)
        arrays[path] = array.reshape(expected[path])  # a scalar has become [1]
        if not np.isfinite(array).all():
            not_finite.append(name)
    if wrong:
        raise InputError(_unfit(architecture, [f"expected {_listed(wrong)}"]))
    if not_finite:
        raise InputError(
            f"the weights are damaged: values are not finite in {_listed(not_finite)}; fetch them "
            "again"
        )
    return arrays


def _published_shape(
    shape: tuple[int, ...], permutation: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The shape of a tensor in its file, from that of the param."""
    if permutation is None:
        return shape
    return tuple(shape[axis] for axis in np.argsort(permutation))


def _tensor_name(path: str, rules: Iterable[Rule]) -> str:
    """The published name of the tensor for a path, or the path where the rules do not tell it."""
    for rule in rules:
        template = re.sub(r"\\\\(\d+)", r"(?P<g\1>[^/]+)", re.escape(rule.path))
        match = re.fullmatch(template, path)
        if match:
            name = _fill_groups(rule.pattern, match.groups())
            if _find_place(name, [rule]) == (path, rule):
                return name
    return path


def _fill_groups(pattern: str, values: Iterable[str]) -> str:
    """A text that a simple pattern matches, with these values as its groups."""
    remaining = iter(values)
    required = re.sub(r"\(\?:[^()]*\)[?*]", "", pattern)  # without prefixes that may be absent
    return re.sub(r"\([^()]*\)", lambda _: next(remaining, ""), required).replace("\\", "")


def _listed(names: list[str]) -> str:
    first = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{first} and {more} more" if more > 0 else first


def _unfit(architecture: Architecture, problems: list[str]) -> str:
    return (
        f"the weights do not fit the {architecture.family} network of {CONFIG}; "
        f"{'; '.join(problems)}"
    )
