"""Groups similar voices in corpora whose speakers are unknown, so that groups are normalised."""

import logging
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdann.cluster.processes import first_ahead
from jdann.data import normalise
from jdann.data.pairs import Domain, with_voice_groups
from jdann.errors import InputError
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.features.prosody import has_two_views
from jdann.features.recipe import VOICE_VECTORS
from jdann.features.store import extract
from jdann.methods import METHODS
from jdann.methods.contract import MakeInitialLabels
from jdann.speakers import encoder_file
from jdann.speakers.clusters import SMALLEST_GROUP, Predict, group_voices
from jdann.speakers.voice_shares import read_voices

log = logging.getLogger("jdann")


def group_unknown_voices(
    source: Domain, target: Domain, config: Any, data_dir: Path
) -> tuple[Domain, Domain]:
    """Groups the voices of each domain in which most speakers are unknown.

    What varies with the emotion is removed from the voice vectors before they are grouped. In the
    source the emotions are its labels; in the target they are predicted by co-training. Target
    labels are not used.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      config: of the run.
      data_dir: where the speaker encoder and its vectors are kept.

    Returns:
      Source and target. A domain is returned unchanged if most of its speakers are known, if the
      config excludes groups, or if the speaker encoder is not available.
    """
    groups_allowed = (
        config.speakers in ("auto", "voice")
        and config.features.normalise == "speaker"
        and has_two_views(source.bins)  # from which emotions are predicted
        # In the inductive protocol, what a new voice gets must not depend on other new voices.
        and config.protocol == "transductive"
    )
    if not groups_allowed:
        return source, target
    labels = _one_hot(source, len(config.emotions))
    source = _grouped(source, config, data_dir, lambda group: labels)
    return source, _grouped(target, config, data_dir, _predictor(source, target, labels))


def _grouped(domain: Domain, config: Any, data_dir: Path, predict: Predict) -> Domain:
    voices, count = domain.voices, len(domain.group)
    if voices is None or voices.speaker_known.mean() > 0.5 or count < 2 * SMALLEST_GROUP:
        return domain
    try:
        vectors = voice_vectors(domain, config, data_dir)
    except InputError as error:
        log.warning("%s: %s", domain.corpus.name, error)
        return domain
    groups = group_voices(vectors, predict)
    heard = read_voices(voices.positions, domain.features.read, domain.bins)
    if not groups.follow_persons(heard):
        note = f"the speaker encoder does not tell the persons apart: {domain.grouping_note}"
        return domain._replace(grouping_note=note)
    note = f"normalised in {groups.count} groups of similar voices, by a speaker encoder"
    if groups.mixed_count:
        note += (
            f"; {groups.mixed_count} of them hold many persons, and each utterance of these is "
            "normalised among similar voices of its group"
        )
    return with_voice_groups(domain, groups.number, groups.is_mixed, note)


def voice_vectors(domain: Domain, config: Any, data_dir: Path) -> np.ndarray:
    """The voice vectors [n, 256] of a domain's utterances, by the speaker encoder.

    Raises:
      InputError: the encoder cannot be fetched, or it cannot use the audio.
    """
    settings = make_feature_settings(config)
    with first_ahead():
        wheel = encoder_file.find_or_fetch(data_dir)
        features = extract(
            domain.corpus,
            recipe_name=VOICE_VECTORS,
            settings={"weights": str(wheel)},
            audio_settings=settings.audio,
            cache=features_folder(data_dir),
        )
    usable = [u.file for u in domain.features.utterances]
    if [u.file for u in features.utterances] != usable:
        raise InputError("the speaker encoder cannot use the same files as the recipe")
    return np.concatenate(list(features.read()))


def _predictor(source: Domain, target: Domain, labels: np.ndarray) -> Predict:
    """Makes a function that predicts the target's emotions by co-training, in closed form."""
    statistics = normalise.fit_speakers(source.features.read, source.group, source.voices)
    is_labelled = labels.sum(1) > 0
    source_features = _normalised(source, statistics, source.group)[is_labelled]
    source_labels = jnp.asarray(labels[is_labelled], jnp.float32)

    def predict(group: np.ndarray) -> np.ndarray:
        names = [str(number) for number in group]
        statistics = normalise.fit(target.features.read(), names)
        target_features = _normalised(target, statistics, names)
        key = jax.random.key(0)
        made = _co_training()(key, source_features, source_labels, target_features)
        return np.asarray(made.labels)

    return predict


@cache
def _co_training() -> MakeInitialLabels:
    """The labels by co-training with its defaults; compiled once for each size of the domains."""
    initial_labels = METHODS["co_training"](least_share=0.0).initial_labels
    assert initial_labels is not None
    return jax.jit(initial_labels)


def _normalised(domain: Domain, statistics: normalise.Statistics, group: Any) -> jax.Array:
    """The normalised features of a domain, [n, values] float32."""
    rows = normalise.apply(statistics, domain.features.read(), group)
    return jnp.asarray(np.concatenate(list(rows)), jnp.float32)


def _one_hot(domain: Domain, classes: int) -> np.ndarray:
    """The labels of a domain as [n, classes]; zeros if an utterance is unlabelled."""
    return (domain.emotion[:, None] == np.arange(classes)).astype(float)
