"""The emotions of long recordings: each utterance, adapted to the person who speaks it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from jdann.audio import AudioError, NoSpeech
from jdann.corpora.index import Skipped
from jdann.errors import InputError
from jdann.inference.answers import Answer
from jdann.inference.batches import ClipFeatures
from jdann.inference.recogniser import Prepared, Recogniser
from jdann.progress import track
from jdann.speakers import encoder_file
from jdann.speakers.recordings import (
    Recording,
    VoiceReader,
    list_recordings,
    make_voice_reader,
    read_recording,
    read_utterances,
)

log = logging.getLogger("jdann")


class RecordingSet(NamedTuple):
    """Recordings with their utterances."""

    recordings: tuple[Recording, ...]
    names: tuple[str, ...]  # the path of each recording, relative to their common folder
    skipped: tuple[Skipped, ...]  # recordings that cannot be used, and why


class UtterancePrediction(NamedTuple):
    """The predicted emotion of an utterance."""

    speaker: str
    start_s: float
    end_s: float
    answer: Answer  # its probabilities are NaN if the utterance cannot be used


def find_utterances(
    paths: Sequence[str | Path], longest_s: float, speakers: int, data_dir: Path
) -> RecordingSet:
    """Finds the utterances of recordings, and who speaks each.

    Args:
      paths: recordings, and folders of recordings.
      longest_s: length of the longest utterance.
      speakers: number of people in each recording at most, 1 or more.
      data_dir: where the speaker encoder is kept; pip fetches it the first time.

    Raises:
      InputError: a folder holds no audio, or no recording holds speech.
    """
    files = list_recordings(paths)
    voices = find_voice_reader(speakers, data_dir)
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    for path in track(files, "Listening", len(files), "recordings"):
        try:
            recordings.append(read_recording(path, longest_s, speakers, voices))
        except AudioError as error:
            skipped.append(Skipped(os.fspath(path), str(error), isinstance(error, NoSpeech)))
    if not recordings:
        file, reason, _ = skipped[0]
        more = f"; none of {len(files)} recordings can be used" if len(files) > 1 else ""
        raise InputError(f"{file}: {reason}{more}; expected wav, flac, mp3 or ogg with speech")
    for file, reason, _ in skipped:
        log.warning("left out: %s: %s", file, reason)
    folder = os.path.commonpath([recording.path.parent for recording in recordings])
    names = tuple(os.path.relpath(recording.path, folder) for recording in recordings)
    return RecordingSet(tuple(recordings), names, tuple(skipped))


def find_voice_reader(speakers: int, data_dir: Path) -> VoiceReader | None:
    """Makes the reader that tells the voices of a recording apart.

    Args:
      speakers: number of people in each recording at most.
      data_dir: where the speaker encoder is kept; pip fetches it the first time. If that fails,
        there is a warning, and voices are compared by their pitch.

    Returns:
      The reader; None if there is only one speaker in each recording.

    Raises:
      InputError: the number is less than 1.
    """
    if speakers < 1:
        raise InputError(f"--speakers-per-recording {speakers}: expected 1 or more")
    if speakers == 1:
        return None
    try:
        return make_voice_reader(encoder_file.find_or_fetch(data_dir))
    except InputError as error:
        log.warning("%s; without it only the pitch tells voices apart", error)
        return make_voice_reader(None)


def recognise(
    recogniser: Recogniser, recording: Recording, adapt: Literal["no", "normalisation", "all"]
) -> list[UtterancePrediction]:
    """Recognises each utterance of a recording. Its audio is in memory only while it is used.

    Args:
      recogniser: a trained recogniser.
      recording: one of those that `find_utterances` returns.
      adapt: what adapts to each person: "no", nothing; "normalisation", only the normalisation;
        "all", as with `Recogniser.adapt`. It has no effect if the recogniser cannot adapt.

    Returns:
      The predictions in the order of the utterances.
    """
    features = [
        recogniser.features(clip) if isinstance(clip, Prepared) else None
        for clip in recogniser.prepare(
            read_utterances(recording.path, recording.utterances), speech_only=False
        )
    ]
    answers = [recogniser.no_speech] * len(features)
    speakers: dict[str, dict[int, ClipFeatures]] = {}  # by speaker, then by utterance
    for i, clip in enumerate(features):
        if clip is not None:
            speakers.setdefault(recording.speaker[i], {})[i] = clip
    recognisers = [recogniser] * len(speakers)
    if speakers and recogniser.can_adapt and adapt != "no":
        clips = [list(usable.values()) for usable in speakers.values()]
        recognisers = recogniser.adapt_to_features(clips, normalise_only=adapt == "normalisation")
    for adapted, usable in zip(recognisers, speakers.values(), strict=True):
        for i, clip in usable.items():
            answers[i] = adapted.classify(clip)
    predictions = zip(recording.speaker, recording.utterances, answers, strict=True)
    return [
        UtterancePrediction(speaker, *utterance, answer)
        for speaker, utterance, answer in predictions
    ]
