"""Features larger than the memory given to them stay on disk: a step's utterances are read while the step before trains."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.data.batches import Frames
from jdann.training.step import Batches, Data, Hyper, State

_PIECE = 4  # evaluation batches read at a time


class Stored(NamedTuple):
    """The normalised features of many utterances, on disk."""

    length: np.ndarray  # [utterances] int32, in frames
    window: int  # frames of the longest, or more
    bins: int
    read: Callable[
        [Iterable[int]], Iterator[np.ndarray]
    ]  # of these utterances, [frames, bins] float16 each


class StoredData(NamedTuple):
    """`jdann.training.step.Data`, with the features on disk."""

    source: Stored
    emotion: np.ndarray  # [source utterances] int32
    speaker: np.ndarray  # [source utterances] int32, -1 where unknown
    target: Stored


def gather(stored: Stored, rows: np.ndarray) -> Frames:
    """Reads utterances, `rows` [n] int, to the device: the i-th of the result is the i-th of them."""
    values = np.zeros((len(rows), stored.window, stored.bins), np.float16)
    for place, x in zip(values, stored.read(rows), strict=True):
        place[: len(x)] = x
    start = np.arange(len(rows), dtype=np.int32) * stored.window
    return Frames(jnp.asarray(values.reshape(-1, stored.bins)), start, stored.length[rows])


def batches(
    frames: Frames | Stored, rows: np.ndarray, size: int
) -> Iterator[tuple[Frames, jax.Array]]:
    """What evaluating utterances needs: their features, and an index [batches, size] into these.

    Args:
      frames: of the domain.
      rows: [n] int, the utterances wanted; they are repeated to fill up the last batch, or the last reading.
      size: utterances of a batch.

    Yields:
      All at once where they are on the device, else a few batches at a time, in the order of `rows`.
    """
    if isinstance(frames, Frames):
        yield frames, jnp.asarray(np.resize(rows, (-(-len(rows) // size), size)).astype(np.int32))
        return
    index = jnp.arange(_PIECE * size, dtype=jnp.int32).reshape(_PIECE, size)
    some = np.resize(rows, (-(-len(rows) // index.size), index.size))
    for read in _ahead(lambda piece: gather(frames, piece), some):
        yield read, index


def epoch(
    run: Callable[..., Any],
    state: State,
    keys: jax.Array,
    hyper: Hyper,
    data: Data | StoredData,
    plan: Batches,
    pseudo: jax.Array,
) -> tuple[State, dict[str, Any]]:
    """Runs an epoch of `jdann.training.step.Train.epochs`, whose arguments these are; step by step where `data` is on disk."""
    if isinstance(data, Data):
        return run(state, keys, hyper, data, plan, pseudo)
    steps = (
        Batches(*(np.asarray(rows)[:, [i]] for rows in plan)) for i in range(plan.source.shape[1])
    )  # pyright: ignore
    seen = []
    for some in _ahead(lambda step: one_step(data, step, pseudo), steps):
        state, metrics = run(state, keys, hyper, *some)
        seen.append(
            jax.device_get(metrics)
        )  # waits: no more than the next step's features are held beside this one's
    return state, {name: np.concatenate([of[name] for of in seen], 1) for name in seen[0]}


def one_step(data: StoredData, step: Batches, pseudo: jax.Array) -> tuple[Data, Batches, jax.Array]:
    """What an epoch of this one step [members, 1, batch] reads of the data and of the pseudo-labels [members, target, classes]."""
    source, target = (np.asarray(rows).reshape(-1) for rows in step)  # every member reads its own
    index = jnp.arange(source.size, dtype=jnp.int32).reshape(step.source.shape)
    emotion, speaker = jnp.asarray(data.emotion[source]), jnp.asarray(data.speaker[source])
    part = Data(gather(data.source, source), emotion, speaker, gather(data.target, target))
    return part, Batches(index, index), pseudo[:, target]


def _ahead(make: Callable[[Any], Any], of: Iterable[Any]) -> Iterator[Any]:
    """`make` of each, the next in a thread while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for one in of:
            last, waiting = waiting, pool.submit(make, one)
            if last is not None:
                yield last.result()
        if waiting is not None:
            yield waiting.result()
