"""Which layer of a pretrained encoder the features of a direction are taken from."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.cluster.processes import first_ahead, is_first, of_first
from jdann.corpora.index import Corpus
from jdann.data.batches import Frames, take_vectors
from jdann.data.pairs import (
    Domain,
    FeatureSettings,
    check_emotions,
    check_failures,
    load_domain,
    make_direction,
    normalise_domains,
)
from jdann.experiments import workdir
from jdann.experiments.channels import match_channel
from jdann.experiments.matching import match_domains
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.features.feature_set import with_last_columns
from jdann.features.pretrained_recipes import (
    AUTO,
    FLOAT32,
    check_duration,
    encoder_digest,
    find_files,
    layer_columns,
    layer_count,
    layer_numbers,
)
from jdann.features.prosody import PROSODIC
from jdann.files import write_json
from jdann.methods import METHODS
from jdann.methods.contract import InitialLabels
from jdann.pretrained import PRETRAINED, PRETRAINED_RECIPES
from jdann.selection.layers import layer_agreement

log = logging.getLogger("jdann")
_CHOICE_KEYS = ("encoder", "encoder_digest", "encoder_precision", "layers")  # in layers.json
_LEAST_DIFFERENCE = 0.01  # between the best and the worst layer


class Kept(NamedTuple):
    """Where the choice of a run is kept, so that continuing and scoring it choose nothing anew."""

    file: Path  # layers.json in the work directory
    direction: int = 0  # 1: from the target to the source


def with_chosen_layer(
    config: Any, source: Corpus, target: Corpus, data_dir: Path, kept: Kept | None = None
) -> FeatureSettings:
    """The settings of features, with the number of a layer in place of "auto".

    The layer is the one whose discriminant, fitted to the source, agrees most with prosody about
    the target. No label of the target is used. For frames, too, the layers are compared by their
    means and deviations over time. In the inductive protocol the audio of the target is not used,
    either: the layer is the one that is right most often about speakers of the source to whom its
    discriminant was not fitted.

    Args:
      config: of the run.
      source: the labelled corpus.
      target: the corpus to adapt to.
      data_dir: where encoders and cached features are kept.
      kept: where the choice is read, or written before the run begins; None: nowhere.

    Returns:
      The settings, also with the place of the encoder's files and the digest of its weights.

    Raises:
      InputError: the encoder or a corpus cannot be used, or the run has used other weights.
    """
    settings = make_feature_settings(config)
    if settings.recipe_name not in PRETRAINED_RECIPES:
        return settings
    name = settings.recipe_settings["encoder"]
    choice = _read(kept)
    if choice is not None:
        choice = {"encoder_precision": FLOAT32} | choice  # an earlier version kept none
        values = dict(settings.recipe_settings) | {
            key: choice[key] for key in _CHOICE_KEYS if key != "encoder"
        }
        return with_encoder(settings._replace(recipe_settings=values), data_dir)
    settings = with_encoder(settings, data_dir)
    values = dict(settings.recipe_settings)
    if values["layers"] == AUTO:
        if config.protocol == "inductive":
            scores = _scores_of_source(settings, source, config, data_dir)
            reason = "It is right most often about held-out speakers of the source"
        else:
            scores = _scores(settings, source, target, config, data_dir)
            reason = "What it learns from the source agrees most with prosody about the target"
        scores = of_first(scores)  # other processors may round differently
        values["layers"] = str(int(np.argmax(scores)))
        log.info(
            "%s -> %s: layer %s of %s is used", source.name, target.name, values["layers"], name
        )
        listed = " ".join(f"{score:.2f}" for score in scores)
        log.info("%s. No label of the target is used. From layer 0 on: %s", reason, listed)
        if max(scores) - min(scores) < _LEAST_DIFFERENCE:
            log.warning("no layer is better than the others; set --config.features.layers")
    _write(kept, values)
    return settings._replace(recipe_settings=values)


def _read(kept: Kept | None) -> dict[str, str] | None:
    """The choice that a run has kept; None if there is none."""
    if kept is None or not _has_begun(kept) or not kept.file.exists():
        return None
    return workdir.read_json(kept.file).get(str(kept.direction))


def _write(kept: Kept | None, values: Mapping[str, Any]) -> None:
    if kept is None or _has_begun(kept) or not is_first():
        return
    before = workdir.read_json(kept.file) if kept.direction else {}
    choice = {key: values[key] for key in _CHOICE_KEYS}
    kept.file.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept.file, before | {str(kept.direction): choice})


def _has_begun(kept: Kept) -> bool:
    """Whether a run has begun in the work directory; before that, its files are of no run."""
    return (kept.file.parent / workdir.CONFIG).exists()


def with_encoder(settings: FeatureSettings, data_dir: Path) -> FeatureSettings:
    """The settings with the place of a pretrained encoder's files and the digest of its weights.

    Raises:
      InputError: the encoder cannot be used for clips of this rate and duration.
    """
    if settings.recipe_name not in PRETRAINED_RECIPES:
        return settings
    values: dict[str, Any] = dict(settings.recipe_settings)
    with first_ahead():  # the other processes find what the first one has fetched
        values["encoder"] = find_files(values["encoder"], data_dir)
    values["encoder_digest"] = encoder_digest(
        values["encoder"], values["encoder_digest"], settings.audio.sample_rate_hz
    )
    check_duration(values["encoder"], settings.audio.max_duration_s)
    if values["layers"] != AUTO:
        layer_numbers(values["layers"], layer_count(values["encoder"]), values["encoder"])
    return settings._replace(recipe_settings=values)


def _scores(
    settings: FeatureSettings, source: Corpus, target: Corpus, config: Any, data_dir: Path
) -> list[float]:
    """The agreement of each layer with prosody, between domains that are matched as in the run."""
    settings = _beside_prosody(settings)
    domains = [_load_usable(c, settings, features_folder(data_dir)) for c in (source, target)]
    matched = match_domains(domains[0], domains[1], settings, config, data_dir)
    direction = make_direction(*matched, settings)
    labels = _one_hot(direction.source, len(settings.emotions))
    count = len(PROSODIC)
    prosody = (_vectors(direction.source_frames), _vectors(direction.target_frames))
    by_prosody = _label_by_prosody()(
        jax.random.key(0), prosody[0][:, :count], labels, prosody[1][:, :count]
    ).labels
    scores = []
    for columns in _columns_of_layers(settings):
        of_layer = normalise_domains(
            _with_columns(direction.source, columns),
            _with_columns(direction.target, columns),
            settings,
        )
        agreement = layer_agreement(
            _vectors(of_layer.source_frames), labels, _vectors(of_layer.target_frames), by_prosody
        )
        scores.append(float(agreement))
    return scores


def _scores_of_source(
    settings: FeatureSettings, source: Corpus, config: Any, data_dir: Path
) -> list[float]:
    """How often each layer is right about the source, each half judged by the other.

    The halves hold its labelled utterances. They have different speakers, if there are two or more.
    """
    settings = _beside_prosody(settings)
    folder, channel = features_folder(data_dir), config.features.channel
    domain = _load_usable(source, settings, folder)
    check_emotions(domain, settings.emotions)
    if channel != "auto":  # that one is heard from the target
        domain = match_channel(domain, domain, settings, folder, channel)
    labels = _one_hot(domain, len(settings.emotions))
    labelled = np.flatnonzero(domain.emotion >= 0)
    names = [str(domain.speaker[i]) for i in labelled]
    _, speaker = np.unique(names, return_inverse=True)
    if len(set(names)) < 2:
        speaker = np.arange(len(labelled))
    halves = [labelled[speaker % 2 == half] for half in (0, 1)]
    scores = []
    for columns in _columns_of_layers(settings):
        of_layer = _with_columns(domain, columns)
        frames = normalise_domains(of_layer, of_layer, settings).source_frames
        features = _vectors(frames)
        agreements = [
            layer_agreement(features[a], labels[a], features[b], labels[b])
            for a, b in (halves, halves[::-1])
        ]
        scores.append(float(np.mean(agreements)))
    return scores


def _load_usable(corpus: Corpus, settings: FeatureSettings, folder: Path) -> Domain:
    """As `load_domain`; a corpus without a usable clip is refused."""
    domain = load_domain(corpus, settings, folder)
    # The run itself refuses too many failures, after it has listed them in skipped.csv.
    check_failures(domain, max_failed_fraction=1.0)
    return domain


def _beside_prosody(settings: FeatureSettings) -> FeatureSettings:
    """The settings of vectors that hold prosody and one layer."""
    values = dict(settings.recipe_settings) | {"layers": "0", "beside": "prosody"}
    by = settings.normalise_by
    return settings._replace(
        recipe_name=PRETRAINED,
        recipe_settings=values,
        normalise_by="speaker" if by == "utterance" else by,  # vectors have no frames
    )


def _columns_of_layers(settings: FeatureSettings) -> list[list[tuple[int, int]]]:
    """The columns of each layer among those of all layers."""
    encoder = settings.recipe_settings["encoder"]
    return [layer_columns(encoder, str(layer)) for layer in range(layer_count(encoder))]


def _with_columns(domain: Domain, columns: list[tuple[int, int]]) -> Domain:
    """The domain with one layer as its features, in the same groups; `bins` are not renamed."""
    return domain._replace(features=with_last_columns(domain.features, columns))


@cache
def _label_by_prosody() -> Callable[..., InitialLabels]:
    """The labels of co-training's first view; compiled once for each size of the domains."""
    initial_labels = METHODS["co_training"](rounds=0, least_share=0.0).initial_labels
    assert initial_labels is not None
    return jax.jit(initial_labels)


def _vectors(frames: Any) -> jax.Array:
    """The normalised features of all utterances of a vector recipe, [n, values] float32."""
    assert isinstance(frames, Frames)
    return take_vectors(frames, jnp.arange(len(frames.length)))


def _one_hot(domain: Domain, classes: int) -> jax.Array:
    """The labels of a domain as [n, classes]; zeros if an utterance is unlabelled."""
    return jax.nn.one_hot(jnp.asarray(domain.emotion), classes)
