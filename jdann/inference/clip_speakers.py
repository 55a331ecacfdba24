"""Finds who speaks each of several clips, so that they can be normalised per speaker."""

import logging
from collections.abc import Sequence

from jdann.corpora.index import Utterance
from jdann.features.recipe import make_recipe_unchecked
from jdann.inference.clips import Part, Prepared
from jdann.inference.recogniser import Recogniser
from jdann.speakers import similar_voices
from jdann.speakers.missing_ids import name_speakers
from jdann.speakers.names import match_speakers

log = logging.getLogger("jdann")
_FEWEST = 8  # clips; the voices of fewer cannot confirm names


def read_speakers(
    recogniser: Recogniser, files: Sequence[str], parts: Sequence[Part], pattern: str = ""
) -> list[str | None]:
    """Reads the speakers from the names of files, if the voices confirm them.

    Args:
      recogniser: computes the features by which voices are compared.
      files: [n] names of the clips, with their folders.
      parts: [n] the clips.
      pattern: a regular expression that finds the speaker in a name. With a pattern, the voices do
        not have to confirm the speakers. "": none.

    Returns:
      [n] speakers, None if a speaker is unknown.

    Raises:
      InputError: the pattern is invalid or finds no speakers.
    """
    files = [file.replace("\\", "/") for file in files]
    if pattern:
        return list(match_speakers(files, pattern, "--speaker-pattern").speaker)
    config = recogniser.config
    recipe = make_recipe_unchecked(
        config.features.recipe, config.features, config.audio.sample_rate_hz
    )
    speakers: list[str | None] = [None] * len(files)
    if len(files) < _FEWEST or not similar_voices.has_pitch(recipe.bins):
        return speakers
    features = {
        i: recogniser.features(clip).valid
        for i, clip in enumerate(recogniser.prepare(parts))
        if isinstance(clip, Prepared)
    }
    if not features:
        return speakers
    named = name_speakers(
        [Utterance(files[i]) for i in features],
        similar_voices.voice_positions(features.values(), recipe.bins),
        features.values,
        recipe.bins,
        way="auto",
        pattern="",
    )
    for note in named.notes:
        log.info("%s", note)
    for i, utterance in zip(features, named.utterances, strict=True):
        speakers[i] = utterance.speaker
    return speakers
