"""Targets as people have them, made from labelled corpora, for `trust.py`."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from channels import degraded, make_part
from labelling_parts import FIVE_EMOTIONS, Part, Task
from speakers import extract_vectors, hide_speakers, make_task, with_groups

from jdann import corpora
from jdann.configuration import load_config
from jdann.data.pairs import Domain, FeatureSettings, load_domain
from jdann.experiments.channels import match_channel
from jdann.experiments.settings import features_folder, make_feature_settings

FEW = 150  # utterances
CONCENTRATION = 0.5  # of the Dirichlet distribution of uneven shares
UNEVEN = 250  # utterances, at most
CHANNELS = ("telephone", "white noise, 10 dB")
CLEAN = "clean"
KNOWN, GROUPED, WITHHELD = "known", "grouped by voice", "withheld"


class Loaded(NamedTuple):
    """A corpus through one channel."""

    domain: Domain
    part: Part
    vectors: Part | None  # of the voices; None without a speaker encoder


class TrustTask(NamedTuple):
    """A pair with a changed target, with or without the target's speaker ids."""

    kind: str  # which change
    ids: str  # KNOWN, GROUPED or WITHHELD
    task: Task

    @property
    def name(self) -> str:
        source, target = self.task.source.corpus, self.task.target.corpus
        return f"{source} to {target}, {self.kind}, ids {self.ids}"

    @property
    def by(self) -> str:
        """How both corpora are normalised."""
        return "voice" if self.ids == WITHHELD else "speaker"

    @property
    def by_speaker(self) -> bool:
        """Whether the target is normalised by speaker, or by groups of one voice each."""
        groups = self.task.target.groups
        return self.ids == KNOWN or (groups is not None and bool(np.mean(groups.is_mixed) <= 0.5))

    @property
    def clips_per_speaker(self) -> float:
        """The mean of each speaker or group; 0 if the target is not normalised by speaker."""
        target = self.task.target
        if not self.by_speaker:
            return 0.0
        if target.groups is None:
            return len(target.utterances) / len({u.speaker for u in target.utterances})
        number = target.groups.number[~target.groups.is_mixed]
        return len(number) / len(np.unique(number))


def make_tasks(
    loaded: Mapping[str, Mapping[str, Loaded]], settings: FeatureSettings, folder: Path
) -> Iterator[TrustTask]:
    """All tasks of each ordered pair of corpora, one target corpus after the other.

    Args:
      loaded: the corpora by channel and by name; CLEAN is one of the channels.
      settings: how features are computed.
      folder: where they are kept.
    """
    for target, source in permutations(loaded[CLEAN], 2):
        for channel in loaded:
            start, end = loaded[CLEAN][source], loaded[channel][target]
            matched = match_channel(start.domain, end.domain, settings, folder, "auto")
            task = make_task(make_part(matched), end.part)
            for kind, part in change_target(task, channel).items():
                changed = task._replace(target=part)
                yield TrustTask(kind, KNOWN, changed)
                if kind != "half of the speakers":
                    yield from _without_ids(kind, changed, end.vectors, settings.relevance)


def change_target(task: Task, channel: str) -> dict[str, Part]:
    """The whole target, and parts of it if it is clean."""
    if channel != CLEAN:
        return {channel: task.target}
    return {
        "all": task.target,
        f"{FEW} utterances": draw(task.target, FEW),
        "half of the speakers": half_of_speakers(task.target),
        "uneven emotions": draw_dirichlet(task.target, task.emotions),
    }


def _without_ids(
    kind: str, task: Task, vectors: Part | None, relevance: float
) -> Iterator[TrustTask]:
    """The task without speaker ids, and with groups of voices where there are some."""
    hidden = task._replace(target=hide_speakers(task.target))
    yield TrustTask(kind, WITHHELD, hidden)
    if vectors is not None:
        places = {(u.file, u.start_s) for u in task.target.utterances}
        grouped = with_groups(
            hidden, vectors.where(lambda u: (u.file, u.start_s) in places), relevance
        )
        if grouped.target.groups is not None:
            yield TrustTask(kind, GROUPED, grouped)


def load_channels(
    manifests: Mapping[str, Path], data_dir: Path, channels: Sequence[str]
) -> tuple[dict[str, dict[str, Loaded]], FeatureSettings, Path]:
    """The arguments of `make_tasks`: the corpora as they are, and through channels."""
    settings = make_feature_settings(load_config("best"))._replace(emotions=FIVE_EMOTIONS)
    folder = features_folder(data_dir)
    loaded: dict[str, dict[str, Loaded]] = {channel: {} for channel in (CLEAN, *channels)}
    for name, path in manifests.items():
        clean = corpora.load_all(str(path), FIVE_EMOTIONS, data_dir)
        for channel, of_channel in loaded.items():
            corpus = clean if channel == CLEAN else degraded(clean, channel)
            domain = load_domain(corpus, settings, folder)
            of_channel[name] = Loaded(domain, make_part(domain), extract_vectors(corpus, data_dir))
    return loaded, settings, folder


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
