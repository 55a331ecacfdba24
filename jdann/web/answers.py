"""Answers the uploads of one request by a recogniser."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jdann import audio
from jdann.errors import InputError
from jdann.inference.recogniser import Recogniser
from jdann.web.limits import Limits, Refused
from jdann.web.one_speaker import Decoded, adapt_to_uploads
from jdann.web.options import Options
from jdann.web.picture import draw_clip
from jdann.web.uploads import Upload, unusable

# A longer clip gets a longer hop. Rounding may add one or two windows.
MAX_TIMELINE_WINDOWS = 400


def recognise(
    recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits, options: Options
) -> dict[str, Any]:
    """Recognises the uploads of one request.

    Args:
      recogniser: recognises the clips.
      uploads: one audio file or, with the option `one_speaker`, several.
      limits: the limits of a request.
      options: what the answer contains. If there would be more than 400 windows, `hop_s` is
        increased.

    Returns:
      "file", "emotion", "probabilities" by emotion, "doubt" (a short reason to doubt the answer, or
      None), "duration_s" and "heard_s"; also "timeline" and "picture" if the options ask for them.
      With the option `one_speaker`: "adapted_to", the number of clips to which the recogniser was
      adapted, and "clips". Each of these is such an answer, or has "file" and "error" if the clip
      cannot be used.
      "emotion", "probabilities" and "doubt" are None where a clip holds no speech.

    Raises:
      Refused: nothing can be used, or an option does not fit the uploads or the recogniser.
    """
    try:
        if options.one_speaker:
            return _answer_speaker(recogniser, uploads, limits, options)
        if len(uploads) > 1:
            raise Refused(
                400,
                f"The form has {len(uploads)} files; send one, or add ?one_speaker=true to the "
                "address if all of them are of one person.",
            )
        samples, rate_hz = audio.decode(uploads[0].data, limits.duration_s, limits.values)
        return {"file": uploads[0].name, **_answer(recogniser, samples, rate_hz, options)}
    except audio.TooMuchAudio as error:
        raise Refused(413, unusable(error)) from error
    except (audio.AudioError, InputError) as error:
        raise Refused(422, unusable(error)) from error
    except MemoryError as error:
        sentence = "The server has too little memory for this audio; send less of it."
        raise Refused(413, sentence) from error


def _answer_speaker(
    recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits, options: Options
) -> dict[str, Any]:
    """The answers for clips of one person, adapted to all of them that can be used."""
    speaker = adapt_to_uploads(recogniser, uploads, limits)
    # The limit of windows holds for all clips together.
    decoded = [clip for clip in speaker.clips if isinstance(clip, Decoded)]
    windowed_s = sum(max(0.0, clip.duration_s - options.window_s) for clip in decoded)
    options = options._replace(hop_s=max(options.hop_s, windowed_s / MAX_TIMELINE_WINDOWS))
    answers: list[dict[str, Any]] = []
    reasons: list[str] = []
    for upload, clip in zip(uploads, speaker.clips, strict=True):
        try:
            if isinstance(clip, audio.Rejected):
                raise audio.AudioError(clip.reason)
            answer = _answer(speaker.recogniser, clip.samples, clip.rate_hz, options)
        except (audio.AudioError, InputError) as error:
            answer = {"error": unusable(error)}
            reasons.append(str(error))
        answers.append({"file": upload.name, **answer})
    if len(reasons) == len(uploads) == 1:
        raise Refused(422, unusable(reasons[0]))
    if len(reasons) == len(uploads):
        sentence = f"None of the {len(uploads)} clips can be used; the first one: {reasons[0]}."
        raise Refused(422, sentence)
    return {"adapted_to": speaker.adapted_to, "clips": answers}


def _answer(
    recogniser: Recogniser, samples: np.ndarray, rate_hz: int, options: Options
) -> dict[str, Any]:
    duration_s = len(samples) / rate_hz
    ((_, answer),) = recogniser.answers([samples], rate_hz)
    if isinstance(answer, audio.Rejected):
        raise audio.AudioError(answer.reason)
    row = answer.probabilities
    content: dict[str, Any] = {
        "emotion": None if np.isnan(row).any() else recogniser.labels[int(np.argmax(row))],
        "probabilities": _by_emotion(recogniser, row),
        "doubt": answer.doubt or None,
        "duration_s": round(duration_s, 3),
        "heard_s": round(min(duration_s, longest_s(recogniser)), 3),
    }
    if options.timeline:
        hop_s = max(options.hop_s, (duration_s - options.window_s) / MAX_TIMELINE_WINDOWS)
        windows = recogniser.windows(samples, options.window_s, hop_s, rate_hz)
        content["timeline"] = [
            {
                "start_s": round(start_s, 3),
                "end_s": round(end_s, 3),
                "probabilities": _by_emotion(recogniser, row),
            }
            for start_s, end_s, row in windows
        ]
    if options.picture:
        content["picture"] = draw_clip(samples, rate_hz)
    return content


def _by_emotion(recogniser: Recogniser, row: np.ndarray) -> dict[str, float] | None:
    """Probabilities by emotion; None for a clip or a window that holds no speech."""
    if np.isnan(row).any():
        return None
    return dict(zip(recogniser.labels, map(float, row), strict=True))


def longest_s(recogniser: Recogniser) -> float:
    """How much of a clip the recogniser uses, in seconds."""
    return recogniser.config.audio.max_duration_s
