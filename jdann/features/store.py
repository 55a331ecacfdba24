"""The features of a corpus, computed once in batches on the device and cached on disk.

The name of the cached folder is a hash of everything that the features depend on.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann import audio
from jdann.corpora import fingerprint
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.features import speech_part
from jdann.features.clip_channel import ClipChannel
from jdann.features.journal import Journal
from jdann.features.recipe import Recipe, make_recipe, recipe_sizes
from jdann.features.speech_part import DETECTOR_VERSION
from jdann.progress import track

# From a padded length in samples to a compiled (samples, lengths) -> (features, frames).
Program = Callable[[int], Callable[..., tuple[jax.Array, jax.Array]]]

_BATCH = 32  # clips in one call of the recipe
_CALLS = 2  # calls of the recipe at the same time
_DECODED = 4 * _BATCH  # clips that are decoded ahead
_BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled
_PARTIAL = ".partial-"
_STALE_S = 24 * 3600
_VERSION = 3  # part of the hash: raise it when features change
log = logging.getLogger("jdann")


class FeatureSet(NamedTuple):
    """Features of the usable utterances of a corpus, not normalised.

    A vector recipe gives one row of values per utterance.
    """

    utterances: tuple[Utterance, ...]
    path: Path  # the file of values
    bins: int
    start: np.ndarray  # [utterances] int64, first row of each utterance
    length: np.ndarray  # [utterances] int32, frames
    duration_s: np.ndarray  # [utterances] float32, after trimming and cutting
    cut: int  # number of utterances longer than the maximum duration
    skipped: tuple[Skipped, ...]  # those of the corpus, and files that could not be decoded

    def read(self, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Yields the features [frames, bins] float32 of these utterances, by default of all."""
        with self.path.open("rb", buffering=0) as file:
            for row in range(len(self.length)) if rows is None else rows:
                file.seek(4 * self.bins * int(self.start[row]))
                yield np.fromfile(file, np.float32, self.bins * int(self.length[row])).reshape(
                    -1, self.bins
                )


def extract(
    corpus: Corpus,
    *,
    recipe_name: str,
    settings: Mapping[str, Any],
    audio_settings: audio.AudioSettings,
    cache: Path,
    channel: ClipChannel | None = None,
) -> FeatureSet:
    """Computes the features of a corpus, or reads them from the cache.

    The cache does not depend on labels, so a change of labels computes nothing again.

    Args:
      corpus: the utterances to read.
      recipe_name: one of `jdann.features.recipe.RECIPES`. A vector recipe gives one row per
        utterance.
      settings: values for the recipe's parameters; other keys are ignored.
      audio_settings: how the audio is prepared.
      cache: folder of cached features. A finished folder appears in it complete or not at all.
        The partial results of a killed run stay there for a day, and the next run continues them.
      channel: what each clip is sent through before it is trimmed; None: nothing.

    Returns:
      The features of every utterance that could be decoded.
    """
    if corpus.synthetic:  # all of it is speech, and the search misses a few synthesised utterances
        audio_settings = audio_settings._replace(speech_only=False)
    sizes = tuple(
        (size, settings.get(size, default)) for size, default in recipe_sizes(recipe_name).items()
    )
    recipe, program = compiled_recipe(recipe_name, sizes, audio_settings.sample_rate_hz, _BATCH)
    name = cache_name(fingerprint(corpus), recipe_name, settings, audio_settings, channel)
    folder = cache / name
    if folder.exists():
        try:
            return _read(folder, corpus, len(recipe.bins))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s: damaged (%s); the features are computed again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    _remove_stale(cache)
    with _partial(cache, folder.name) as partial:
        if not folder.exists():  # another run may have finished the same features just now
            _write(partial, corpus, recipe, program, audio_settings, channel)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            # Another process was faster and wrote the same features.
            shutil.rmtree(partial, ignore_errors=True)
    return _read(folder, corpus, len(recipe.bins))


def cache_name(
    corpus_fingerprint: str,
    recipe_name: str,
    settings: Mapping[str, Any],
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None = None,
) -> str:
    """The name of the folder that caches the features of a corpus: 20 hexadecimal digits.

    Args:
      corpus_fingerprint: from `jdann.corpora.fingerprint`.
      recipe_name: one of `jdann.features.recipe.RECIPES`.
      settings: as for `extract`.
      audio_settings: as for `extract`.
      channel: as for `extract`.
    """
    # The sizes of "frames" enter the hash of every recipe, used or not: folders that earlier
    # versions wrote keep their names.
    sizes = recipe_sizes("frames") | recipe_sizes(recipe_name)
    recipe_keys = {size: settings.get(size, default) for size, default in sizes.items()}
    recipe_keys["recipe"] = recipe_name
    # The detector of speech matters only where speech is searched.
    audio_keys: dict[str, Any] = audio_settings._asdict()
    if audio_keys.pop("speech_only"):
        audio_keys["speech"] = DETECTOR_VERSION
    parts = [_VERSION, corpus_fingerprint, recipe_keys, audio_keys]
    if channel is not None:
        parts.append(channel.identity)
    key = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:20]


@contextmanager
def _partial(cache: Path, name: str) -> Iterator[Path]:
    """A folder that no other process writes to: that of a killed run, or a new one."""
    partial = cache / f"{_PARTIAL}{name}"
    partial.mkdir(exist_ok=True)
    with (partial / "lock").open("w") as lock:
        if not _locked(lock):  # another run computes the same features now
            partial = cache / f"{_PARTIAL}{name}-{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        try:
            yield partial
        except Exception:  # KeyboardInterrupt is none: the next run continues the folder
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _locked(file: IO[str]) -> bool:
    """Locks a file until it is closed or the process ends; False if another process has it."""
    try:
        import fcntl  # not at the top of the file: Windows has no such module
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@lru_cache(maxsize=2)
def compiled_recipe(
    name: str, sizes: tuple[tuple[str, Any], ...], sample_rate_hz: int, batch: int
) -> tuple[Recipe, Program]:
    """A recipe and its compiled programs, which all corpora of a run share.

    Args:
      name: one of `jdann.features.recipe.RECIPES`.
      sizes: pairs of a parameter of the recipe and its value.
      sample_rate_hz: sampling rate of the signals, Hz.
      batch: clips in one call.

    Returns:
      The Recipe, and a function from a padded length in samples to the program for batches of it.
    """
    recipe = make_recipe(name, dict(sizes), sample_rate_hz)
    jitted = jax.jit(recipe.extract)

    @lru_cache(maxsize=64)
    def program(size: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
        shapes = (
            jax.ShapeDtypeStruct((batch, size), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
        return jitted.lower(*shapes).compile()

    return recipe, program


def _remove_stale(cache: Path) -> None:
    """Removes partial folders that no run has written to for a day."""
    for partial in cache.glob(f"{_PARTIAL}*"):
        try:
            written = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:  # another process removed it
            continue
        if time.time() - written > _STALE_S:
            shutil.rmtree(partial, ignore_errors=True)


def _read(folder: Path, corpus: Corpus, bins: int) -> FeatureSet:
    with np.load(folder / "index.npz") as index:
        indices, start, length = index["kept"], index["start"], index["length"]
        duration_s, cut = index["duration_s"], int(index["cut"])
    reasons = json.loads((folder / "skipped.json").read_text())
    skipped = tuple(Skipped(corpus.utterances[i].file, *reason) for i, *reason in reasons)
    path = folder / "values.f32"
    if path.stat().st_size != 4 * bins * length.sum(dtype=np.int64):
        raise ValueError(f"{path.name} is not as long as the index says")
    utterances = tuple(corpus.utterances[i] for i in indices)
    return FeatureSet(
        utterances, path, bins, start, length, duration_s, cut, (*corpus.skipped, *skipped)
    )


def _write(
    folder: Path,
    corpus: Corpus,
    recipe: Recipe,
    program: Program,
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None,
) -> None:
    with Journal(folder, len(recipe.bins)) as journal:
        if journal.entries:
            log.info(
                "%s: the features of %d of %d utterances are there already",
                corpus.name,
                len(journal.entries),
                len(corpus.utterances),
            )
        _compute(journal, corpus, recipe, program, audio_settings, channel)
        entries = sorted(journal.entries.items())
    usable = [(i, entry) for i, entry in entries if entry.length]
    skipped = [(i, entry.reason, entry.no_speech) for i, entry in entries if not entry.length]
    (folder / "skipped.json").write_text(json.dumps(skipped))  # renamed with its folder
    np.savez(
        folder / "index.npz",
        kept=np.array([i for i, _ in usable], np.int64),
        start=np.array([entry.start for _, entry in usable], np.int64),
        length=np.array([entry.length for _, entry in usable], np.int32),
        duration_s=np.array([entry.duration_s for _, entry in usable], np.float32),
        cut=sum(entry.cut for _, entry in usable),
    )
    (folder / "journal.jsonl").unlink()


def _compute(
    journal: Journal,
    corpus: Corpus,
    recipe: Recipe,
    program: Program,
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None,
) -> None:
    """Computes the features of the utterances that the journal does not have.

    Two batches are computed at the same time, each in a thread of its own. One call of a program
    leaves some cores idle now and then, and JAX runs two calls side by side only from two threads.
    """

    def features(batch: _Batch) -> tuple[np.ndarray, np.ndarray]:
        samples = np.zeros((_BATCH, batch.size), np.float32)
        length = np.ones(_BATCH, np.int32)  # rows without a clip hold one silent sample
        for row, clip in enumerate(batch.clips):
            samples[row, : len(clip.samples)] = clip.samples
            length[row] = len(clip.samples)
        values, frames = program(batch.size)(samples, length)
        return np.asarray(values), np.asarray(frames)

    def keep(batch: _Batch, values: np.ndarray, frames: np.ndarray) -> None:
        for row, (i, clip) in enumerate(zip(batch.indices, batch.clips, strict=True)):
            # Vector recipes return [batch, values]; each utterance is stored as one row.
            x = values[row][None] if recipe.is_vector else values[row, : frames[row]]
            if np.isfinite(x).all():
                journal.add(i, x, len(clip.samples) / recipe.sample_rate_hz, clip.cut)
            else:
                journal.skip(i, "its features are not finite numbers")

    running: deque[tuple[_Batch, Future[tuple[np.ndarray, np.ndarray]]]] = deque()
    with ThreadPoolExecutor(_CALLS) as pool:
        for batch in _batches(journal, corpus, audio_settings, channel):
            program(batch.size)  # compiled here; otherwise both threads might compile it
            running.append((batch, pool.submit(features, batch)))
            if len(running) > _CALLS:
                finished, future = running.popleft()
                keep(finished, *future.result())
        for finished, future in running:
            keep(finished, *future.result())


class _Batch(NamedTuple):
    size: int  # samples to which the clips are padded
    indices: list[int]  # of the utterances in the corpus
    clips: list[audio.Clip]


def _batches(
    journal: Journal,
    corpus: Corpus,
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None,
) -> Iterator[_Batch]:
    """Yields batches of decoded clips of one padded length, each batch as soon as it is full.

    The journal notes the utterances that cannot be decoded.
    """
    waiting: dict[int, _Batch] = {}
    bucket = round(_BUCKET_S * audio_settings.sample_rate_hz)
    missing = [i for i in range(len(corpus.utterances)) if i not in journal.entries]
    decoded = _decoded(corpus, missing, audio_settings, channel)
    for i, clip in track(decoded, f"Features of {corpus.name}", len(missing), "utterances"):
        if isinstance(clip, audio.Rejected):
            journal.skip(i, clip.reason, clip.no_speech)
            continue
        size = -(-len(clip.samples) // bucket) * bucket
        batch = waiting.setdefault(size, _Batch(size, [], []))
        batch.indices.append(i)
        batch.clips.append(clip)
        if len(batch.indices) == _BATCH:
            yield waiting.pop(size)
    yield from waiting.values()


def _decoded(
    corpus: Corpus,
    indices: list[int],
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None,
) -> Iterator[tuple[int, audio.Clip | audio.Rejected]]:
    """Yields the clip of each utterance, or the reason why it cannot be used.

    Threads decode a bounded number of clips ahead.
    """

    def decode(utterance: Utterance) -> audio.Clip | audio.Rejected:
        def change(samples: np.ndarray) -> np.ndarray:
            return samples if channel is None else channel.apply(utterance.file, samples)

        try:
            samples, rate_hz = read_samples(corpus, utterance)
            return speech_part.prepare(samples, rate_hz, audio_settings, change)
        except audio.AudioError as error:
            return audio.rejected(error)
        except (ValueError, RuntimeError) as error:  # a damaged record of a prepared corpus
            return audio.Rejected(f"cannot be read ({error})")

    ahead: deque[Future[audio.Clip | audio.Rejected]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for position, i in enumerate(indices):
                while len(ahead) < min(_DECODED, len(indices) - position):
                    following = indices[position + len(ahead)]
                    ahead.append(pool.submit(decode, corpus.utterances[following]))
                yield i, ahead.popleft().result()
        finally:  # an interrupted run does not wait for clips that it will not use
            pool.shutdown(cancel_futures=True)


def read_samples(corpus: Corpus, utterance: Utterance) -> tuple[np.ndarray, int]:
    """The samples of an utterance, [samples] or [samples, channels], and their rate in Hz."""
    if corpus.read is not None and not utterance.path:  # a prepared corpus
        return corpus.read(utterance)
    return audio.read(utterance.path, utterance.start_s, utterance.end_s)
