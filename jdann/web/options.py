"""Reads the options in the query of a request."""

import math
from typing import NamedTuple

from starlette.requests import Request

from jdann import audio
from jdann.web.limits import Refused


class Options(NamedTuple):
    """What a request asks for."""

    one_speaker: bool  # all clips are of one person, to whom the recogniser is adapted
    timeline: bool  # also the emotions over time
    picture: bool  # also the waveform and the mel spectrogram
    window_s: float  # length of a window of the timeline
    hop_s: float  # from the start of one window to the start of the next


def read_options(request: Request, longest_s: float) -> Options:
    """Reads the options in the query of a request.

    Args:
      request: the request.
      longest_s: how much of a clip the recogniser uses, in seconds.

    Raises:
      Refused: an option is unknown or has no sensible value.
    """
    for name in request.query_params:
        if name not in Options._fields:
            known = ", ".join(sorted(Options._fields))
            raise Refused(400, f"{name[:40]!r} is not an option; expected {known}.")
    return Options(
        one_speaker=_switch(request, "one_speaker"),
        timeline=_switch(request, "timeline"),
        picture=_switch(request, "picture"),
        window_s=_seconds(request, "window_s", min(2.0, longest_s), audio.SHORTEST_S, longest_s),
        hop_s=_seconds(request, "hop_s", 0.5, 0.05, 3600.0),
    )


def _switch(request: Request, name: str) -> bool:
    """The value of an option that is true or false; false if it is absent."""
    text = request.query_params.get(name, "false").casefold()
    if text not in ("true", "false", "1", "0", ""):
        raise Refused(400, f"{name} is {text[:40]!r}; expected true or false.")
    return text in ("true", "1")


def _seconds(request: Request, name: str, default: float, lowest: float, highest: float) -> float:
    """The value of an option in seconds; `default` if it is absent."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        expected = f"seconds from {lowest:g} to {highest:g}"
        raise Refused(400, f"{name} is {text[:40]!r}; expected {expected}.")
    return value
