"""Adapts a recogniser to one person, from the clips of one request.

Nothing about the person is kept: the adapted recogniser ends with the request.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann import audio
from jdann.inference.recogniser import Recogniser
from jdann.web.uploads import Limits, Refused, Upload, unusable


class Decoded(NamedTuple):
    """A decoded clip."""

    rate_hz: int
    samples: np.ndarray  # [samples] or [samples, channels] float32

    @property
    def duration_s(self) -> float:
        """How long the clip is, in seconds."""
        return len(self.samples) / self.rate_hz


def adapt_to_uploads(
    recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits
) -> tuple[Recogniser, list[Decoded | audio.Rejected]]:
    """Adapts a recogniser to the person who speaks in all uploads.

    Args:
      recogniser: any recogniser.
      uploads: audio files of one person.
      limits: the limits of a request; they hold for all clips together.

    Returns:
      The recogniser, adapted to the clips that can be used; and each clip, or why it cannot be
      used.

    Raises:
      Refused: the recogniser cannot adapt, the clips together are too much audio, or none of them
        can be used.
    """
    if not recogniser.can_adapt:
        raise Refused(400, "This model cannot adapt to one person; leave out one_speaker.")
    clips = _decode(uploads, limits)
    decoded = {i: clip for i, clip in enumerate(clips) if isinstance(clip, Decoded)}
    usable = []
    for i, prepared in zip(decoded, recogniser.prepare(decoded.values()), strict=True):
        if isinstance(prepared, audio.Rejected):
            clips[i] = prepared
        else:
            usable.append(prepared)
    if not usable:
        reasons = [clip.reason for clip in clips if isinstance(clip, audio.Rejected)]
        if len(clips) == 1:
            raise Refused(422, unusable(reasons[0]))
        raise Refused(422, f"None of the {len(clips)} clips can be used; the first: {reasons[0]}.")
    return recogniser.adapt(usable), clips


def _decode(uploads: Sequence[Upload], limits: Limits) -> list[Decoded | audio.Rejected]:
    """Each clip, or why it cannot be decoded.

    Raises:
      Refused: the clips together are too much audio.
    """
    seconds, values = limits.duration_s, limits.values  # how much more is allowed
    clips: list[Decoded | audio.Rejected] = []
    for upload in uploads:
        try:
            samples, rate_hz = audio.decode(upload.data, seconds, values)
        except audio.TooMuchAudio as error:
            raise Refused(
                413,
                "The clips together are too much audio; send fewer or shorter ones, at most "
                f"{limits.duration_s:g} s in all, best as mono at 16000 Hz.",
            ) from error
        except audio.AudioError as error:
            clips.append(audio.Rejected(str(error)))
            continue
        seconds -= len(samples) / rate_hz
        values -= samples.size
        clips.append(Decoded(rate_hz, samples))
    return clips
