"""The options of `jdann predict`."""

from pathlib import Path
from typing import NamedTuple

from jdann.errors import InputError


class Options(NamedTuple):
    """The options of the command line."""

    timeline: bool = False
    window_s: float = 3.0
    hop_s: float = 1.0
    abstain: float = 0.0  # if no emotion has at least this probability, none is named
    adapt: bool = False  # to each speaker
    one_speaker: bool = False  # with `adapt`: all clips are of one person
    speaker_pattern: str = ""  # with `adapt`: finds the speaker in the name of a file
    # With a timeline: number of people in each recording at most; None: do not tell people apart
    speakers_per_recording: int | None = None
    data_dir: Path = Path()  # where the speaker encoder is kept
    # Total probability of the emotions in the column `plausible`; None: there is no such column
    set_level: float | None = None


def check(options: Options) -> None:
    """Refuses options of which a value cannot be.

    Raises:
      InputError: names the option.
    """
    if not 0 <= options.abstain <= 1:
        raise InputError(f"--abstain {options.abstain}: expected a probability, 0 to 1")
    if options.set_level is not None and not 0 < options.set_level <= 1:
        raise InputError(f"--sets {options.set_level}: expected a probability above 0, at most 1")
    if options.speakers_per_recording is not None and not options.timeline:
        raise InputError("--speakers-per-recording is for long recordings; add --timeline")
