"""The features of a corpus, computed once, in batches on the device, and kept on disk under a hash of what they depend on."""

import hashlib
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import FrozenConfigDict

from jdann import audio
from jdann.corpora import fingerprint
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.features.recipe import Extract, Recipe, make_recipe
from jdann.progress import track

_BATCH = 32  # clips in one call of the recipe
_BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled
_PARTIAL = ".partial-"
_STALE_S = 24 * 3600
log = logging.getLogger("jdann")
_VERSION = 1  # part of the hash: raise it when features change


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

    @property
    def values(self) -> np.ndarray:
        """[total_frames, bins] float32, a new memory map each time: what has been read of it leaves memory with it."""
        if not self.path.stat().st_size:
            return np.zeros((0, self.bins), np.float32)
        return np.memmap(self.path, np.float32, "r").reshape(-1, self.bins)


def extract(corpus: Corpus, features_config: Any, audio_config: Any, cache: Path) -> FeatureSet:
    """Computes the features of a corpus, or finds them in the cache.

    Labels are not part of what the cache depends on, so that changing them changes nothing here.

    Args:
      corpus: what to read.
      features_config: `config.features`; names the recipe. A recipe of one vector an utterance gives one row an utterance.
      audio_config: `config.audio`.
      cache: folder of cached features; what is written appears there complete or not at all.

    Returns:
      The features of every utterance that could be decoded.
    """
    recipe, program = _program(FrozenConfigDict(features_config), audio_config.sample_rate_hz)
    recipe_keys = {name: value for name, value in features_config.items() if name != "normalise"}
    key = json.dumps([_VERSION, fingerprint(corpus), recipe_keys, audio_config.to_dict()], sort_keys=True)
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:20]
    if folder.exists():
        try:
            return _read(folder, corpus, len(recipe.bins))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s: damaged (%s); the features are computed again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    partial = cache / f"{_PARTIAL}{folder.name}-{os.getpid()}"
    try:
        partial.mkdir(exist_ok=True)
        _write(partial, corpus, recipe, program, audio_config)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same outcome
                raise
        return _read(folder, corpus, len(recipe.bins))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@lru_cache(maxsize=2)
def _program(features_config: FrozenConfigDict, sample_rate_hz: int) -> tuple[Recipe, Extract]:
    """A recipe and its jitted function: all corpora of a run share them, and what they have compiled."""
    recipe = make_recipe(features_config, sample_rate_hz)
    return recipe, jax.jit(recipe.extract)


def _sweep(cache: Path) -> None:
    """Removes what killed runs left half done long ago."""
    for partial in cache.glob(f"{_PARTIAL}*"):
        if time.time() - partial.stat().st_mtime > _STALE_S:
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
    return FeatureSet(utterances, path, bins, start, length, duration_s, cut, (*corpus.skipped, *skipped))


def _write(folder: Path, corpus: Corpus, recipe: Recipe, program: Extract, audio_config: Any) -> None:
    n = len(corpus.utterances)
    start, length, duration_s = np.zeros(n, np.int64), np.zeros(n, np.int32), np.zeros(n, np.float32)
    reasons: list[tuple[int, str]] = []
    rows = cut = 0
    with (folder / "values.f32").open("wb") as file:
        for indices, clips in _buckets(corpus, audio_config, reasons, recipe.sample_rate_hz):
            samples = np.zeros((_BATCH, clips[0][1]), np.float32)
            sizes = np.ones(_BATCH, np.int32)  # the rows that fill up a batch: one silent sample
            for row, (clip, _) in enumerate(clips):
                samples[row, : len(clip.samples)] = clip.samples
                sizes[row] = len(clip.samples)
                cut += clip.cut
            features, frames = program(jnp.asarray(samples), jnp.asarray(sizes))
            vector = features.shape[2] == 1  # [batch, values, 1]: stored as one row of all values
            for row, i in enumerate(indices):
                x = np.asarray(features[row]).reshape(-1, len(recipe.bins))
                count = 1 if vector else int(frames[row])
                if not np.isfinite(x[:count]).all():
                    reasons.append((i, "its features are not finite numbers"))
                    continue
                file.write(x[:count].tobytes())
                start[i], length[i], duration_s[i] = rows, count, sizes[row] / recipe.sample_rate_hz
                rows += count
        file.flush()
        os.fsync(file.fileno())
    (folder / "skipped.json").write_text(json.dumps(sorted(reasons)))
    kept = np.flatnonzero(length)
    np.savez(folder / "index.npz", kept=kept, start=start[kept], length=length[kept], duration_s=duration_s[kept], cut=cut)


def _buckets(
    corpus: Corpus, audio_config: Any, reasons: list[tuple[int, str]], sample_rate_hz: int
) -> Iterator[tuple[list[int], list[tuple[audio.Clip, int]]]]:
    """Decoded clips in batches of one padded length each, a batch as soon as it is full. Failures go to `reasons`."""
    waiting: dict[int, tuple[list[int], list[tuple[audio.Clip, int]]]] = {}
    bucket = round(_BUCKET_S * sample_rate_hz)
    for i, clip in track(_decoded(corpus, audio_config), f"Features of {corpus.name}", len(corpus.utterances), "utterances"):
        if isinstance(clip, str):
            reasons.append((i, clip))
            continue
        size = -(-len(clip.samples) // bucket) * bucket
        indices, clips = waiting.setdefault(size, ([], []))
        indices.append(i)
        clips.append((clip, size))
        if len(indices) == _BATCH:
            yield waiting.pop(size)
    yield from waiting.values()


def _decoded(corpus: Corpus, audio_config: Any) -> Iterator[tuple[int, audio.Clip | str]]:
    """Each utterance's clip, or the reason why there is none. Threads decode ahead, by a bounded number of clips."""

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

    ahead: dict[int, Future[audio.Clip | str]] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for i in range(len(corpus.utterances)):
            for j in range(max(i, len(ahead) and max(ahead) + 1), min(i + 4 * _BATCH, len(corpus.utterances))):
                ahead[j] = pool.submit(decode, corpus.utterances[j])
            yield i, ahead.pop(i).result()
