"""Sends clips one by one through channels, before their features are computed."""

import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features import channels
from jdann.features.channel_estimate import LOWEST_HZ, ChannelEstimate
from jdann.parameters import pick


class ClipChannel(NamedTuple):
    """A channel for the clips of a corpus, one clip at a time."""

    identity: str  # equal for channels that do the same; part of the name of cached features
    # From the name of a clip and its samples, float32 [samples], to as many samples
    apply: Callable[[str, np.ndarray], np.ndarray]


def clip_channel(
    identity: str,
    apply: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    sample_rate_hz: int,
) -> ClipChannel:
    """Makes a ClipChannel from one or several channels.

    Args:
      identity: text that differs between channels; it holds all values that the result depends on.
      apply: from a key, samples [1, samples] and their length [1] to samples, with the contract
        of `jdann.features.channels`.
      sample_rate_hz: sampling rate of the clips, Hz.
    """

    def apply_to_clip(name: str, samples: np.ndarray) -> np.ndarray:
        # The random numbers depend on the clip alone, not on the order of the clips.
        key = jax.random.key(zlib.crc32(name.encode("utf-8", "surrogateescape")))
        # The size is a power of two in seconds, so that few shapes are compiled.
        seconds = int(np.ceil(len(samples) / sample_rate_hz))
        size = sample_rate_hz << (seconds - 1).bit_length()
        padded = jnp.asarray(np.pad(samples, (0, size - len(samples))), jnp.float32)[None]
        changed = apply(key, padded, jnp.array([len(samples)], jnp.int32))
        return np.asarray(changed)[0, : len(samples)]

    return ClipChannel(identity, apply_to_clip)


def like_estimate(estimate: ChannelEstimate, sample_rate_hz: int) -> ClipChannel:
    """Makes the channel that an estimate describes.

    Args:
      estimate: the band and the noise of a corpus.
      sample_rate_hz: sampling rate of the clips, Hz.
    """
    rate = {"sample_rate_hz": sample_rate_hz}
    edges = {"low_hz": estimate.low_hz, "high_hz": estimate.high_hz}

    def apply(key: jax.Array, samples: jax.Array, length: jax.Array) -> jax.Array:
        if estimate.is_telephone:
            samples = channels.telephone(key, samples, length, **edges, **rate)
        elif estimate.low_hz or np.isfinite(estimate.high_hz):
            samples = channels.band_limit(key, samples, length, **edges, **rate)
        if not np.isfinite(estimate.snr_db):
            return samples
        # The estimated ratio counts only frequencies above LOWEST_HZ.
        above_hum = channels.band_limit(
            key, samples, length, low_hz=LOWEST_HZ, high_hz=sample_rate_hz / 2, **rate
        )
        noise = {"gain_db": estimate.noise_db, "snr_db": estimate.snr_db}
        noisy = channels.shaped_noise(key, above_hum, length, **noise, **rate)
        return samples + noisy - above_hum

    return clip_channel(f"like {estimate}", apply, sample_rate_hz)


def named_channel(name: str, sample_rate_hz: int) -> ClipChannel:
    """Makes a channel of CHANNELS with its defaults.

    Args:
      name: one of `jdann.features.channels.CHANNELS`.
      sample_rate_hz: sampling rate of the clips, Hz.

    Raises:
      InputError: there is no such channel.
    """
    function = pick(channels.CHANNELS, name, "config.features.channel")
    channel = partial(function, sample_rate_hz=sample_rate_hz)
    return clip_channel(name, channel, sample_rate_hz)
