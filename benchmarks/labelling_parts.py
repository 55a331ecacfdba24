"""Pairs of domains that are made from parts of two corpora, for `labelling.py`."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jdann.configuration import load_config
from jdann.corpora.index import Utterance
from jdann.data import normalise
from jdann.features.recipe import make_recipe
from jdann.methods.one_speaker import rows_of_speakers
from jdann.speakers import similar_voices
from jdann.speakers.clusters import VoiceGroups

FIVE_EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
SIX_EMOTIONS = (*FIVE_EMOTIONS, "fearful")
RATE_HZ = 16000
UNEVEN_SHARES = ((4, 2, 1, 1, 1), (1, 1, 4, 1, 2), (8, 1, 1, 4, 1))  # of FIVE_EMOTIONS
DRAWS = 3  # of few utterances


class Part(NamedTuple):
    """Some utterances of a corpus."""

    values: np.ndarray  # [n, statistics]
    utterances: tuple[Utterance, ...]
    groups: VoiceGroups | None = None  # in place of speakers; `select` drops them

    @property
    def corpus(self) -> str:
        return self.utterances[0].corpus or ""

    def select(self, indices: list[int]) -> "Part":
        """The utterances with these indices."""
        return Part(self.values[indices], tuple(self.utterances[i] for i in indices))

    def where(self, is_wanted: Callable[[Utterance], bool]) -> "Part":
        """The utterances for which `is_wanted` is true."""
        return self.select([i for i, u in enumerate(self.utterances) if is_wanted(u)])

    def z_scores(self, by: str, relevance: float) -> jnp.ndarray:
        """The statistics [n, statistics], normalised by speaker, voice or corpus."""
        speakers, known = self._speakers(by)
        number = None if self.groups is None else self.groups.number
        group, _ = normalise.grouping(by, speakers, has_pitch=True, is_vector=True)
        vectors = self.values[:, None]  # [n, 1, statistics]: an utterance is one frame
        voices = None
        if by in ("speaker", "voice"):
            voices = normalise.VoicePositions(
                similar_voices.voice_positions(vectors, statistics_names()),
                known,
                relevance,
                number,
            )
        fitted = normalise.fit_speakers(lambda: vectors, group, voices)
        normalised = list(normalise.apply(fitted, vectors, group))
        return jnp.asarray(np.concatenate(normalised), jnp.float32)

    def rows_of_speakers(self, by: str) -> np.ndarray | None:
        """The utterances of each speaker to whom co-training adapts, as it expects them."""
        speakers, known = self._speakers(by)
        _, number = np.unique([speaker or "" for speaker in speakers], return_inverse=True)
        return rows_of_speakers(np.where(known, number, -1))

    def _speakers(self, by: str) -> tuple[list[str | None], np.ndarray]:
        """The speaker or group of each utterance; bool [n], whether it is normalised by it."""
        names = [u.speaker for u in self.utterances]
        if self.groups is None:
            return names, np.array([by == "speaker" and name is not None for name in names])
        number, is_mixed = self.groups
        names: list[str | None] = [
            f"voices {k}, utterance {i}" if is_mixed[i] else f"voices {k}"
            for i, k in enumerate(number)
        ]
        return names, ~is_mixed if by == "speaker" else np.zeros(len(names), bool)


@cache
def statistics_names() -> tuple[str, ...]:
    """The names of the statistics in the recipe."""
    config: Any = load_config("best")
    return make_recipe("statistics", config.features, RATE_HZ).bins


class Task(NamedTuple):
    """A pair of domains whose target is labelled."""

    name: str
    source: Part
    target: Part
    emotions: tuple[str, ...]

    def restricted(self) -> "Task":
        """The same without the utterances of other emotions."""
        source, target = (
            part.where(lambda u: u.emotion in self.emotions) for part in (self.source, self.target)
        )
        return self._replace(source=source, target=target)


def make_tasks(first: Part, second: Part) -> Iterator[Task]:
    """Both directions, uneven targets, few target speakers, and women and men of one corpus."""
    for source, target in ((first, second), (second, first)):
        yield from _tasks_of_direction(source, target)
    for part in (first, second):
        women = part.where(lambda u: u.gender == "female")
        men = part.where(lambda u: u.gender == "male")
        yield Task(f"{part.corpus}, women to men", women, men, FIVE_EMOTIONS)
        yield Task(f"{part.corpus}, men to women", men, women, FIVE_EMOTIONS)


def _tasks_of_direction(source: Part, target: Part) -> Iterator[Task]:
    name = f"{source.corpus} to {target.corpus}"
    yield Task(name, source, target, FIVE_EMOTIONS)
    yield Task(f"{name}, six emotions", source, target, SIX_EMOTIONS)
    for shares in UNEVEN_SHARES:
        uneven = draw_uneven(target, shares)
        task_name = f"{name}, target {':'.join(map(str, shares))}"
        yield Task(task_name, source, uneven, FIVE_EMOTIONS)
    without_surprise = target.where(lambda u: u.emotion != "surprise")
    yield Task(f"{name}, no surprise in the target", source, without_surprise, FIVE_EMOTIONS)
    speakers = sorted({u.speaker or "" for u in target.utterances})
    step = max(4, len(speakers) // 6) if len(speakers) > 4 else 2
    few_speakers = speakers[::step]
    part = target.where(lambda u: u.speaker in few_speakers)
    yield Task(f"{name}, {len(few_speakers)} target speakers", source, part, FIVE_EMOTIONS)


def make_tasks_of_few(first: Part, second: Part) -> Iterator[Task]:
    """Pairs in which each speaker of the target, or of the source, has few utterances."""
    for source, target, counts in ((first, second, (4, 8, 16, 32)), (second, first, (2, 4, 8, 16))):
        name = f"{source.corpus} to {target.corpus}"
        yield Task(name, source, target, FIVE_EMOTIONS)
        for count in counts:
            for draw in range(DRAWS):
                task_name = f"{name}, {count} of each target speaker, draw {draw + 1}"
                yield Task(task_name, source, draw_few(target, count, draw), FIVE_EMOTIONS)
        for count in counts[:2]:
            task_name = f"{name}, {count} of each source speaker"
            yield Task(task_name, draw_few(source, count, 0), target, FIVE_EMOTIONS)


def draw_few(part: Part, count: int, draw: int) -> Part:
    """`count` utterances of each speaker, drawn at random from the five emotions."""
    random, by_speaker = np.random.default_rng(draw), defaultdict(list)
    for i, utterance in enumerate(part.utterances):
        if utterance.emotion in FIVE_EMOTIONS:
            by_speaker[utterance.speaker].append(i)
    drawn = (random.permutation(indices)[:count] for indices in by_speaker.values())
    return part.select(sorted(i for indices in drawn for i in indices))


def draw_uneven(part: Part, shares: tuple[int, ...]) -> Part:
    """A random part whose classes have these shares."""
    random = np.random.default_rng(zlib.crc32(str(shares).encode()))
    classes = [
        [i for i, u in enumerate(part.utterances) if u.emotion == emotion]
        for emotion in FIVE_EMOTIONS
    ]
    unit = min(len(indices) / share for indices, share in zip(classes, shares, strict=True))
    kept: list[int] = []
    for indices, share in zip(classes, shares, strict=True):
        drawn = random.permutation(len(indices))[: int(unit * share)]
        kept += [indices[i] for i in drawn]
    return part.select(sorted(kept))
