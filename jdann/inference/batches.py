"""Runs the programs of a model on any number of clips, padded to a few lengths."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jdann.inference.clips import Prepared
from jdann.inference.model import Normaliser
from jdann.inference.program import Programs

BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled


class ClipOutputs(NamedTuple):
    """The outputs of every member for one clip."""

    logits: np.ndarray  # [members, classes] float32
    representation: np.ndarray  # [members, d] float32


def padded_length(samples: int, sample_rate_hz: int) -> int:
    """The number of samples to which a clip is padded."""
    bucket = round(BUCKET_S * sample_rate_hz)
    return -(-samples // bucket) * bucket


def clip_features(programs: Programs, samples: np.ndarray) -> np.ndarray:
    """Features of a prepared clip, not normalised: [frames, bins], or [1, values] of one vector."""
    padding = padded_length(len(samples), programs.settings.sample_rate_hz) - len(samples)
    padded = np.pad(samples, (0, padding))
    features, frames = programs.features(padded[None], np.array([len(samples)], np.int32))
    return features if features.ndim == 2 else features[0, : frames[0]]


def all_outputs(
    programs: Programs, normaliser: Normaliser, clips: Iterable[Prepared | str]
) -> Iterator[tuple[int, ClipOutputs | str]]:
    """The outputs of each clip; only a few clips are in memory at a time.

    Args:
      programs: of the model.
      normaliser: of the features.
      clips: prepared clips, or reasons why a clip cannot be used.

    Yields:
      The position of a clip, not always in order, and its outputs or the reason.
    """
    waiting: dict[int, list[tuple[int, np.ndarray]]] = {}  # by padded length
    for i, clip in enumerate(clips):
        if isinstance(clip, str):
            yield i, clip
            continue
        size = padded_length(len(clip.samples), programs.settings.sample_rate_hz)
        waiting.setdefault(size, []).append((i, clip.samples))
        if len(waiting[size]) == programs.batch:
            yield from batch_outputs(programs, normaliser, waiting.pop(size), size)
    for size, rest in waiting.items():
        yield from batch_outputs(programs, normaliser, rest, size)


def batch_outputs(
    programs: Programs, normaliser: Normaliser, clips: list[tuple[int, np.ndarray]], size: int
) -> Iterator[tuple[int, ClipOutputs]]:
    """The outputs of up to a batch of clips: few run one by one, and more run as a full batch.

    Args:
      programs: of the model.
      normaliser: of the features.
      clips: position and samples of each clip.
      size: the number of samples to which all of them are padded.

    Yields:
      Position and outputs of each clip.
    """
    step = programs.batch if len(clips) > programs.batch // 4 else 1
    for begin in range(0, len(clips), step):
        part = clips[begin : begin + step]
        samples, length = np.zeros((step, size), np.float32), np.ones(step, np.int32)
        for row, (_, clip) in enumerate(part):
            samples[row, : len(clip)] = clip
            length[row] = len(clip)
        logits, representation = programs.outputs(tuple(normaliser), samples, length)
        for row, (i, _) in enumerate(part):
            yield i, ClipOutputs(logits[:, row], representation[:, row])
