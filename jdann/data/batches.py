"""Batches of the two domains: labelled source, unlabelled target.

The features of a corpus lie on the device (`Frames`) or, where they are too large, on disk
(`StoredFrames`). Each training step takes one batch of each domain from there. A target batch has
no label field, so no code after this file can see a target label.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jdann.cluster.mesh import place_parts, split_batch

R = TypeVar("R")

_BATCHES_PER_READ = 4  # evaluation batches that are read from disk at a time
# What a batch holds before the network has encoded it: an empty NumPy array, because importing this
# module must not start a device.
NOT_ENCODED: jax.Array = np.zeros((0, 0), np.float32)  # pyright: ignore[reportAssignmentType]


class Source(NamedTuple):
    """A batch of the source domain, from the loader to the loss."""

    # [batch, frames, bins], zero beyond the length; or [batch, values] of vectors; not augmented
    features: jax.Array
    length: jax.Array  # [batch] int32, frames
    emotion: jax.Array  # [batch] int32, index into the emotions
    speaker: jax.Array  # [batch] int32, -1 where the speaker is unknown
    representation: jax.Array = NOT_ENCODED  # [batch, d], of augmented features
    logits: jax.Array = NOT_ENCODED  # [batch, classes], of augmented features


class Target(NamedTuple):
    """A batch of the target domain, from the loader to the loss. There is no label field."""

    # [batch, frames, bins], zero beyond the length; or [batch, values] of vectors; not augmented
    features: jax.Array
    length: jax.Array  # [batch] int32, frames
    pseudo_labels: jax.Array  # [batch, classes], each row a distribution times a weight, or zero
    representation: jax.Array = NOT_ENCODED  # [batch, d], of augmented features
    logits: jax.Array = NOT_ENCODED  # [batch, classes], of augmented features


class Frames(NamedTuple):
    """The features of many utterances, one after the other, on the device.

    Memory grows with the total length of the speech, not with the longest utterance.
    """

    values: jax.Array | np.ndarray  # [frames + window, bins] float16, the last `window` rows zero
    start: jax.Array | np.ndarray  # [utterances] int32, first row of each utterance
    length: jax.Array | np.ndarray  # [utterances] int32, frames


class StoredFrames(NamedTuple):
    """The normalised features of many utterances, on disk."""

    length: np.ndarray  # [utterances] int32, frames
    window: int  # frames; no utterance is longer
    bins: int
    read: Callable[[Iterable[int]], Iterator[np.ndarray]]
    # (indices of utterances) -> the features of each, [frames, bins] float16


class ReadBatch(NamedTuple):
    """The features of the utterances of one step, which were read from disk in the order needed."""

    values: jax.Array  # [batch, window, bins] float16, zero beyond the length
    length: jax.Array  # [batch] int32, frames


class TrainingData(NamedTuple):
    """What a training learns from. There is no field for the target's labels.

    The utterances of `Split.labelled`, whose labels the user gives, are the last ones of `source`.
    """

    source: Frames | StoredFrames
    emotion: jax.Array | np.ndarray  # [source utterances] int32
    speaker: jax.Array | np.ndarray  # [source utterances] int32, -1 where unknown
    target: Frames | StoredFrames


class StepData(NamedTuple):
    """What one step learns from, where the features are on disk."""

    source: ReadBatch
    emotion: jax.Array | np.ndarray  # [batch] int32
    speaker: jax.Array | np.ndarray  # [batch] int32, -1 where unknown
    target: ReadBatch


class BatchIndices(NamedTuple):
    """Which utterances each step of an epoch sees."""

    source: jax.Array | np.ndarray  # [steps, batch] int32
    target: jax.Array | np.ndarray  # [steps, batch] int32


def take(
    frames: Frames | ReadBatch,
    index: jax.Array,
    window: int | None,
    offset: jax.typing.ArrayLike = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Gathers a batch of utterances and pads them with zeros to a common length.

    With several devices, each of them gathers its own part of the batch.

    Args:
      frames: the features of all utterances, or of this batch.
      index: [batch] int32, the utterances wanted; a `ReadBatch` holds them in this order already.
      window: frames of the batch; static. Of a longer utterance a part of this length is taken.
        None: each utterance is one vector, a single row of `frames`.
      offset: [batch] or scalar in [0, 1): where that part begins, from the first possible frame (0)
        to the last possible one.

    Returns:
      features [batch, window, bins] float32, or [batch, values] of vectors, and length [batch]
      int32.
    """
    index = split_batch(index)
    if window is None:
        assert isinstance(frames, Frames)  # vectors are never left on disk
        return split_batch(take_vectors(frames, index)), jnp.ones(len(index), jnp.int32)
    if isinstance(frames, ReadBatch):
        start, length = jnp.zeros_like(frames.length), frames.length
    else:
        start, length = jnp.asarray(frames.start)[index], jnp.asarray(frames.length)[index]
    starts = (jnp.maximum(length - window, 0) + 1).astype(jnp.float32)  # how many there are
    start += jnp.floor(offset * starts).astype(start.dtype)
    length = jnp.minimum(length, window)
    rows = start[:, None] + jnp.arange(window)[None]  # [batch, window]
    if isinstance(frames, ReadBatch):
        values = jnp.take_along_axis(frames.values, rows[..., None], 1, mode="clip")
    else:
        values = jnp.asarray(frames.values)[rows]
    features = split_batch(values.astype(jnp.float32))  # [batch, window, bins]
    valid = jnp.arange(window)[None] < length[:, None]
    return jnp.where(valid[..., None], features, 0.0), length


def take_vectors(frames: Frames, index: jax.Array | np.ndarray) -> jax.Array:
    """Gathers utterances [n] that are one vector each, as float32 [n, values]."""
    rows = jnp.asarray(frames.start)[index]
    return jnp.asarray(frames.values)[rows].astype(jnp.float32)


def append(
    frames: Frames | StoredFrames, more: Frames | StoredFrames, rows: np.ndarray
) -> Frames | StoredFrames:
    """Adds some utterances of another domain after all utterances of a domain.

    Args:
      frames: the domain.
      more: the other domain, in the same place: both on the device, or both on disk.
      rows: [k] int, the utterances of `more` to add; with none, `frames` is returned.
    """
    if not len(rows):
        return frames
    length = np.concatenate([frames.length, np.asarray(more.length)[rows]])
    if isinstance(frames, StoredFrames):
        assert isinstance(more, StoredFrames)
        return frames._replace(length=length, read=_read_both(frames, more, rows))
    assert isinstance(more, Frames)
    starts, lengths = np.asarray(more.start)[rows], np.asarray(more.length)[rows]
    taken = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)])
    window = len(frames.values) - int(frames.start[-1] + frames.length[-1])
    padding = jnp.zeros((window, frames.values.shape[1]), jnp.float16)
    values = jnp.concatenate([frames.values, more.values[taken], padding])
    start = len(frames.values) + np.cumsum(lengths) - lengths
    return Frames(values, np.concatenate([frames.start, start]).astype(np.int32), length)


def _read_both(
    frames: StoredFrames, more: StoredFrames, rows: np.ndarray
) -> Callable[[Iterable[int]], Iterator[np.ndarray]]:
    """Reads utterances of a domain and, behind them, those of another one."""
    count = len(frames.length)

    def read(wanted: Iterable[int]) -> Iterator[np.ndarray]:
        wanted = list(wanted)
        first = frames.read([row for row in wanted if row < count])
        second = more.read([int(rows[row - count]) for row in wanted if row >= count])
        return (next(first if row < count else second) for row in wanted)

    return read


def epoch_order(
    index: np.ndarray, group: np.ndarray, steps: int, batch_size: int, seed: Sequence[int]
) -> np.ndarray:
    """Decides which utterances make up each step of an epoch.

    Each group is shuffled and passed through as often as needed. All groups have equal parts of
    each step, up to one utterance.

    Args:
      index: [n] int, the utterances to draw from, n >= 1.
      group: [n] int, the group of each utterance: its corpus, where there are several sources.
      steps: steps of the epoch.
      batch_size: utterances in a step.
      seed: names this epoch's order, e.g. (run seed, domain, epoch); the same seed gives the same
        order.

    Returns:
      [steps, batch_size] int32. Within a group each utterance is drawn once before any is drawn
      again.
    """
    random = np.random.default_rng(list(seed))
    groups = np.unique(group)
    # Which group each place of the epoch is for.
    places = np.resize(np.arange(len(groups)), steps * batch_size)
    order = np.empty(steps * batch_size, np.int32)
    for i, name in enumerate(groups):
        rows, wanted = index[group == name], np.flatnonzero(places == i)
        passes = -(-len(wanted) // len(rows))
        shuffled = np.concatenate([random.permutation(rows) for _ in range(passes)])
        order[wanted] = shuffled[: len(wanted)]
    return order.reshape(steps, batch_size)


def read_frames(stored: StoredFrames, rows: np.ndarray) -> Frames:
    """Reads utterances from disk to the device.

    Args:
      stored: the features on disk.
      rows: [n] int, the utterances wanted.

    Returns:
      Frames of n utterances, in the order of `rows`.
    """
    values = _read_padded(stored, rows)
    start = np.arange(len(rows), dtype=np.int32) * stored.window
    return Frames(jnp.asarray(values.reshape(-1, stored.bins)), start, stored.length[rows])


def read_step(
    data: TrainingData, step: BatchIndices, pseudo_labels: np.ndarray, mesh: Mesh
) -> tuple[StepData, BatchIndices, np.ndarray]:
    """Reads what one step needs of features that are on disk.

    Args:
      data: with `StoredFrames`.
      step: the utterances of this step, [members, 1, batch] each.
      pseudo_labels: [members, target utterances, classes].
      mesh: the devices. A process reads those utterances that its devices train on.

    Returns:
      What an epoch of this one step takes. All arrays have a leading axis of members, because
      every member reads utterances of its own.
    """
    assert isinstance(data.source, StoredFrames) and isinstance(data.target, StoredFrames)
    source, target = (np.asarray(rows)[:, 0] for rows in step)  # [members, batch]
    part = StepData(
        _read_batch(data.source, source, mesh),
        np.asarray(data.emotion)[source],
        np.asarray(data.speaker)[source],
        _read_batch(data.target, target, mesh),
    )
    index = np.broadcast_to(np.arange(source.shape[1], dtype=np.int32), np.shape(step.source))
    labels = np.take_along_axis(pseudo_labels, target[..., None], 1)
    return part, BatchIndices(index, index), labels


def _read_batch(stored: StoredFrames, rows: np.ndarray, mesh: Mesh) -> ReadBatch:
    """The utterances `rows` [members, batch], divided over the devices."""

    def read(part: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
        wanted = rows[part]
        values = _read_padded(stored, wanted.reshape(-1))
        shape = (*wanted.shape, stored.window, stored.bins)
        return values.reshape(shape), stored.length[wanted].astype(np.int32)

    return ReadBatch(*place_parts(mesh, rows.shape, read))


def _read_padded(stored: StoredFrames, rows: np.ndarray) -> np.ndarray:
    """The features of utterances [n, window, bins] float16, zero beyond their length."""
    values = np.zeros((len(rows), stored.window, stored.bins), np.float16)
    for place, features in zip(values, stored.read(rows), strict=True):
        place[: len(features)] = features
    return values


def evaluation_batches(
    frames: Frames | StoredFrames, rows: np.ndarray, batch_size: int
) -> Iterator[tuple[Frames, jax.Array]]:
    """Yields the features of utterances, and an index [batches, batch] into them.

    Args:
      frames: of a domain.
      rows: [n] int, the utterances wanted. They are repeated to fill the last batch or reading.
      batch_size: utterances of a batch.

    Yields:
      All utterances at once where they are on the device, else a few batches at a time, in the
      order of `rows`.
    """
    if isinstance(frames, Frames):
        shape = (-(-len(rows) // batch_size), batch_size)
        yield frames, jnp.asarray(np.resize(rows, shape).astype(np.int32))
        return
    index = jnp.arange(_BATCHES_PER_READ * batch_size, dtype=jnp.int32)
    index = index.reshape(_BATCHES_PER_READ, batch_size)
    readings = np.resize(rows, (-(-len(rows) // index.size), index.size))
    for part in read_ahead(lambda reading: read_frames(frames, reading), readings):
        yield part, index


def read_ahead(read: Callable[[Any], R], places: Iterable[Any]) -> Iterator[R]:
    """Yields `read(place)` of each place; the next one is read in a thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for place in places:
            previous, waiting = waiting, pool.submit(read, place)
            if previous is not None:
                yield previous.result()
        if waiting is not None:
            yield waiting.result()
