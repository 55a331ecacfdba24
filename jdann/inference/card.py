"""The card of a model, `model.json`: what each field may be, and the digest that protects it.

A card is checked as soon as it is read, so that nothing computes with a value out of range. From
schema 5 on it holds two SHA-256 digests: one of the file of arrays, and one of everything in the
card that decides an answer. So a changed value is found, and so are the arrays of another model.
The card of an exported program (`jdann.inference.export`) is checked in the same way.
"""

import hashlib
import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from jdann import configuration
from jdann.audio import AudioSettings
from jdann.data.normalise import NORMALISATIONS
from jdann.errors import InputError
from jdann.files import to_plain
from jdann.parameters import Count, CountOrZero, Fraction, Parameter, Range, parameter

# A wider range than that of `jdann.selection.calibration`: a user may choose any temperature, but
# no division by it may overflow.
Temperature = Annotated[float, Range(1e-4, 1e4)]
# Words for people. A user may change them, and no answer depends on them.
FREE_TEXT = ("source", "target", "versions", "date", "notes")
_DIGEST = "digest"


class Kind(NamedTuple):
    """One kind of card."""

    schema: int  # that this jdann writes
    oldest: int  # that it can read
    digest_from: int  # the first schema with a digest
    remedy: str  # what a user can do if the file cannot be used
    more_fields: Mapping[str, Any] = MappingProxyType({})  # that this kind requires


# The fields that every card has. A dot leads into a group. A hint is one of `jdann.parameters`.
REQUIRED: dict[str, Any] = {
    "method": str,
    "encoder": str,
    "direction": Annotated[int, Range(0, 1)],
    "order": CountOrZero,
    "temperature": Temperature,
    "seeds": Annotated[tuple[int, ...], Range(0)],
    "source.name": str,
    "source.description": str,
    "target.name": str,
    "target.description": str,
    "versions.jdann": str,
    "date": str,
    "config.audio.sample_rate_hz": configuration.RANGES["audio.sample_rate_hz"],
    "config.encoder.name": str,
    "config.features.recipe": str,
    "config.features.normalise": Parameter("normalise", str, None, None, NORMALISATIONS),
}
# The fields that a card may have. An earlier version may lack a key of the config.
OPTIONAL: dict[str, Any] = {
    "values": Count,
    "notes": str,
    "source.synthetic": bool,
    "target.synthetic": bool,
    "calibration.temperature": Temperature,
    "calibration.estimate.accuracy": Fraction,
    "calibration.estimate.low": Fraction,
    "calibration.estimate.high": Fraction,
    **{f"config.{key}": hint for key, hint in configuration.RANGES.items()},
}


def read_card(path: Path, kind: Kind) -> dict[str, Any]:
    """Reads a card and checks it.

    Raises:
      InputError: the file is missing or damaged, a later version wrote it, or a value is missing or
        out of range.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        problem = "is missing" if missing else f"cannot be read ({error.strerror})"
        raise InputError(f"{path}: {problem}; {kind.remedy}") from None
    return parse_card(content, path, kind)


def parse_card(data: bytes, path: Path, kind: Kind) -> dict[str, Any]:
    """As `read_card`, of the content of a file; `path` is what messages call it."""
    try:
        card = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error}); {kind.remedy}") from None
    problem = _problem(card, kind)
    if problem is not None:
        raise InputError(f"{path}: {problem}; {kind.remedy}")
    return card


def with_digest(card: Mapping[str, Any], kind: Kind, content: bytes) -> dict[str, Any]:
    """A card as it is written: its values plain, its schema first and its digest last.

    Args:
      card: of a model.
      kind: of the card.
      content: of the file that the card describes: the arrays, or the program of an export.
    """
    values = {key: value for key, value in card.items() if key not in ("schema", _DIGEST)}
    plain = {"schema": kind.schema} | to_plain(values)
    of_content = hashlib.sha256(content).hexdigest()
    digest = {"content": of_content, "card": _digest_of_card(plain, of_content)}
    return plain | {_DIGEST: digest}


def check_content(
    card: Mapping[str, Any], kind: Kind, of_content: str, path: Path, content_path: Path
) -> None:
    """Refuses the file that a card describes if it is not the one that was written with the card.

    A card of an earlier schema has no digest, and says nothing about the file.

    Args:
      card: from `read_card`.
      kind: of the card.
      of_content: SHA-256 of the file, in hexadecimal.
      path: what messages call the card.
      content_path: what messages call the file.

    Raises:
      InputError: it is another file.
    """
    if _DIGEST in card and card[_DIGEST]["content"] != of_content:
        raise InputError(
            f"{content_path}: was changed, or belongs to another model (its SHA-256 is "
            f"{_start(of_content)}; expected {_start(card[_DIGEST]['content'])}, as in "
            f"{path.name}); {kind.remedy}"
        )


def _start(digest: str) -> str:
    """The beginning of a digest, for a message."""
    return ascii(digest[:8])[1:-1] + "..."


def _digest_of_card(card: Mapping[str, Any], of_content: str) -> str:
    """SHA-256 of all values but the free text, and of the digest of the other file."""
    covered = {key: value for key, value in card.items() if key not in (*FREE_TEXT, _DIGEST)}
    text = json.dumps([covered, of_content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _problem(card: Any, kind: Kind) -> str | None:
    """What is wrong with a card, or None."""
    if not isinstance(card, dict):
        return f"holds {_short(card)}; expected a JSON object with the fields of a model"
    schema = card.get("schema")
    if type(schema) is not int or not kind.oldest <= schema <= kind.schema:
        later = type(schema) is int and schema > kind.schema
        hint = "; install a later jdann" if later else ""
        expected = f"expected {kind.oldest} to {kind.schema}"
        return f"has schema {_short(schema)}, {expected}, which this jdann reads{hint}"
    return (
        _problem_of_fields(card, kind)
        or _problem_of_lists(card)
        or _problem_of_settings(card["config"])
        or _problem_of_digest(card, schema >= kind.digest_from)
    )


def _problem_of_fields(card: dict[str, Any], kind: Kind) -> str | None:
    required = REQUIRED | dict(kind.more_fields)
    for key, hint in (OPTIONAL | required).items():
        *groups, name = key.split(".")
        node = card
        for depth, group in enumerate(groups, start=1):
            node = node.get(group) if isinstance(node, dict) else None
            if node is not None and not isinstance(node, dict):
                return f"{'.'.join(groups[:depth])} is {_short(node)}; expected a JSON object"
        value = node.get(name) if node else None
        if value is None:
            if key in required:
                return f"{key} is missing"
            continue
        expected = hint if isinstance(hint, Parameter) else parameter(name, hint)
        problem = expected.problem(value)
        if problem is not None:
            return f"{key} is {_short(value)}; expected {problem}"
    return None


def _problem_of_lists(card: dict[str, Any]) -> str | None:
    """What is wrong with the emotions, the labels or the members."""
    emotions, labels = card["config"].get("emotions"), card.get("labels")
    lists: dict[str, Any] = {"config.emotions": emotions, "labels": labels}
    for key, names in lists.items():
        if not _is_list_of(names, str) or not all(names) or len(set(names)) != len(names):
            return f"{key} is {_short(names)}; expected a list of emotions, each once"
        if len(names) < 2:
            return f"{key} is {_short(names)}; expected two or more emotions"
    unknown = [label for label in card["labels"] if label not in emotions]
    if unknown:
        return f"labels holds {_short(unknown[0])}; expected names of config.emotions"
    members = card.get("members")
    if members is not None and not (_is_list_of(members, dict) and members):
        return f"members is {_short(members)}; expected a list with an object for each member"
    return None


def _problem_of_settings(config: dict[str, Any]) -> str | None:
    """What is wrong with the names of settings; their values are in range."""
    surplus = [name for name in config["audio"] if name not in AudioSettings._fields]
    if surplus:
        fields = ", ".join(AudioSettings._fields)
        return f"config.audio holds {_short(surplus[0])}; expected {fields}"
    features = config["features"]
    if features["recipe"] == "vectors" and features.get("vector_size") is None:
        return "config.features.vector_size is missing"
    return None


def _problem_of_digest(card: dict[str, Any], is_required: bool) -> str | None:
    """What is wrong with the digest, or with the values that it protects."""
    if card.get(_DIGEST) is None:
        return "digest is missing" if is_required or _DIGEST in card else None
    digest = card[_DIGEST]
    texts = [digest.get(key) for key in ("content", "card")] if isinstance(digest, dict) else []
    if not texts or not _is_list_of(texts, str):
        return f"digest is {_short(digest)}; expected the texts `content` and `card`"
    now = _digest_of_card(card, digest["content"])
    if now != digest["card"]:
        expected = _start(digest["card"])
        return (
            f"was changed after it was written (its digest is {_start(now)}; expected {expected})"
        )
    return None


def _is_list_of(values: Any, kind: type) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in values)


def _short(value: Any) -> str:
    """A value for a message, on one line and not longer than a few words."""
    return "missing" if value is None else reprlib.repr(value)
