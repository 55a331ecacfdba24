"""The corpora of a config, and its pretrained encoder, by absolute paths.

So a run is found from any current directory.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from jdann.corpora.resolve import NAMES

_PATHS = ("source", "target", "target_labels", "labels")  # the keys of a config that name files


def make_absolute(spec: str) -> str:
    """A corpus specification with absolute paths.

    Args:
      spec: what `jdann.corpora.load_all` takes: a name such as "demo:en", a folder, a manifest,
        each with or without a language ("data:en"), or several of them joined by commas.

    Returns:
      The same corpora. A part that is a name, or that does not exist, is unchanged.
    """
    if Path(spec).exists():
        return _make_part_absolute(spec)
    parts = [_make_part_absolute(part.strip()) for part in spec.split(",")]
    if len(parts) > 1 and any("," in part for part in parts):
        return spec  # a folder above has a comma in its name, at which the paths would be split
    return ",".join(parts)


def _make_part_absolute(part: str) -> str:
    if part in NAMES or not part:
        return part
    before, colon, language = part.rpartition(":")
    for text, suffix in ((part, ""), (before, colon + language)):
        path = _expand_user(text)
        if text and path.exists():
            return str(_absolute(path)) + suffix
    return part


def _expand_user(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user; loading the corpus will say so
        return Path(text)


def _absolute(path: Path) -> Path:
    """The absolute path; a link keeps its name, because a corpus is named after its last part."""
    if path.name in ("", ".."):
        return path.resolve()
    return path.parent.resolve() / path.name


def absolute_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a config with absolute paths of both domains, labels and the encoder."""
    changed: dict[str, Any] = {
        key: make_absolute(values[key]) for key in _PATHS if isinstance(values.get(key), str)
    }
    features = values.get("features")
    if isinstance(features, dict) and isinstance(features.get("encoder"), str):
        changed["features"] = features | {"encoder": _absolute_encoder(features["encoder"])}
    return values | changed


def _absolute_encoder(name: str) -> str:
    """A folder of a pretrained encoder by its absolute path; an id of the Hub as it is."""
    folder = _expand_user(name)
    return str(_absolute(folder)) if name and folder.is_dir() else name


def with_absolute_paths(config: Any) -> FrozenConfigDict:
    """A config whose corpora and encoder are found from any current directory."""
    changed: Any = ConfigDict(config.to_dict())
    if "encoder" in changed.features:  # an earlier version has none
        changed.features.encoder = _absolute_encoder(changed.features.encoder)
    for key, spec in absolute_values({key: changed[key] for key in _PATHS}).items():
        changed[key] = spec
    return FrozenConfigDict(changed)
