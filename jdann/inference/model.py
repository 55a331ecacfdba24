"""A trained recogniser as files: parameters as safetensors, everything else as JSON.

A run writes one folder for each direction, encoder and method, e.g. `recogniser/0-conv1d-dann/`,
with two files. `model.safetensors` holds the parameters and running statistics of every member, and
the normalisation of the target's features. `model.json` holds labels, the whole config, versions
and calibration. Neither can execute code, and no corpus is needed to use them. Both are checked
when they are read (`jdann.inference.card`, `jdann.inference.arrays`).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialise

from jdann.errors import InputError
from jdann.files import write_bytes, write_text
from jdann.inference import arrays as model_arrays
from jdann.inference.card import Kind, check_content, read_card, with_digest
from jdann.selection.familiarity import Familiarity

FOLDER = "recogniser"  # in a work directory
# Schema 2 has no reference and no views, 3 has no familiarity, and 4 has no digest.
_KIND = Kind(
    schema=5,
    oldest=2,
    digest_from=5,
    remedy="copy both files of the model again, or write them again with --resume of the run",
)
# Parts of the file of arrays.
_NORMALISATION, _REFERENCE, _FAMILIARITY = "normalisation", "reference", "familiarity"
WEIGHTS, CARD = "model.safetensors", "model.json"
NOT_ADAPTED = ("source_only", "supervised")  # methods that do not adapt to the target


class Adaptation(NamedTuple):
    """What a model knows about the speakers of its clips.

    Features are normalised by a mean and a standard deviation for each place on a grid of voices.
    A value is a bin of a frame, or an entry of an utterance's vector. Where all voices share one
    mean there is a single place, and `voice` has no columns.

    If there are views (`jdann.methods.one_speaker.Views`), their log posteriors are mixed with
    those of the network.
    """

    mean: np.ndarray  # [places, values] float32
    std: np.ndarray  # [places, values] float32, positive
    # [places, 0, 1 or 2] float32, of `jdann.speakers.similar_voices.position_grid`
    voice: np.ndarray
    weight: np.ndarray = np.zeros((0, 0, 0), np.float32)  # [views, values, classes]
    bias: np.ndarray = np.zeros((0, 0), np.float32)  # [views, classes]
    share: np.ndarray = np.zeros(1, np.float32)  # [1] of the views in the mixture, 0 to 1


class Reference(NamedTuple):
    """What the utterances of source and target tell about each emotion.

    The emotions of the source are its labels, those of the target are predicted.
    """

    mean: np.ndarray  # [classes, values] float32
    covariance: np.ndarray  # [values, values] float32, within classes
    present: np.ndarray  # [classes] bool; the others have no labels


class Model(NamedTuple):
    """The content of a recogniser. A member is one seed, or one seed of one fold."""

    # {"encoder": {"params", "batch_stats"}, "classifier"}, each array [members, ...]
    variables: dict[str, Any]
    adaptation: Adaptation  # to the target
    # labels, config, versions, source and target, method, encoder, members, calibration
    card: dict[str, Any]
    reference: Reference | None = None  # None: only normalisation can adapt to new speakers
    familiarity: Familiarity | None = None  # None: nobody can tell what speech is unfamiliar


def with_classes(model: Model, columns: np.ndarray) -> Model:
    """A model of some of the classes, [int], in this order."""
    classifier = {
        name: np.asarray(values)[..., columns]  # kernel [members, d, classes] and bias
        for name, values in model.variables["classifier"].items()
    }
    adaptation, reference = model.adaptation, model.reference
    if len(adaptation.bias):
        adaptation = adaptation._replace(
            weight=adaptation.weight[..., columns], bias=adaptation.bias[..., columns]
        )
    if reference is not None:
        reference = reference._replace(
            mean=reference.mean[columns], present=reference.present[columns]
        )
    return model._replace(
        variables=dict(model.variables) | {"classifier": classifier},
        adaptation=adaptation,
        reference=reference,
    )


def save_model(folder: Path, model: Model) -> None:
    """Writes the two files of a model; each appears whole or not at all.

    The same model gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (
        _flatten(model.variables)
        | _named(_NORMALISATION, model.adaptation)
        | (_named(_REFERENCE, model.reference) if model.reference else {})
        | (_named(_FAMILIARITY, model.familiarity) if model.familiarity else {})
    )
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # safetensors sorts arrays, but it writes several entries of the metadata in any order.
    content = serialise(arrays, {"schema": str(_KIND.schema)})
    card = with_digest(model.card, _KIND, content)
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(folder / WEIGHTS, content)
    write_text(folder / CARD, text)


def load_card(folder: Path) -> dict[str, Any]:
    """Reads the card of a model, and checks it without the arrays.

    Raises:
      InputError: as `load_model`, of this file.
    """
    return read_card(folder / CARD, _KIND)


def load_model(folder: Path) -> Model:
    """Reads the two files that `save_model` wrote, and checks them.

    Raises:
      InputError: a file is missing, damaged, changed, of another model, or was written by a later
        version of jdann; the message names the file.
    """
    card = load_card(folder)
    path = folder / WEIGHTS
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        check_content(card, _KIND, digest, folder / CARD, path)
        arrays = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; {_KIND.remedy}") from None
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise InputError(f"{path}: is damaged ({error}); {_KIND.remedy}") from None
    problem = model_arrays.find_problem(arrays, card)
    if problem is not None:
        raise InputError(f"{path}: {problem}; {_KIND.remedy}")
    adaptation = Adaptation(**_take(arrays, _NORMALISATION))
    reference = _take(arrays, _REFERENCE)
    familiarity = _take(arrays, _FAMILIARITY)
    return Model(
        _unflatten(arrays),
        adaptation,
        card,
        Reference(**reference) if reference else None,
        Familiarity(**familiarity) if familiarity else None,
    )


def _named(part: str, arrays: NamedTuple) -> dict[str, np.ndarray]:
    """The arrays of a part of a model by their names in the file."""
    return {f"{part}/{name}": array for name, array in arrays._asdict().items()}


def _take(arrays: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Takes the arrays of a part of a model out of those of the whole file."""
    names = [name for name in arrays if name.startswith(f"{part}/")]
    return {name.removeprefix(f"{part}/"): arrays.pop(name) for name in names}


def find_model(
    path: Path, method: str | None = None, encoder: str | None = None, direction: int = 0
) -> Path:
    """The folder of one model in a work directory.

    Args:
      path: a work directory, or a model's own folder.
      method: None: the last method of the run's config that adapts to the target; if there is none,
        the last method.
      encoder: None: the last encoder of the run's config.
      direction: 0, or 1 for the second direction of a run that trained in both.

    Raises:
      InputError: there is none; the message lists the models that there are.
    """
    if (path / CARD).exists():
        return path
    if not (path / FOLDER).is_dir():
        problem = "holds no recogniser" if path.exists() else "no such folder"
        is_run = (path / "config.json").exists()
        hint = "; continue the run with --resume, which writes one" if is_run else ""
        raise InputError(
            f"{path}: {problem}; expected the work directory of a finished run, "
            f"or a folder with {CARD}{hint}"
        )
    cards = sorted((path / FOLDER).glob(f"*/{CARD}"))
    models = [(card.parent, load_card(card.parent)) for card in cards]
    candidates = [
        (folder, names)
        for folder, names in models
        if names["direction"] == direction
        and method in (None, names["method"])
        and encoder in (None, names["encoder"])
    ]
    if not candidates:
        known = [
            f"{n['method']} with {n['encoder']}, direction {n['direction']}" for _, n in models
        ]
        parts = (method, encoder and f"with {encoder}", f"direction {direction}")
        wanted = " ".join(part for part in parts if part)
        raise InputError(
            f"{path}: holds no recogniser of {wanted}; there are: {', '.join(known) or 'none'}"
        )

    def rank(candidate: tuple[Path, dict[str, Any]]) -> tuple[bool, int]:
        names = candidate[1]
        return not names["method"].startswith(NOT_ADAPTED), names["order"]

    return max(candidates, key=rank)[0]


# flax.traverse_util has both of these functions. But importing it imports Flax, which takes a
# second, and a recogniser whose program is kept does not need Flax.
def _flatten(tree: Mapping[str, Any], parent: str = "") -> dict[str, np.ndarray]:
    """A tree of dicts as {"a/b": array}."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        path = f"{parent}/{name}" if parent else name
        if isinstance(value, Mapping):
            arrays |= _flatten(value, path)
        else:
            arrays[path] = np.asarray(value)
    return arrays


def _unflatten(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The tree of dicts that `_flatten` made {"a/b": array} of."""
    tree: dict[str, Any] = {}
    for path, value in arrays.items():
        *parents, name = path.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[name] = value
    return tree
