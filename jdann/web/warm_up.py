"""Compiles the programs of a recogniser before the first visitor comes."""

import dataclasses
import math
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann.features import speech
from jdann.inference.batches import BUCKET_S
from jdann.inference.recogniser import Prepared, Recogniser
from jdann.web.answers import longest_s
from jdann.web.picture import draw_clip


def warm_up(recogniser: Recogniser) -> None:
    """Compiles the programs for every clip length, so that no visitor has to wait for them.

    Those that adapt to one person are compiled by the first request that needs them: few do, and
    they would double the time of the first start.

    Clips are padded to a multiple of BUCKET_S, and each multiple needs a program of its own. The
    last one holds clips of the longest duration, which may be a fraction of a bucket.
    """
    if recogniser.audio_settings.speech_only:
        speech.compile_all()
    recogniser = _without_speech_detector(recogniser)
    rate_hz, seconds = recogniser.sample_rate_hz, longest_s(recogniser)
    buckets = math.ceil(seconds / BUCKET_S)
    skipped_s = recogniser.config.audio.offset_s  # left out at the start of every clip
    noise_s = skipped_s + max(6.0, buckets * BUCKET_S)
    noise = np.random.default_rng(0).normal(0, 0.1, math.ceil(noise_s * rate_hz))
    noise = noise.astype(np.float32)
    for bucket in range(1, buckets + 1):
        clip_s = skipped_s + bucket * BUCKET_S
        (clip,) = recogniser.prepare([noise[: int(clip_s * rate_hz)]], rate_hz)
        assert isinstance(clip, Prepared)  # noise is a clip that can be used
        list(recogniser.answers([clip]))
    six_seconds = noise[: 6 * rate_hz]
    list(recogniser.windows(six_seconds, min(2.0, seconds), 0.5, rate_hz))
    draw_clip(six_seconds, rate_hz)


def _without_speech_detector(recogniser: Recogniser) -> Recogniser:
    """The recogniser, but it answers all of a clip: the noise below holds no speech."""
    config: Any = ConfigDict(recogniser.config)
    config.audio.speech_only = False
    return dataclasses.replace(recogniser, config=FrozenConfigDict(config))
