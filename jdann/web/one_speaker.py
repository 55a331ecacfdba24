"""Adapts a recogniser to one person, from the clips of one request.

Nothing about the person is kept: the adapted recogniser ends with the request.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann import audio
from jdann.inference.recogniser import Prepared, Recogniser
from jdann.web.limits import Limits, Refused
from jdann.web.uploads import Upload


class Decoded(NamedTuple):
    """A decoded clip."""

    rate_hz: int
    samples: np.ndarray  # [samples] or [samples, channels] float32

    @property
    def duration_s(self) -> float:
        """How long the clip is, in seconds."""
        return len(self.samples) / self.rate_hz


class Speaker(NamedTuple):
    """The clips of one person, and a recogniser for them."""

    recogniser: Recogniser  # adapted to the person, unless no clip can be used
    clips: list[Decoded | audio.Rejected]  # or why it cannot be decoded, in the order of uploads
    adapted_to: int  # clips


def adapt_to_uploads(recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits) -> Speaker:
    """Adapts a recogniser to the person who speaks in all uploads.

    Args:
      recogniser: any recogniser.
      uploads: audio files of one person. Those that cannot be used are left out.
      limits: the limits of a request; they hold for all clips together.

    Raises:
      Refused: the recogniser cannot adapt, or the clips together are too much audio.
    """
    if not recogniser.can_adapt:
        raise Refused(400, "This model cannot adapt to one person; leave out one_speaker.")
    clips = _decode(uploads, limits)
    prepared = recogniser.prepare(clip for clip in clips if isinstance(clip, Decoded))
    usable = [clip for clip in prepared if isinstance(clip, Prepared)]
    adapted = recogniser.adapt(usable) if usable else recogniser
    return Speaker(adapted, clips, len(usable))


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
