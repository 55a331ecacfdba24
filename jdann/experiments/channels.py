"""Sends the source through the channel of the target, so that both have the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jdann import audio
from jdann.data.pairs import Domain, FeatureSettings, load_domain
from jdann.features.channel_estimate import difference, estimate_channel, measure_spectra
from jdann.features.clip_channel import ClipChannel, like_estimate, named_channel
from jdann.features.store import read_samples

_CLIPS = 100  # so many clips of a corpus are enough to estimate its channel
_LONGEST_S = 10.0  # only the beginning of a clip is read


def match_channel(
    source: Domain, target: Domain, settings: FeatureSettings, cache: Path, channel: str
) -> Domain:
    """Changes the source as if it had been recorded through the target's channel. No label is used.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      settings: how features are computed.
      cache: the folder in which features are kept.
      channel: "auto" recognises the channel of the target; "none" leaves the source as it is; or
        one of `jdann.features.channels.CHANNELS`.

    Returns:
      The source with features of the changed audio and a note about it, or the unchanged source.
    """
    if channel == "none" or settings.recipe_name == "vectors":  # these have no audio
        return source
    rate_hz = settings.audio.sample_rate_hz
    if channel != "auto":
        note = f"sent through the channel {channel!r} before its features are computed"
        return _send_through(source, settings, cache, named_channel(channel, rate_hz), note)
    target_estimate, source_estimate = (
        estimate_channel(measure_spectra(_clips(domain, rate_hz), rate_hz))
        for domain in (target, source)
    )
    estimate = difference(target_estimate, source_estimate)
    if estimate.is_clean:
        return source
    note = (
        f"{target.corpus.name} has {estimate.describe()}: the source is sent through the same "
        "channel (--config.features.channel=none leaves it as it is)"
    )
    return _send_through(source, settings, cache, like_estimate(estimate, rate_hz), note)


def _send_through(
    source: Domain, settings: FeatureSettings, cache: Path, channel: ClipChannel, note: str
) -> Domain:
    """Computes the features of the source again, from audio that went through a channel."""
    changed = load_domain(source.corpus, settings, cache, channel)
    return changed._replace(notes=tuple(dict.fromkeys((*changed.notes, note))))


def _clips(domain: Domain, rate_hz: int) -> Iterator[np.ndarray]:
    """Reads clips from all parts of a corpus, with the pauses at their ends."""
    corpus, utterances = domain.corpus, domain.features.utterances
    for index in np.unique(np.linspace(0, len(utterances) - 1, _CLIPS).astype(int)):
        try:
            samples, file_hz = read_samples(corpus, utterances[index])
            yield audio.mono(samples[: int(_LONGEST_S * file_hz)], file_hz, rate_hz)
        except audio.AudioError:  # the clip is silent in its first seconds
            continue
