"""Runs the programs of a model on any number of clips, padded to a few lengths."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jdann.audio import Rejected
from jdann.inference.clips import Prepared
from jdann.inference.model import Adaptation
from jdann.inference.program import Programs

BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled


class ClipOutputs(NamedTuple):
    """The outputs of every member for one clip."""

    logits: np.ndarray  # [members, classes] float32
    representation: np.ndarray  # [members, d] float32
    features: np.ndarray | None  # not normalised, [frames, bins] or [values]; None: not kept


def padded_length(samples: int, sample_rate_hz: int) -> int:
    """The number of samples to which a clip is padded."""
    bucket = round(BUCKET_S * sample_rate_hz)
    return -(-samples // bucket) * bucket


class ClipFeatures(NamedTuple):
    """The features of a clip, not normalised."""

    padded: np.ndarray  # [1, frames, bins], or [1, values] from a vector recipe
    frames: np.ndarray  # [1] int32, valid frames

    @property
    def valid(self) -> np.ndarray:
        """Without padding: [frames, bins], or [1, values] from a vector recipe."""
        return self.padded if self.padded.ndim == 2 else self.padded[0, : self.frames[0]]


def clip_features(programs: Programs, samples: np.ndarray) -> ClipFeatures:
    """The features of a prepared clip, [samples]."""
    padding = padded_length(len(samples), programs.settings.sample_rate_hz) - len(samples)
    padded = np.pad(samples, (0, padding))
    return ClipFeatures(*programs.features(padded[None], np.array([len(samples)], np.int32)))


def all_outputs(
    programs: Programs,
    adaptation: Adaptation,
    clips: Iterable[Prepared | Rejected],
    keep_features: bool = False,
) -> Iterator[tuple[int, ClipOutputs | Rejected]]:
    """The outputs of each clip; up to a batch per padded length is in memory at a time.

    Args:
      programs: programs of the model.
      adaptation: adaptation of the features.
      clips: prepared clips, and rejected ones in their places.
      keep_features: whether the outputs hold the features.

    Yields:
      The position of a clip, not always in order, and its outputs, or the rejected clip itself.
    """
    waiting: dict[int, list[tuple[int, np.ndarray]]] = {}  # by padded length
    for i, clip in enumerate(clips):
        if isinstance(clip, Rejected):
            yield i, clip
            continue
        padded_samples = padded_length(len(clip.samples), programs.settings.sample_rate_hz)
        batch = waiting.setdefault(padded_samples, [])
        batch.append((i, clip.samples))
        if len(batch) == programs.batch:
            del waiting[padded_samples]
            yield from batch_outputs(programs, adaptation, batch, padded_samples, keep_features)
    for padded_samples, batch in waiting.items():
        yield from batch_outputs(programs, adaptation, batch, padded_samples, keep_features)


def batch_outputs(
    programs: Programs,
    adaptation: Adaptation,
    clips: list[tuple[int, np.ndarray]],
    padded_samples: int,
    keep_features: bool = False,
) -> Iterator[tuple[int, ClipOutputs]]:
    """The outputs of up to a batch of clips.

    Up to a quarter of a batch runs one by one. More clips run as one batch, filled up with silence.

    Args:
      programs: programs of the model.
      adaptation: adaptation of the features.
      clips: position and samples of each clip.
      padded_samples: the number of samples to which all of them are padded.
      keep_features: whether the outputs hold the features.

    Yields:
      Position and outputs of each clip.
    """
    step = programs.batch if len(clips) > programs.batch // 4 else 1
    for begin in range(0, len(clips), step):
        part = clips[begin : begin + step]
        samples, length = np.zeros((step, padded_samples), np.float32), np.ones(step, np.int32)
        for row, (_, clip) in enumerate(part):
            samples[row, : len(clip)] = clip
            length[row] = len(clip)
        arrays = tuple(adaptation)
        features = None
        if keep_features or len(adaptation.bias):  # views need no other program for the features
            features, frames = programs.features(samples, length)
            logits, representation = programs.classify(arrays, features, frames)
        else:
            logits, representation = programs.outputs(arrays, samples, length)
        for row, (i, _) in enumerate(part):
            own = None if features is None else features[row]
            yield i, ClipOutputs(logits[:, row], representation[:, row], own)
