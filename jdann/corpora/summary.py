"""What a corpus contains, in numbers, and a fingerprint of its samples."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import soundfile

from jdann import remote
from jdann.corpora.index import Corpus, Utterance
from jdann.progress import track
from jdann.terminal import counted, listed

_MOST_REASONS = 5  # why files are left out, in the notes
Counts = tuple[tuple[str, int], ...]


class Summary(NamedTuple):
    """The column of one corpus in the table of `jdann corpora`; all counts are of utterances."""

    name: str
    description: str
    synthetic: bool
    utterances: int
    labelled: int
    hours: float  # of the utterances whose file could be opened
    unreadable: int  # utterances whose file has no readable header
    emotions: Counts
    speakers: Counts
    languages: Counts
    genders: Counts
    excluded_emotions: Counts
    skipped: int
    notes: tuple[str, ...]


def describe(corpus: Corpus) -> Summary:
    """Counts the utterances of a corpus and adds up their durations from the files' headers.

    In the counts, "unknown" stands for a value that is not known.
    """
    durations_s: list[float] = []
    for utterance in track(corpus.utterances, f"Durations of {corpus.name}", unit="files"):
        duration_s = _duration_s(utterance)
        if duration_s is not None:
            durations_s.append(duration_s)
    utterances = corpus.utterances
    return Summary(
        name=corpus.name,
        description=corpus.description,
        synthetic=corpus.synthetic,
        utterances=len(utterances),
        labelled=sum(u.emotion is not None for u in utterances),
        hours=sum(durations_s) / 3600,
        unreadable=len(utterances) - len(durations_s),
        emotions=_counts(u.emotion for u in utterances),
        speakers=_counts(u.speaker for u in utterances),
        languages=_counts(u.language for u in utterances),
        genders=_counts(u.gender for u in utterances),
        excluded_emotions=corpus.excluded_emotions,
        skipped=len(corpus.skipped),
        notes=(*corpus.notes, *_left_out(corpus)),
    )


def _left_out(corpus: Corpus) -> Iterator[str]:
    """Notes on the files that are left out, by their reason."""
    files: dict[str, list[str]] = {}
    for clip in corpus.skipped:
        files.setdefault(clip.reason, []).append(clip.file)
    for reason, names in list(files.items())[:_MOST_REASONS]:
        yield f"{counted(len(names), 'file')} left out: {listed(names, 3)}: {reason}"
    rest = sum(map(len, list(files.values())[_MOST_REASONS:]))
    if rest:
        yield f"{counted(rest, 'more file')} left out for other reasons"


def _counts(values: Iterable[str | None]) -> Counts:
    return tuple(sorted(Counter("unknown" if value is None else value for value in values).items()))


def _duration_s(utterance: Utterance) -> float | None:
    """The duration of an utterance, not decoded; None: the file's header cannot be read."""
    if utterance.duration_s is not None:
        return utterance.duration_s
    try:
        file_s = soundfile.info(utterance.path).duration
    except (soundfile.SoundFileError, OSError):
        return None
    end_s = file_s if utterance.end_s is None else min(utterance.end_s, file_s)
    return max(end_s - utterance.start_s, 0.0)


def fingerprint(corpus: Corpus) -> str:
    """A hash of everything that determines the samples of a corpus, for caches of features.

    It covers the utterances in their order: file names, sizes, times of change, and where each
    begins and ends. For a prepared corpus it covers its identity. Labels, speakers and languages
    do not change it.

    Returns:
      32 hexadecimal digits.
    """
    digest = hashlib.blake2b(corpus.identity.encode(), digest_size=16)
    urls = (utterance.path for utterance in corpus.utterances)
    remote_states = remote.states(url for url in urls if remote.is_url(url))
    for utterance in corpus.utterances:
        span = f"{utterance.start_s}|{utterance.end_s}"
        state = remote_states.get(utterance.path) or _state(utterance.path)
        line = f"\n{utterance.file}|{span}|{state}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _state(path: str) -> str:
    """What changes when a file changes; "" if there is no path."""
    if not path:
        return ""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of 35,000 files is slow
    except OSError:
        return "absent"
    return f"{status.st_size}|{status.st_mtime_ns}|{os.access(path, os.R_OK)}"
