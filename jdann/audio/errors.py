"""Why a clip cannot be used."""

from typing import NamedTuple


class AudioError(Exception):
    """Why one audio file cannot be used, in words."""


class TooMuchAudio(AudioError):
    """An audio file is longer, or needs more memory when decoded, than the caller allows."""


class NoSpeech(AudioError):
    """An audio file can be read, but nobody speaks in it."""


class Rejected(NamedTuple):
    """Stands in for a clip that cannot be used, where other clips are still processed."""

    reason: str  # why, in words
    no_speech: bool = False  # the clip can be read, but nobody speaks in it


def rejected(error: AudioError) -> Rejected:
    """What stands in for a clip that raised this error."""
    return Rejected(str(error), isinstance(error, NoSpeech))
