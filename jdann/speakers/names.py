"""Speakers read from the names of files and folders, and checked against the voices.

Many corpora tell the speaker in each file's path: `DC_a01.wav`, `03a01Fa.wav`, `f1/dis-f1-b1.wav`,
`Actor_07/03-01-05.wav`. The path also tells emotions, sentences and takes. A part of the path is
taken for the speaker only if its groups differ in voice, as groups of speakers do, and do not
differ in expression, as groups of emotions or sentences do.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann.corpora.labels import canonical
from jdann.corpora.no_person import names_no_person
from jdann.errors import InputError
from jdann.speakers.voice_shares import Voices, explained

MINIMUM_FILES = 20
_MOST_FILES_WITHOUT = 0.05  # fraction of the files in which the part may be missing
_SMALLEST_GROUP = 2  # files
_MEAN_GROUP = 4  # files, at least
# Shares of variance that the groups explain. The limits were chosen with RAVDESS, CASIA, SAVEE and
# EmoDB in view; `benchmarks/results/speakers.md` has the figures.
_FORMANT_SHARE = 0.3
_PITCH_SHARE = 0.15
_FINER_GAIN = 0.02  # in the formant's share, that a finer grouping needs
_GENDER = re.compile("f|m|w|female|male|woman|man|women|men|girl|boy")
_FIELD = re.compile(r"[^\W_]+")
_RUN = re.compile(r"\d+|[^\W\d_]+")


class Place(NamedTuple):
    """A part of a path."""

    level: int  # 0: the file's name without suffix; 1: its folder; 2: the folder above; ...
    field: int | None = None  # number of the text between separators; None: the whole name
    run: int | None = None  # number of the run of digits or letters in the field; None: all of it


class NamedSpeakers(NamedTuple):
    """Speakers that the names tell."""

    speaker: tuple[str | None, ...]  # [n]; None: the part is missing in this file's path
    evidence: str  # one sentence for the user


def read_speakers(files: Sequence[str], voices: Voices) -> NamedSpeakers | None:
    """Finds the part of each path that tells the speaker.

    Args:
      files: [n] paths with `/` between folders, relative to their corpus.
      voices: of the same n utterances.

    Returns:
      The speakers; None if no part of the names groups the voices as speakers would.
    """
    if len(files) < MINIMUM_FILES:
        return None
    best, best_share = None, 0.0
    # From few groups to many: a finer grouping has to explain more than the one that it divides.
    for names in sorted(candidates(files), key=lambda names: len(set(names))):
        rows = np.array([name is not None for name in names])
        group = np.unique([name for name in names if name is not None], return_inverse=True)[1]
        shares = explained(voices.select(rows), group)
        holds = (
            _lower_bound(shares.formant, len(group)) >= _FORMANT_SHARE
            and shares.pitch >= _PITCH_SHARE
            and shares.are_of_persons
        )
        if holds and shares.formant > best_share + _FINER_GAIN:
            best, best_share = (names, shares), shares.formant
    if best is None:
        return None
    names, shares = best
    row = next(i for i, name in enumerate(names) if name is not None)
    count = len({name for name in names if name is not None})
    evidence = (
        f"{count} speakers read from the names ({names[row]!r} in {files[row]}): they explain "
        f"{shares.pitch:.0%} of the variance of the pitch's base and {shares.formant:.0%} of the "
        "third formant's"
    )
    return NamedSpeakers(names, evidence)


def match_speakers(
    files: Sequence[str], pattern: str, option: str = "config.speaker_pattern"
) -> NamedSpeakers:
    """Reads the speakers with a regular expression.

    Args:
      files: [n] paths with `/` between folders, relative to their corpus.
      pattern: searched in each path. The speaker is the text of its groups, joined by "-", or
        the whole match if it has no group.
      option: where the user gave the pattern, for messages.

    Raises:
      InputError: the pattern is damaged, matches nothing, finds one speaker in all, or a speaker
        per file.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{option}: {pattern!r} is not a regular expression ({error})") from None
    matches = [expression.search(file) for file in files]
    names = tuple(
        None if match is None else "-".join(g for g in match.groups() if g) or match[0]
        for match in matches
    )
    speakers = {name for name in names if name is not None}
    example = f"; a path is {files[0]}" if files else ""
    if not speakers:
        raise InputError(f"{option}: {pattern!r} matches no file{example}")
    if len(speakers) == 1 and len(files) > 1:
        (only,) = speakers
        raise InputError(
            f"{option}: {pattern!r} finds one speaker, {only!r}, in all files{example}"
        )
    if len(speakers) == len(files) > 1:
        raise InputError(f"{option}: {pattern!r} finds a different speaker in each file{example}")
    missing = names.count(None)
    rest = f"; it does not match {missing} files" if missing else ""
    return NamedSpeakers(
        names, f"{len(speakers)} speakers read from the names by {pattern!r}{rest}"
    )


def candidates(files: Sequence[str]) -> list[tuple[str | None, ...]]:
    """The parts of the paths that could tell a speaker, whatever the voices say.

    A part is left out if it is missing in many files, is the same in all, or differs in nearly
    each. It is also left out if it names emotions, genders or folds, or if another part does that
    groups the files equally. Of parts that group the files equally, the longest text is kept.

    Returns:
      For each part its text in each path; None where a path lacks it.
    """
    parts = [_parts(file) for file in files]
    count = Counter(place for row in parts for place in row)
    same_groups: dict[tuple[int, ...], list[tuple[str | None, ...]]] = {}
    for place, files_with_it in count.items():
        if files_with_it < (1 - _MOST_FILES_WITHOUT) * len(files):
            continue
        names = tuple(row.get(place) for row in parts)
        if _has_groups(names):
            number = {name: i for i, name in enumerate(dict.fromkeys(names))}
            same_groups.setdefault(tuple(number[name] for name in names), []).append(names)
    return [
        max(alternatives, key=lambda names: sum(len(name or "") for name in names))
        for alternatives in same_groups.values()
        if not any(map(_names_no_persons, alternatives))
    ]


def _lower_bound(share_of_variance: float, n: int) -> float:
    """The lower end of the 90 % interval of a share of variance that n values gave.

    Olkin and Finn 1995, "Correlations redux": the large-sample standard error of a squared
    correlation r2 is 2 sqrt(r2) (1 - r2) / sqrt(n).
    """
    error = 2 * np.sqrt(max(share_of_variance, 0.0)) * (1 - share_of_variance) / np.sqrt(n)
    return share_of_variance - 1.64 * error


def _parts(file: str) -> dict[Place, str]:
    """Each part of a path: whole names, fields between separators, runs of digits or letters."""
    *folders, name = file.split("/")
    stem = name.rpartition(".")[0] or name
    parts = {}
    for level, text in enumerate([stem, *reversed(folders)]):
        parts[Place(level)] = text
        fields = _FIELD.findall(text)
        for i, field in enumerate(fields):
            parts[Place(level, i)] = field
            for j, run in enumerate(_RUN.findall(field)):
                parts[Place(level, i, j)] = run
    return parts


def _has_groups(names: Sequence[str | None]) -> bool:
    """Whether the texts are as many and as different as the names of speakers."""
    size = Counter(name for name in names if name is not None)
    total = sum(size.values())
    return 2 <= len(size) <= total / _MEAN_GROUP and min(size.values()) >= _SMALLEST_GROUP


def _names_no_persons(names: Sequence[str | None]) -> bool:
    """Whether the texts are genders, parts of a corpus, or mostly emotions."""
    texts = {name.casefold() for name in names if name is not None}
    emotions = sum(canonical(text) is not None for text in texts if len(text) > 2)
    return (
        all(_GENDER.fullmatch(text) for text in texts)
        or all(names_no_person(text) for text in texts)
        or emotions >= len(texts) / 2
    )
