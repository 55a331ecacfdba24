"""The two corpora of a run, ready to train on: features computed, normalised, on the device or read as they are needed."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.corpora.index import Corpus, Skipped
from jdann.data import normalise
from jdann.data.batches import Frames, StoredFrames
from jdann.errors import InputError
from jdann.features.recipe import RECIPES, VECTORS
from jdann.features.store import FeatureSet, extract
from jdann.speakers import similar_voices

log = logging.getLogger("jdann")
_WINDOW_MULTIPLE = 16  # frames


class Domain(NamedTuple):
    """A corpus with its features and, where it has any, its labels."""

    corpus: Corpus
    features: FeatureSet
    emotion: np.ndarray  # [n] int32, index into config.emotions, -1 where unlabelled
    speaker: tuple[str | None, ...]
    group: tuple[str, ...]  # normalised together
    voices: (
        normalise.Voices | None
    )  # by which the groups, where they are speakers or voices, are drawn towards voices alike
    notes: tuple[str, ...]


class Direction(NamedTuple):
    """From one domain to another, normalised; both on the device, or both on disk."""

    source: Domain
    target: Domain
    source_frames: Frames | StoredFrames
    target_frames: Frames | StoredFrames
    statistics: tuple[normalise.Statistics, normalise.Statistics]  # of source and target
    window: int  # frames of the longest utterance, rounded up
    bins: int

    @property
    def name(self) -> str:
        """For messages: "demo:en -> demo:zh"."""
        return f"{self.source.corpus.name} -> {self.target.corpus.name}"


def load_domain(corpus: Corpus, config: Any, data_dir: Path) -> Domain:
    """Computes, or finds, the features of a corpus.

    Args:
      corpus: from `jdann.corpora.load`.
      config: read are emotions, audio and features.
      data_dir: the features are kept in its folder `jdann/features`.
    """
    features = extract(corpus, config.features, config.audio, data_dir / "jdann" / "features")
    known = {name: i for i, name in enumerate(config.emotions)}
    emotion = np.array([known.get(u.emotion or "", -1) for u in features.utterances], np.int32)
    speaker = tuple(u.speaker for u in features.utterances)
    notes = corpus.notes
    if features.cut:
        notes += (
            f"{features.cut} utterances are longer than {config.audio.max_duration_s:g} s and were cut",
        )
    return _grouped(Domain(corpus, features, emotion, speaker, (), None, notes), config)


def _grouped(domain: Domain, config: Any) -> Domain:
    """The domain with what is normalised together, and a note where the user has to know more of it."""
    by = config.features.normalise
    bins = RECIPES[config.features.recipe](
        config.features, config.audio.sample_rate_hz
    ).bins  # not traced again: its sizes did
    group, note = normalise.grouping(by, domain.speaker, similar_voices.known(bins))
    of_voices = None
    if by in ("speaker", "voice") and similar_voices.known(bins) and domain.speaker:
        known = np.array([by == "speaker" and s is not None for s in domain.speaker])
        of_voices = normalise.Voices(
            similar_voices.place(domain.features.read(), bins), known, config.features.relevance
        )
    return domain._replace(
        group=tuple(group), voices=of_voices, notes=(*domain.notes, *((note,) if note else ()))
    )


def check_failures(domain: Domain, max_failed_fraction: float) -> None:
    """Refuses a corpus of which too much could not be used.

    Raises:
      InputError: it names the first such file and its reason.
    """
    skipped: tuple[Skipped, ...] = domain.features.skipped
    usable = len(domain.features.utterances)
    failed = len(skipped) / max(1, len(skipped) + usable)
    if skipped and (failed > max_failed_fraction or not usable):
        raise InputError(
            f"{domain.corpus.name}: {len(skipped)} of {len(skipped) + usable} files cannot be used, the first being "
            f"{skipped[0].file} ({skipped[0].reason}); mend them, or allow more by --config.max_failed_fraction=1"
        )
    if not usable:
        raise InputError(
            f"{domain.corpus.name}: no utterance can be used; give a corpus with audio"
        )


def make_direction(
    source: Domain, target: Domain, config: Any, opposite: Direction | None = None
) -> Direction:
    """Normalises both domains and puts them on the device, where they need no more memory than the config allows.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      config: read are emotions, features and features_gib.
      opposite: from `target` to `source`; its arrays are shared where normalisation does not depend on the direction.

    Raises:
      InputError: the source has fewer than two emotions, or source and target are the same.
    """
    _check_pair(source, target, config.emotions)
    source = _as_the_target(source, target, config)
    bins = source.features.bins
    vector = (
        config.features.recipe in VECTORS
    )  # one row of values becomes as many frames of one bin
    longest = max(int(source.features.length.max()), int(target.features.length.max()))
    window = bins if vector else -(-longest // _WINDOW_MULTIPLE) * _WINDOW_MULTIPLE
    by = config.features.normalise
    groups = source.group, target.group
    if (
        opposite is not None
        and by != "source"
        and groups == (opposite.target.group, opposite.source.group)
    ):
        frames, statistics = (
            (opposite.target_frames, opposite.source_frames),
            opposite.statistics[::-1],
        )
    else:
        of_source = normalise.identity(bins) if by == "none" else _fit(source)
        statistics = (of_source, of_source if by in ("source", "none") else _fit(target))
        rows = sum(int(d.features.length.sum()) for d in (source, target))
        need_gib, room_gib = 2 * rows * bins / 2**30, _room_gib(config.features_gib)  # float16
        stored = not vector and need_gib > room_gib
        if stored:
            log.info(
                "%.2f GiB of features, room for %.2g: they are read from disk as they are needed",
                need_gib,
                room_gib,
            )
        frames = tuple(
            _stored(d, s, window) if stored else _frames(d, s, window, vector)
            for d, s in zip((source, target), statistics, strict=True)
        )
    return Direction(
        source,
        target,
        frames[0],
        frames[1],
        (statistics[0], statistics[1]),
        window,
        1 if vector else bins,
    )


def _as_the_target(source: Domain, target: Domain, config: Any) -> Domain:
    """The source, normalised by voice too where its speakers are known and most of the target's are not: as alike as can be."""
    unknown = [
        sum(s is None for s in domain.speaker) / len(domain.speaker) for domain in (source, target)
    ]
    if (
        config.features.normalise != "speaker"
        or source.voices is None
        or unknown[1] <= 0.5
        or unknown[0] > 0.5
    ):
        return source
    note = f"normalised by voice, as {target.corpus.name} is, whose speakers are unknown"
    log.info("%s: %s", source.corpus.name, note)
    group, _ = normalise.grouping("voice", source.speaker, voices=True)
    nobody = source.voices._replace(known=np.zeros_like(source.voices.known))
    return source._replace(group=tuple(group), voices=nobody, notes=(*source.notes, note))


def _check_pair(source: Domain, target: Domain, emotions: Sequence[str]) -> None:
    present = [name for i, name in enumerate(emotions) if (source.emotion == i).any()]
    if len(present) < 2:
        found = present[0] if present else "none"
        raise InputError(
            f"{source.corpus.name}: the source needs labelled utterances of at least two of {', '.join(emotions)}; "
            f"found {found}: check its emotion column or folders"
        )
    shared = len(_places(source) & _places(target))
    if shared:
        raise InputError(
            f"{source.corpus.name} and {target.corpus.name}: {shared} utterances are the same in source and target, so that the "
            "target's labels would be trained on; take them out of one, or see --config.methods=supervised for one corpus"
        )


def _places(domain: Domain) -> set[tuple[str, float, float | None]]:
    return {
        (os.path.realpath(u.path) if u.path else u.file, u.start_s, u.end_s)
        for u in domain.features.utterances
    }


def _fit(domain: Domain) -> normalise.Statistics:
    return normalise.fit_speakers(domain.features.read, domain.group, domain.voices)


def _room_gib(features_gib: float) -> float:
    """What the features of both domains may take on the device."""
    memory = jax.local_devices()[0].memory_stats() or {}
    return features_gib or memory.get("bytes_limit", 2**31) / 2**31


def _frames(domain: Domain, statistics: normalise.Statistics, window: int, vector: bool) -> Frames:
    features = domain.features
    length = features.length * features.bins if vector else features.length
    end = np.cumsum(length)
    values = np.zeros(
        (end[-1] + (0 if vector else window), 1 if vector else features.bins), np.float16
    )
    utterances = normalise.apply(statistics, features.read(), domain.group)
    for first, last, x in zip(end - length, end, utterances, strict=True):
        values[first:last] = x.reshape(last - first, -1)
    return Frames(jnp.asarray(values), (end - length).astype(np.int32), length)


def _stored(domain: Domain, statistics: normalise.Statistics, window: int) -> StoredFrames:
    def read(rows: Iterable[int]) -> Iterator[np.ndarray]:
        rows = list(rows)
        return normalise.apply(
            statistics, domain.features.read(rows), [domain.group[row] for row in rows]
        )

    return StoredFrames(domain.features.length, window, domain.features.bins, read)
