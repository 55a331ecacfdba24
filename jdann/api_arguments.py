"""Turns the arguments of the functions in `api.py` into a config, domains and folders."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann import corpora
from jdann.configuration import load_config
from jdann.corpora import Naming
from jdann.corpora.index import Corpus
from jdann.data.pairs import Domain, load_domain
from jdann.errors import InputError
from jdann.experiments.layers import with_chosen_layer
from jdann.experiments.memory import (
    Vectors,
    Waveforms,
    classes_of,
    corpus_of_waveforms,
    domain_of_vectors,
    target_labels_of,
)
from jdann.experiments.settings import features_folder, make_feature_settings, naming_of
from jdann.files import default_data_dir

# Vectors have no sampling rate; we use the lowest one allowed, because it needs the least padding.
_VECTOR_RATE_HZ = 1000
# Default recipe for an encoder, used if the caller names no recipe.
_DEFAULT_RECIPES = {
    "conv1d": "frames",
    "resnet50": "frames",
    "mlp": "statistics",
    "pretrained_top": "pretrained_frames",
}
# The argument of `train` or `sweep` that sets a key of the config.
_ARGUMENTS = {
    "source": "source",
    "target": "target",
    "target_labels": "target_labels",
    "methods": "method",
    "seeds": "seeds",
    "encoder.name": "encoder",
    "features.recipe": "recipe",
    "sweep.strength": "strengths",
    "sweep.learning_rate": "learning_rates",
    "sweep.weight_decay": "weight_decays",
}

Source = str | Path | Corpus | Waveforms | Vectors  # a domain, as the caller names or passes it
_IN_MEMORY = (Corpus, Waveforms, Vectors)


def methods_to_train(method: str | Sequence[str] | None, source: Source) -> list[str]:
    """The methods to train; a single one is trained beside source_only."""
    if method is None:
        method = "mcc" if isinstance(source, Vectors) else "co_training"
    if not isinstance(method, str):
        return list(method)
    return [method] if method == "source_only" else ["source_only", method]


def encoder_settings(encoder: str | None, recipe: str | None, source: Source) -> dict[str, Any]:
    """The keys of the config that the two arguments set; neither if both are None."""
    values = {}
    if encoder is not None:
        values["encoder.name"] = encoder
        default = "vectors" if isinstance(source, Vectors) else _DEFAULT_RECIPES.get(encoder)
        recipe = recipe or default
    if recipe is not None:
        values["features.recipe"] = recipe
    return values


def merge_settings(settings: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings together with the values that arguments set.

    Raises:
      InputError: a setting is a key that an argument sets, so that one of the two would be lost.
    """
    for key in settings or {}:
        if key in values or key in ("source", "target"):
            raise InputError(f"settings has {key!r}; give it as the argument {_ARGUMENTS[key]}=")
    return dict(settings or {}) | dict(values)


def configure(config: str, values: Mapping[str, Any], source: Source, target: Source) -> Any:
    """The config with all settings; a domain in memory appears in it by its name.

    Raises:
      InputError: vectors are paired with audio, or they differ in size.
    """
    names = {"source": _spec(source), "target": _spec(target)}
    if names["source"] == names["target"] and isinstance(target, _IN_MEMORY):
        raise InputError(f"source and target are both called {names['source']}; give each a name=")
    overrides = [(key, _as_text(value)) for key, value in (names | dict(values)).items()]
    audio_config: Any = load_config(config, overrides)
    if not isinstance(source, Vectors) and not isinstance(target, Vectors):
        return audio_config
    if not isinstance(source, Vectors) or not isinstance(target, Vectors):
        raise InputError("source and target must both be Vectors, or both be audio")
    sizes = [np.shape(domain.values)[-1] for domain in (source, target)]
    if sizes[0] != sizes[1]:
        raise InputError(f"vectors of {sizes[0]} and of {sizes[1]} values; expected one size")
    _check_vector_settings(values)
    vector_config: Any = ConfigDict(audio_config.to_dict())
    vector_config.emotions = classes_of(source)
    vector_config.features.recipe = "vectors"
    vector_config.features.vector_size = int(sizes[0])
    vector_config.encoder.name = "mlp"
    vector_config.audio.sample_rate_hz = _VECTOR_RATE_HZ
    return FrozenConfigDict(vector_config)


def _check_vector_settings(values: Mapping[str, Any]) -> None:
    """Refuses an encoder or a recipe that vectors cannot use."""
    for key, only in (("encoder.name", "mlp"), ("features.recipe", "vectors")):
        if values.get(key, only) != only:
            raise InputError(
                f"{key}={values[key]}: vectors are trained with {key}={only}; leave it out"
            )


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _spec(domain: Source) -> str:
    """The name of a domain in the config."""
    return domain.name if isinstance(domain, _IN_MEMORY) else str(domain)


def array_name(domain: Source) -> str | None:
    """The name of a domain of arrays; None: it can be read again by its name in the config."""
    return domain.name if isinstance(domain, Waveforms | Vectors) else None


def workdir_or_temporary(
    workdir: str | Path | None,
) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    """The work directory; if the caller names none, also the temporary folder that it is."""
    if workdir is not None:
        return Path(workdir).expanduser(), None
    temporary = tempfile.TemporaryDirectory(prefix="jdann-")
    return Path(temporary.name), temporary


def data_folder_or_default(data_dir: str | Path | None) -> Path:
    """The folder of prepared corpora and cached features; None: that of TFDS."""
    return default_data_dir() if data_dir is None else Path(data_dir).expanduser()


def load_domains(
    source: Source, target: Source, config: Any, data_folder: Path
) -> list[Domain] | None:
    """Loads both domains if at least one of them is in memory; None: the config names both."""
    if not isinstance(source, _IN_MEMORY) and not isinstance(target, _IN_MEMORY):
        return None
    settings, cache = make_feature_settings(config), features_folder(data_folder)
    if isinstance(source, Vectors) and isinstance(target, Vectors):
        return [domain_of_vectors(domain, settings, cache) for domain in (source, target)]
    listed = [
        _as_corpus(domain, settings.emotions, data_folder, naming_of(config, name))
        for domain, name in ((source, "source"), (target, "target"))
        if not isinstance(domain, Vectors)
    ]
    settings = with_chosen_layer(config, listed[0], listed[1], data_folder)
    return [load_domain(corpus, settings, cache) for corpus in listed]


def with_target_labels(
    domains: list[Domain] | None,
    target: Source,
    labels: Sequence[object],
    config: Any,
) -> list[Domain]:
    """The domains, of which the target has the labels that the caller gives.

    Raises:
      InputError: the target is not in memory, so that a table has to name its utterances.
    """
    if domains is None or not isinstance(target, Waveforms | Vectors):
        raise InputError(
            f"target_labels: {len(labels)} labels for {_spec(target)}, which is not in memory; "
            "give a table with the columns `file` and `emotion`"
        )
    source_domain, domain = domains
    naming = naming_of(config, "target")
    rows = target_labels_of(target, labels, domain, config.emotions, naming)
    return [source_domain, domain._replace(target_labels=rows)]


def _as_corpus(
    domain: str | Path | Corpus | Waveforms,
    emotions: Sequence[str],
    data_folder: Path,
    naming: Naming,
) -> Corpus:
    if isinstance(domain, Corpus):
        return domain
    if isinstance(domain, Waveforms):
        return corpus_of_waveforms(domain, emotions, naming)
    return corpora.load_all(str(domain), emotions, data_folder, naming)
