"""The arrays of a model, `model.safetensors`: the shape, type and range of each.

The arrays of an encoder are checked here as far as their names tell. Their exact shapes are checked
by `jdann.inference.forward.check_variables` before a program is traced, which needs Flax.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jdann.parameters import Range

_FINITE, _POSITIVE = Range(), Range(0, above=True)
_MAY_BE_EMPTY = ("axes", "views")  # axes of length 0: the voice does not matter, no views
_MOST_AXES = 2  # of `jdann.speakers.similar_voices.position_grid`
_TOLERANCE = 1e-3  # of sums in float32, relative to the variances


class Array(NamedTuple):
    """What is known about an array before it is read."""

    # Names of its axes. Axes of the same name have the same length in all arrays. A number is the
    # length itself.
    axes: str
    values: Range = _FINITE
    dtype: type = np.float32


# By part of a model: `jdann.inference.model` says what each array is.
PARTS: dict[str, dict[str, Array]] = {
    "classifier": {
        "kernel": Array("members width classes"),
        "bias": Array("members classes"),
    },
    "normalisation": {
        "mean": Array("places values"),
        "std": Array("places values", _POSITIVE),
        "voice": Array("places axes"),
        "weight": Array("views values classes"),
        "bias": Array("views classes"),
        "share": Array("1", Range(0, 1)),
    },
    "reference": {
        "mean": Array("classes values"),
        "covariance": Array("values values"),
        "present": Array("classes", dtype=np.bool_),
    },
    "familiarity": {
        "mean": Array("values"),
        "std": Array("values", _POSITIVE),
        "directions": Array("values directions"),
        "variance": Array("directions", _POSITIVE),
        "rest": Array("1", _POSITIVE),
        "limit": Array("1", Range(0)),
    },
}
_ENCODER = ("encoder/params/", "encoder/batch_stats/")
_OPTIONAL_PARTS = ("reference", "familiarity")
# A model of schema 2 has no views, and a model without views has these arrays empty.
_VIEWS = ("normalisation/weight", "normalisation/bias", "normalisation/share")


def find_problem(arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> str | None:
    """What is wrong with the arrays of a model, in a few words; None: nothing.

    Args:
      arrays: by their names in the file.
      card: of the model, from `jdann.inference.card`.
    """
    return next(_problems(arrays, card), None)


def _problems(arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is wrong, lazily: the first problem can be the reason of the others."""
    expected = _expected(arrays, card["schema"] == 2)
    for name in expected:
        if name not in arrays:
            yield f"{name} is missing"
    folders = {str(parent) for name in arrays for parent in PurePosixPath(name).parents}
    for name in arrays:
        if name not in expected or name in folders:
            yield f"holds {name!r}, which no model has"
    if not any(name.startswith(_ENCODER[0]) for name in arrays):
        yield f"no array's name begins with {_ENCODER[0]}; expected the parameters of the encoder"
    lengths = _known_lengths(card)
    for name, array in expected.items():
        values = arrays[name]
        if values.dtype != array.dtype:
            yield f"{name} is of type {values.dtype}; expected {np.dtype(array.dtype)}"
        yield from _problems_of_shape(name, values, array.axes, lengths)
        if not _all_hold(array.values, values):
            yield f"{name} holds values out of range; expected numbers {array.values}"
    if lengths["axes"] > _MOST_AXES:
        yield f"normalisation/voice has {lengths['axes']} columns; expected {_MOST_AXES} at most"
    covariance = arrays.get("reference/covariance")
    # A digest says that the matrix is the one that training computed, from products of features.
    if covariance is not None and not _is_covariance(covariance, "digest" not in card):
        yield "reference/covariance is not symmetric and positive; expected a covariance"
    directions = arrays.get("familiarity/directions")
    if directions is not None and not _is_orthonormal(directions):
        yield "familiarity/directions is not orthonormal; expected directions of length 1"


def _expected(arrays: Mapping[str, np.ndarray], without_views: bool) -> dict[str, Array]:
    """The arrays that a model should have, by name: those of an optional part if it has any."""
    expected = {}
    for part, of_part in PARTS.items():
        if part in _OPTIONAL_PARTS and not any(name.startswith(f"{part}/") for name in arrays):
            continue
        expected |= {f"{part}/{name}": array for name, array in of_part.items()}
    for name in _VIEWS:
        if without_views and name not in arrays:
            del expected[name]
    for name, array in arrays.items():
        if name.startswith(_ENCODER):
            axes = " ".join(("members", *map(str, array.shape[1:])))
            expected[name] = Array(axes, Range(0) if name.endswith("/var") else _FINITE)
    return expected


def _known_lengths(card: Mapping[str, Any]) -> dict[str, int]:
    """The lengths of axes that a card tells; an earlier card tells less."""
    lengths = {"classes": len(card["labels"])}
    if "members" in card:
        lengths["members"] = len(card["members"])
    if "values" in card:
        lengths["values"] = card["values"]
    return lengths


def _problems_of_shape(
    name: str, values: np.ndarray, axes: str, lengths: dict[str, int]
) -> Iterator[str]:
    """What is wrong with the shape of an array; lengths that were not known yet are added."""
    names = axes.split()
    if name in _VIEWS and not values.size and values.ndim == len(names):
        names = [names[0], *["0"] * (len(names) - 1)]
    fits = values.ndim == len(names)
    for axis, length in zip(names, values.shape, strict=False):
        known = int(axis) if axis.isdigit() else lengths.setdefault(axis, length)
        fits = fits and length == known and (length > 0 or axis in _MAY_BE_EMPTY or axis == "0")
    if not fits:
        expected = (a if a.isdigit() else f"{lengths.get(a, 'any')} {a}" for a in names)
        yield f"{name} has shape {values.shape}; expected [{', '.join(expected)}]"


def _all_hold(values_range: Range, values: np.ndarray) -> bool:
    """Whether all values are finite and in a range. The smallest of values with a NaN is NaN."""
    if not values.size or values.dtype == np.bool_:
        return True
    return all(values_range.holds(float(extreme)) for extreme in (values.min(), values.max()))


def _is_covariance(matrix: np.ndarray, of_all_directions: bool) -> bool:
    """Whether a matrix [values, values] is symmetric and positive semidefinite, up to rounding.

    Args:
      matrix: float32.
      of_all_directions: False: only that no two values correlate by more than 1, which takes a
        tenth of the time.
    """
    variance = matrix.diagonal()
    rounding = max(_TOLERANCE * float(variance.max()), float(np.finfo(np.float32).tiny))
    with np.errstate(over="ignore"):  # of numbers that are far too large
        if (variance < 0).any() or np.abs(matrix - matrix.T).max() > rounding:
            return False
    std = np.sqrt(variance + rounding)
    if not of_all_directions:
        with np.errstate(over="ignore"):
            return bool((np.abs(matrix) <= std[:, None] * std).all())
    try:
        np.linalg.cholesky(matrix + rounding * np.eye(len(matrix), dtype=matrix.dtype))
    except np.linalg.LinAlgError:
        return False
    return True


def _is_orthonormal(columns: np.ndarray) -> bool:
    """Whether the columns of a matrix have length 1 and right angles, up to rounding."""
    if np.abs(columns).max() > 1 + _TOLERANCE:
        return False
    products = columns.T @ columns
    return bool(np.abs(products - np.eye(len(products))).max() < _TOLERANCE)
