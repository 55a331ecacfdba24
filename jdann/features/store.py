"""The features of a corpus, computed once in batches on the device and cached on disk.

The name of the cached folder is a hash of everything that the features depend on.
"""

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann import audio, folders
from jdann.corpora import fingerprint
from jdann.corpora.index import Corpus, Utterance
from jdann.errors import InputError
from jdann.features import speech_part
from jdann.features.clip_channel import ClipChannel
from jdann.features.feature_set import (
    DamagedError,
    FeatureSet,
    OpenFile,
    Part,
    index_of,
    join,
    read_features,
    write_features,
)
from jdann.features.journal import Journal, values_name
from jdann.features.pretrained_recipes import (
    FLOAT32,
    LAYER_STATISTICS,
    encoder_digest,
    layer_columns,
)
from jdann.features.recipe import make_recipe, recipe_sizes
from jdann.features.recipe_contract import Recipe
from jdann.features.speech_part import DETECTOR_VERSION
from jdann.pretrained import PRETRAINED
from jdann.progress import track

# From a padded length in samples to a compiled (samples, lengths) -> (features, frames).
Program = Callable[[int], Callable[..., tuple[jax.Array, jax.Array]]]

_BATCH = 32  # clips in one call of a recipe, at most
_CALLS = 2  # calls of the recipe at the same time
_DECODED = 4 * _BATCH  # clips that are decoded ahead
_BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled
_FINISHED = "finished"  # the part of an unfinished folder that is renamed into its place
_VERSION = 3  # part of the hash: raise it when features change
log = logging.getLogger("jdann")


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
        While another process computes the same features, this one waits. The partial results of a
        killed run stay there for a day, and the next run continues them.
      channel: what each clip is sent through before it is trimmed; None: nothing.

    Returns:
      The features of every utterance that could be decoded.
    """
    planned = plan_extractions(
        corpus,
        recipe_name=recipe_name,
        settings=settings,
        audio_settings=audio_settings,
        channel=channel,
    )
    computed = [compute(extraction, cache) for extraction in planned]
    if recipe_name != PRETRAINED:
        return computed[0]
    return join(computed, layer_columns(settings["encoder"], settings["layers"]))


class Extraction(NamedTuple):
    """A corpus, and how its features are computed."""

    corpus: Corpus
    recipe_name: str
    sizes: tuple[tuple[str, Any], ...]  # parameters of the recipe and their values
    audio_settings: audio.AudioSettings
    channel: ClipChannel | None
    name: str  # of the finished folder

    @property
    def compiled(self) -> tuple[Recipe, Program]:
        """The recipe and its programs, which this process compiles once."""
        rate_hz = self.audio_settings.sample_rate_hz
        return compiled_recipe(self.recipe_name, self.sizes, rate_hz, _BATCH)

    @property
    def bins(self) -> int:
        """Columns of the features."""
        return len(self.compiled[0].bins)

    @property
    def dtype(self) -> str:
        """Of the features on disk."""
        return self.compiled[0].dtype


def plan_extraction(
    corpus: Corpus,
    *,
    recipe_name: str,
    settings: Mapping[str, Any],
    audio_settings: audio.AudioSettings,
    channel: ClipChannel | None = None,
) -> Extraction:
    """What `extract` will compute; the arguments are the same."""
    if corpus.synthetic:  # all of it is speech, and the search misses a few synthesised utterances
        audio_settings = audio_settings._replace(speech_only=False)
    sizes = tuple(
        (size, settings.get(size, default)) for size, default in recipe_sizes(recipe_name).items()
    )
    name = cache_name(fingerprint(corpus), recipe_name, settings, audio_settings, channel)
    return Extraction(corpus, recipe_name, sizes, audio_settings, channel, name)


def plan_extractions(
    corpus: Corpus, *, recipe_name: str, settings: Mapping[str, Any], **others: Any
) -> list[Extraction]:
    """The parts of what `extract` will compute; the arguments are the same.

    The recipe of some layers of an encoder takes its values from two folders: the acoustic values,
    if there are any, and those of all layers. So another choice of layers computes nothing.
    """
    names = [recipe_name]
    if recipe_name == PRETRAINED:
        beside = settings.get("beside", "prosody")
        names = [LAYER_STATISTICS] if beside == "none" else [beside, LAYER_STATISTICS]
    return [
        plan_extraction(corpus, recipe_name=name, settings=settings, **others) for name in names
    ]


def compute(extraction: Extraction, parent: Path) -> FeatureSet:
    """As `extract`, of a planned extraction."""

    def write(unfinished: Path, finished: Path) -> None:
        write_computed(unfinished, finished, extraction)

    return find_or_write(extraction, parent, write)


def find_or_write(
    extraction: Extraction, parent: Path, write: Callable[[Path, Path], None]
) -> FeatureSet:
    """The features in a finished folder. If it is missing or damaged, it is written.

    Args:
      extraction: what the folder holds.
      parent: the folder in which it stands.
      write: gets a folder for unfinished work, which survives a kill, and the name of a folder
        that `write_features` will make.
    """
    corpus, folder = extraction.corpus, parent / extraction.name
    columns = extraction.bins, extraction.dtype
    with suppress(DamagedError):
        features = read_features(folder, corpus, *columns)
        if features is not None:
            return features
    folders.remove_stale(parent)
    work = "computed these features"
    while True:  # a second time only without locks, if others replace the folder just now
        with folders.unfinished(
            parent, extraction.name, corpus.name, work, continued=True
        ) as unfinished:
            try:  # another process may have computed them meanwhile
                features = read_features(folder, corpus, *columns)
            except DamagedError as error:
                log.warning("%s: damaged (%s); the features are computed again", folder, error)
                features = None
            if features is None:
                finished = unfinished / _FINISHED
                folders.remove(finished)
                write(unfinished, finished)
                folders.put_in_place(finished, folder)
                features = _read_back(folder, corpus, columns)
        if features is not None:
            return features


def _read_back(folder: Path, corpus: Corpus, columns: tuple[int, str]) -> FeatureSet | None:
    """As `read_features`, of a folder that has just been written."""
    try:
        return read_features(folder, corpus, *columns)
    except DamagedError as error:
        raise InputError(
            f"{folder}: what was written cannot be read back ({error}); "
            "is the disk full or damaged? Choose another --data-dir"
        ) from error


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
    # The sizes of "frames" enter the hash of every recipe of signals, used or not: folders that
    # earlier versions wrote keep their names.
    sizes = recipe_sizes(recipe_name)
    if "encoder" not in sizes:
        sizes = recipe_sizes("frames") | sizes
    recipe_keys = {size: settings.get(size, default) for size, default in sizes.items()}
    recipe_keys["recipe"] = recipe_name
    if "encoder" in recipe_keys:  # the same weights in another place give the same features
        recipe_keys["encoder_digest"] = encoder_digest(recipe_keys.pop("encoder"))
        # Folders of versions that knew float32 only keep their names.
        if recipe_keys["encoder_precision"] == FLOAT32:
            del recipe_keys["encoder_precision"]
    # The detector of speech matters only where speech is searched.
    audio_keys: dict[str, Any] = audio_settings._asdict()
    if audio_keys.pop("speech_only"):
        audio_keys["speech"] = DETECTOR_VERSION
    parts = [_VERSION, corpus_fingerprint, recipe_keys, audio_keys]
    if channel is not None:
        parts.append(channel.identity)
    key = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:20]


@lru_cache(maxsize=4)
def compiled_recipe(
    name: str, sizes: tuple[tuple[str, Any], ...], sample_rate_hz: int, max_batch: int
) -> tuple[Recipe, Program]:
    """A recipe and its compiled programs, which all corpora of a run share.

    Args:
      name: one of `jdann.features.recipe.RECIPES`.
      sizes: pairs of a parameter of the recipe and its value.
      sample_rate_hz: sampling rate of the signals, Hz.
      max_batch: clips in one call, at most.

    Returns:
      The Recipe with the number of clips in each call, and a function from a padded length to the
      program for batches of it.
    """
    recipe = make_recipe(name, dict(sizes), sample_rate_hz)
    recipe = recipe._replace(batch=min(max_batch, recipe.batch))
    weights, jitted = jax.device_put(recipe.weights), jax.jit(recipe.compute)

    @lru_cache(maxsize=64)
    def program(size: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
        shapes = (
            jax.ShapeDtypeStruct((recipe.batch, size), jnp.float32),
            jax.ShapeDtypeStruct((recipe.batch,), jnp.int32),
        )
        return partial(jitted.lower(weights, *shapes).compile(), weights)

    return recipe, program


def write_computed(unfinished: Path, finished: Path, extraction: Extraction) -> None:
    """Computes features and writes them; the folders are those of `find_or_write`."""
    corpus, bins, dtype = extraction.corpus, extraction.bins, extraction.dtype
    with Journal(unfinished, bins, len(corpus.utterances), dtype) as journal:
        if journal.entries:
            log.info(
                "%s: the features of %d of %d utterances are there already",
                corpus.name,
                len(journal.entries),
                len(corpus.utterances),
            )
        _compute(journal, extraction)
    # Utterances of one length were computed together, so their rows are in another order.
    values = OpenFile(unfinished / values_name(dtype))
    write_features(finished, [Part(0, index_of(journal.entries), values)], bins, dtype)


def _compute(journal: Journal, extraction: Extraction) -> None:
    """Computes the features of the utterances that the journal does not have.

    Two batches are computed at the same time, each in a thread of its own. One call of a program
    leaves some cores idle now and then, and JAX runs two calls side by side only from two threads.
    """
    recipe, program = extraction.compiled

    def features(batch: _Batch) -> tuple[np.ndarray, np.ndarray]:
        samples = np.zeros((recipe.batch, batch.size), np.float32)
        length = np.ones(recipe.batch, np.int32)  # rows without a clip hold one silent sample
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
        for batch in _batches(journal, extraction, recipe.batch):
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


def _batches(journal: Journal, extraction: Extraction, count: int) -> Iterator[_Batch]:
    """Yields batches of `count` decoded clips of one padded length, each as soon as it is full.

    The journal notes the utterances that cannot be decoded.
    """
    waiting: dict[int, _Batch] = {}
    corpus = extraction.corpus
    bucket = round(_BUCKET_S * extraction.audio_settings.sample_rate_hz)
    missing = [i for i in range(len(corpus.utterances)) if i not in journal.entries]
    decoded = _decoded(extraction, missing)
    for i, clip in track(decoded, f"Features of {corpus.name}", len(missing), "utterances"):
        if isinstance(clip, audio.Rejected):
            journal.skip(i, clip.reason, clip.no_speech)
            continue
        size = -(-len(clip.samples) // bucket) * bucket
        batch = waiting.setdefault(size, _Batch(size, [], []))
        batch.indices.append(i)
        batch.clips.append(clip)
        if len(batch.indices) == count:
            yield waiting.pop(size)
    yield from waiting.values()


def _decoded(
    extraction: Extraction, indices: list[int]
) -> Iterator[tuple[int, audio.Clip | audio.Rejected]]:
    """Yields the clip of each utterance, or the reason why it cannot be used.

    Threads decode a bounded number of clips ahead.
    """
    corpus, channel = extraction.corpus, extraction.channel

    def decode(utterance: Utterance) -> audio.Clip | audio.Rejected:
        def change(samples: np.ndarray) -> np.ndarray:
            return samples if channel is None else channel.apply(utterance.file, samples)

        try:
            samples, rate_hz = read_samples(corpus, utterance)
            return speech_part.prepare(samples, rate_hz, extraction.audio_settings, change)
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
