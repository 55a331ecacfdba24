"""Targets as people have them, made from labelled corpora, for `trust.py`."""

import zlib
from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

import numpy as np
from labelling_parts import Part, Task
from speakers import hide_speakers, make_task

FEW = 150  # utterances
CONCENTRATION = 0.5  # of the Dirichlet distribution of uneven shares
UNEVEN = 250  # utterances, at most


class TrustTask(NamedTuple):
    """A pair with a changed target, with or without the target's speaker ids."""

    kind: str  # which change
    ids: str  # "known" or "withheld"
    task: Task

    @property
    def name(self) -> str:
        source, target = self.task.source.corpus, self.task.target.corpus
        return f"{source} to {target}, {self.kind}, ids {self.ids}"


def make_tasks(parts: list[Part]) -> Iterator[TrustTask]:
    """All tasks of each ordered pair of corpora."""
    for source, target in permutations(parts, 2):
        task = make_task(source, target)
        targets = {
            "all": task.target,
            f"{FEW} utterances": draw(task.target, FEW),
            "half of the speakers": half_of_speakers(task.target),
            "uneven emotions": draw_dirichlet(task.target, task.emotions),
        }
        for kind, part in targets.items():
            yield TrustTask(kind, "known", task._replace(target=part))
            hidden = task._replace(target=hide_speakers(part))
            if kind != "half of the speakers":
                yield TrustTask(kind, "withheld", hidden)


def _random(part: Part, name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{part.corpus} {name}".encode()))


def draw(part: Part, count: int) -> Part:
    """Some utterances at random."""
    chosen = _random(part, "few").permutation(len(part.utterances))[:count]
    return part.select(sorted(chosen.tolist()))


def half_of_speakers(part: Part) -> Part:
    """The utterances of half of the speakers, at random."""
    speakers = sorted({u.speaker or "" for u in part.utterances})
    chosen = set(_random(part, "half").permutation(speakers)[: len(speakers) // 2].tolist())
    return part.where(lambda u: u.speaker in chosen)


def draw_dirichlet(part: Part, emotions: tuple[str, ...]) -> Part:
    """A random part whose shares of emotions come from a Dirichlet distribution."""
    random = _random(part, "uneven")
    shares = random.dirichlet(np.full(len(emotions), CONCENTRATION))
    counts = random.multinomial(min(UNEVEN, len(part.utterances) // 2), shares)
    kept: list[int] = []
    for emotion, count in zip(emotions, counts, strict=True):
        rows = [i for i, u in enumerate(part.utterances) if u.emotion == emotion]
        kept += random.permutation(rows)[:count].tolist()
    return part.select(sorted(kept))
