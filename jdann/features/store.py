"""The features of a corpus, computed once, in batches on the device, and kept on disk under a hash of what they depend on."""

import hashlib
import json
import logging
import os
import shutil
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import FrozenConfigDict

from jdann import audio
from jdann.corpora import fingerprint
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.features.journal import Journal
from jdann.features.recipe import Recipe, make_recipe
from jdann.progress import track

Program = Callable[
    [int], Callable[..., tuple[jax.Array, jax.Array]]
]  # of a padded length: (samples, lengths) -> features, frames

_BATCH = 32  # clips in one call of the recipe
_CALLS = 2  # of the recipe at a time
_DECODED = 4 * _BATCH  # clips decoded ahead
_BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled
_PARTIAL = ".partial-"
_STALE_S = 24 * 3600
log = logging.getLogger("jdann")
_VERSION = 2  # part of the hash: raise it when features change


class FeatureSet(NamedTuple):
    """Features of the usable utterances of a corpus, not yet normalised."""

    utterances: tuple[Utterance, ...]
    path: Path  # of the values
    bins: int
    start: np.ndarray  # [utterances] int64, each one's first row
    length: np.ndarray  # [utterances] int32, frames
    duration_s: np.ndarray  # [utterances] float32, of what was kept of the audio
    cut: int  # utterances longer than the maximum duration
    skipped: tuple[Skipped, ...]  # the corpus's own, and what could not be decoded

    def read(self, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """The features [frames, bins] float32 of these utterances, by default of all, one after the other."""
        with self.path.open("rb", buffering=0) as file:
            for row in range(len(self.length)) if rows is None else rows:
                file.seek(4 * self.bins * int(self.start[row]))
                yield np.fromfile(file, np.float32, self.bins * int(self.length[row])).reshape(
                    -1, self.bins
                )


def extract(corpus: Corpus, features_config: Any, audio_config: Any, cache: Path) -> FeatureSet:
    """Computes the features of a corpus, or finds them in the cache.

    Labels are not part of what the cache depends on, so that changing them changes nothing here.

    Args:
      corpus: what to read.
      features_config: `config.features`; names the recipe. A recipe of one vector an utterance gives one row an utterance.
      audio_config: `config.audio`.
      cache: folder of cached features; what is written appears there complete or not at all. What a killed run had computed is
        kept aside for a day and continued.

    Returns:
      The features of every utterance that could be decoded.
    """
    recipe, program = _program(
        FrozenConfigDict(features_config), audio_config.sample_rate_hz, _BATCH
    )
    recipe_keys = {
        name: value
        for name, value in features_config.items()
        if name not in ("normalise", "relevance")
    }
    key = json.dumps(
        [_VERSION, fingerprint(corpus), recipe_keys, audio_config.to_dict()], sort_keys=True
    )
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:20]
    if folder.exists():
        try:
            return _read(folder, corpus, len(recipe.bins))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s: damaged (%s); the features are computed again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    with _partial(cache, folder.name) as partial:
        if not folder.exists():  # a run that computed the same may have ended just now
            _write(partial, corpus, recipe, program, audio_config)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same outcome
                raise
            shutil.rmtree(partial, ignore_errors=True)
    return _read(folder, corpus, len(recipe.bins))


@contextmanager
def _partial(cache: Path, name: str) -> Iterator[Path]:
    """A folder to write into that no other process uses: what a killed run left, to be continued, or a new one."""
    partial = cache / f"{_PARTIAL}{name}"
    partial.mkdir(exist_ok=True)
    with (partial / "lock").open("w") as lock:
        if not _locked(lock):  # by a run that is computing the same
            partial = cache / f"{_PARTIAL}{name}-{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        try:
            yield partial
        except Exception:  # an interrupted run is continued next time
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _locked(file: IO[str]) -> bool:
    """Locks a file until it is closed, or the process has ended, and says whether that was possible."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@lru_cache(maxsize=2)
def _program(
    features_config: FrozenConfigDict, sample_rate_hz: int, batch: int
) -> tuple[Recipe, Program]:
    """A recipe, and its compiled program for clips of so many samples: all corpora of a run share what was compiled."""
    recipe = make_recipe(features_config, sample_rate_hz)
    jitted = jax.jit(recipe.extract)

    @lru_cache(maxsize=64)
    def program(size: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
        shapes = (
            jax.ShapeDtypeStruct((batch, size), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
        return jitted.lower(*shapes).compile()

    return recipe, program


def _sweep(cache: Path) -> None:
    """Removes what killed runs left half done long ago."""
    for partial in cache.glob(f"{_PARTIAL}*"):
        try:
            written = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:  # gone meanwhile
            continue
        if time.time() - written > _STALE_S:
            shutil.rmtree(partial, ignore_errors=True)


def _read(folder: Path, corpus: Corpus, bins: int) -> FeatureSet:
    with np.load(folder / "index.npz") as index:
        kept, start, length = index["kept"], index["start"], index["length"]
        duration_s, cut = index["duration_s"], int(index["cut"])
    reasons = json.loads((folder / "skipped.json").read_text())
    skipped = tuple(Skipped(corpus.utterances[i].file, reason) for i, reason in reasons)
    path = folder / "values.f32"
    if path.stat().st_size != 4 * bins * length.sum(dtype=np.int64):
        raise ValueError(f"{path.name} is not as long as the index says")
    utterances = tuple(corpus.utterances[i] for i in kept)
    return FeatureSet(
        utterances, path, bins, start, length, duration_s, cut, (*corpus.skipped, *skipped)
    )


def _write(
    folder: Path, corpus: Corpus, recipe: Recipe, program: Program, audio_config: Any
) -> None:
    with Journal(folder, len(recipe.bins)) as journal:
        if journal.entries:
            log.info(
                "%s: %d of %d utterances are there already",
                corpus.name,
                len(journal.entries),
                len(corpus.utterances),
            )
        _compute(journal, corpus, recipe, program, audio_config)
        entries = sorted(journal.entries.items())
    kept = [(i, entry) for i, entry in entries if entry.length]
    (folder / "skipped.json").write_text(
        json.dumps([(i, entry.reason) for i, entry in entries if not entry.length])
    )
    np.savez(
        folder / "index.npz",
        kept=np.array([i for i, _ in kept], np.int64),
        start=np.array([entry.start for _, entry in kept], np.int64),
        length=np.array([entry.length for _, entry in kept], np.int32),
        duration_s=np.array([entry.duration_s for _, entry in kept], np.float32),
        cut=sum(entry.cut for _, entry in kept),
    )
    (folder / "journal.jsonl").unlink()


def _compute(
    journal: Journal, corpus: Corpus, recipe: Recipe, program: Program, audio_config: Any
) -> None:
    """Features of the utterances that the journal does not have, a few batches at a time, each in a thread of its own.

    One call of a program leaves a core idle now and then; two calls do not, but only from two threads do they run side by side.
    """

    def features(batch: _Batch) -> tuple[np.ndarray, np.ndarray]:
        samples = np.zeros((_BATCH, batch.size), np.float32)
        length = np.ones(_BATCH, np.int32)  # the rows that fill up a batch: one silent sample
        for row, clip in enumerate(batch.clips):
            samples[row, : len(clip.samples)] = clip.samples
            length[row] = len(clip.samples)
        values, frames = program(batch.size)(samples, length)
        return np.asarray(values), np.asarray(frames)

    def keep(batch: _Batch, values: np.ndarray, frames: np.ndarray) -> None:
        for row, (i, clip) in enumerate(zip(batch.indices, batch.clips, strict=True)):
            # Of a recipe of one vector [batch, values, 1] one row of all values is stored.
            x = values[row].reshape(1, -1) if values.shape[2] == 1 else values[row, : frames[row]]
            if np.isfinite(x).all():
                journal.add(i, x, len(clip.samples) / recipe.sample_rate_hz, clip.cut)
            else:
                journal.skip(i, "its features are not finite numbers")

    ahead: deque[tuple[_Batch, Future[tuple[np.ndarray, np.ndarray]]]] = deque()
    with ThreadPoolExecutor(_CALLS) as pool:
        for batch in _buckets(journal, corpus, audio_config, recipe.sample_rate_hz):
            program(batch.size)  # here, or each thread would compile it
            ahead.append((batch, pool.submit(features, batch)))
            if len(ahead) > _CALLS:
                done, future = ahead.popleft()
                keep(done, *future.result())
        for done, future in ahead:
            keep(done, *future.result())


class _Batch(NamedTuple):
    size: int  # samples that clips are padded to
    indices: list[int]  # in the corpus
    clips: list[audio.Clip]


def _buckets(
    journal: Journal, corpus: Corpus, audio_config: Any, sample_rate_hz: int
) -> Iterator[_Batch]:
    """Decoded clips in batches of one padded length each, a batch as soon as it is full. The journal notes what fails."""
    waiting: dict[int, _Batch] = {}
    bucket = round(_BUCKET_S * sample_rate_hz)
    left = [i for i in range(len(corpus.utterances)) if i not in journal.entries]
    for i, clip in track(
        _decoded(corpus, left, audio_config), f"Features of {corpus.name}", len(left), "utterances"
    ):
        if isinstance(clip, str):
            journal.skip(i, clip)
            continue
        size = -(-len(clip.samples) // bucket) * bucket
        batch = waiting.setdefault(size, _Batch(size, [], []))
        batch.indices.append(i)
        batch.clips.append(clip)
        if len(batch.indices) == _BATCH:
            yield waiting.pop(size)
    yield from waiting.values()


def _decoded(
    corpus: Corpus, indices: list[int], audio_config: Any
) -> Iterator[tuple[int, audio.Clip | str]]:
    """The clips of these utterances, or the reason why there is none. Threads decode ahead, by a bounded number of clips."""

    def decode(utterance: Utterance) -> audio.Clip | str:
        try:
            if corpus.read is not None and not utterance.path:  # prepared
                samples, rate = corpus.read(utterance)
            else:
                samples, rate = audio.read(utterance.path, utterance.start_s, utterance.end_s)
            return audio.prepare(samples, rate, audio_config=audio_config)
        except audio.AudioError as error:
            return str(error)
        except (ValueError, RuntimeError) as error:  # a damaged record of a prepared corpus
            return f"cannot be read ({error})"

    ahead: deque[Future[audio.Clip | str]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for position, i in enumerate(indices):
                while len(ahead) < min(_DECODED, len(indices) - position):
                    ahead.append(
                        pool.submit(decode, corpus.utterances[indices[position + len(ahead)]])
                    )
                yield i, ahead.popleft().result()
        finally:  # an interrupted run does not decode what it will not use
            pool.shutdown(cancel_futures=True)
