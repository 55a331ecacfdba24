"""The emotions of a long recording over time, one line per person."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jdann.figures.plots import emotion_colour, empty, in_order, short, tidy

_WIDTH_INCHES = 12.0
_MINUTES_IN_SECONDS = 300.0  # a longer recording has minutes on its axis


class Stretch(NamedTuple):
    """An utterance."""

    speaker: str
    start_s: float
    end_s: float
    emotion: str


def emotions_over_time(stretches: Sequence[Stretch], duration_s: float, title: str) -> Figure:
    """Draws a bar for each utterance, in the colour of its emotion.

    Args:
      stretches: the utterances.
      duration_s: of the recording.
      title: names the recording.

    Returns:
      A figure with a line for each person.
    """
    speakers = list(dict.fromkeys(stretch.speaker for stretch in stretches))
    figure = empty(_WIDTH_INCHES, 1.8 + 0.6 * len(speakers), title)
    axes = tidy(figure.subplots())
    unit_s, unit = (60.0, "minutes") if duration_s > _MINUTES_IN_SECONDS else (1.0, "seconds")
    for stretch in stretches:
        span = (stretch.start_s / unit_s, (stretch.end_s - stretch.start_s) / unit_s)
        place = (speakers.index(stretch.speaker) - 0.35, 0.7)
        axes.broken_barh([span], place, color=emotion_colour(stretch.emotion))
    axes.set_yticks(range(len(speakers)), [short(speaker) for speaker in speakers])
    axes.set_ylim(len(speakers) - 0.5, -0.5)
    axes.set_xlim(0, duration_s / unit_s)
    axes.set_xlabel(unit)
    axes.set_ylabel("speaker")
    emotions = in_order(stretch.emotion for stretch in stretches)
    handles = [Patch(color=emotion_colour(emotion), label=emotion) for emotion in emotions]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False)
    return figure
