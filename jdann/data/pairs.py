"""The two corpora of a run, ready to train on: features computed, normalised, and put in place.

Features are on the device where they fit into the memory allowed; otherwise they stay on disk and
are read as they are needed.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.audio import AudioSettings
from jdann.cluster.processes import first_ahead
from jdann.corpora.index import Corpus, Skipped, place
from jdann.data import normalise
from jdann.data.batches import Frames, StoredFrames
from jdann.errors import InputError
from jdann.features.clip_channel import ClipChannel
from jdann.features.feature_set import FeatureSet
from jdann.features.recipe import make_recipe_unchecked
from jdann.features.store import extract
from jdann.speakers import similar_voices
from jdann.speakers.missing_ids import Way, name_speakers

log = logging.getLogger("jdann")
_WINDOW_MULTIPLE = 16  # frames
_BYTES_PER_VALUE = 2  # float16
NO_LABELS = np.zeros(0, np.int32)  # of a domain whose user gives no labels to train on
_NAMED_CLIPS = 10  # clips without speech that a note names
_USE_ANY_SOUND = ", or use clips without speech too by --config.audio.speech_only=False"
_DEFAULT_DEVICE_BYTES = 2**31  # where a device does not tell its memory; a half of it is used


class FeatureSettings(NamedTuple):
    """How the features of both domains are computed and normalised."""

    emotions: tuple[str, ...]
    recipe_name: str  # a key of `jdann.features.recipe.RECIPES`
    recipe_settings: Mapping[str, Any]  # parameters of the recipe; others are ignored
    audio: AudioSettings
    normalise_by: str = "speaker"  # one of `jdann.data.normalise.NORMALISATIONS`
    relevance: float = 2.0  # MAP relevance factor; see `jdann.data.normalise.VoicePositions`
    speakers: Way = "auto"  # how to find the speakers of utterances without ids
    speaker_pattern: str = ""  # regular expression that finds the speaker in a file's path
    device_gib: float = 0.0  # room for features on the device; 0: half of its memory


class Domain(NamedTuple):
    """A corpus with its features and, where it has any, its labels."""

    corpus: Corpus
    features: FeatureSet
    bins: tuple[str, ...]  # a name for each bin or, with `is_vector`, for each value
    is_vector: bool  # each utterance is one vector
    emotion: np.ndarray  # [n] int32, index into the emotions, -1 where unlabelled
    speaker: tuple[str | None, ...]
    group: tuple[str, ...]  # utterances of one group are normalised together
    voices: normalise.VoicePositions | None  # None: groups do not use similar voices
    notes: tuple[str, ...]
    grouping_note: str | None  # how unknown speakers are normalised; None: all are known
    # As a target: the few labels that are trained on, from `jdann.data.target_labels`. [n] int32,
    # -1 where there is none; or NO_LABELS.
    target_labels: np.ndarray = NO_LABELS
    # Of the recipe, with the layer that was chosen; others are ignored
    recipe_settings: Mapping[str, Any] = MappingProxyType({})

    @property
    def is_trained_on(self) -> np.ndarray:
        """[n] bool, whether the user gives a label of the utterance to train on."""
        if not len(self.target_labels):
            return np.zeros(len(self.emotion), bool)
        return self.target_labels >= 0

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What a user has to know about the domain."""
        notes = [*self.notes, self.grouping_note, _speech_note(self.features.skipped)]
        return tuple(note for note in notes if note is not None)


class Direction(NamedTuple):
    """From one domain to another, normalised; both on the device, or both on disk."""

    source: Domain
    target: Domain
    source_frames: Frames | StoredFrames
    target_frames: Frames | StoredFrames
    statistics: tuple[normalise.Statistics, normalise.Statistics]  # of source and target
    window: int | None  # frames of the longest utterance, rounded up; None: vectors

    @property
    def name(self) -> str:
        """For messages: "demo:en -> demo:zh"."""
        return f"{self.source.corpus.name} -> {self.target.corpus.name}"

    @property
    def bins(self) -> int:
        """Columns of the features."""
        return self.source.features.bins

    @property
    def recipe_settings(self) -> Mapping[str, Any]:
        """Parameters of the recipe, with the layer that was chosen; others are ignored."""
        return self.source.recipe_settings


def load_domain(
    corpus: Corpus, settings: FeatureSettings, cache: Path, channel: ClipChannel | None = None
) -> Domain:
    """Computes the features of a corpus, or finds them in the cache.

    Args:
      corpus: from `jdann.corpora.load`.
      settings: how.
      cache: the folder in which features are kept.
      channel: what each clip is sent through before its features are computed; None: nothing.
    """
    with first_ahead():  # the other processes find the features in the cache
        features = extract(
            corpus,
            recipe_name=settings.recipe_name,
            settings=settings.recipe_settings,
            audio_settings=settings.audio,
            cache=cache,
            channel=channel,
        )
    notes = corpus.notes
    if features.cut:
        longest_s = settings.audio.max_duration_s
        note = f"{features.cut} utterances are longer than {longest_s:g} s and were cut"
        notes = tuple(dict.fromkeys((*notes, note)))  # the corpus may be that of another domain
    recipe = make_recipe_unchecked(  # `extract` has checked it
        settings.recipe_name, settings.recipe_settings, settings.audio.sample_rate_hz
    )
    return make_domain(
        corpus._replace(notes=notes), features, recipe.bins, recipe.is_vector, settings
    )


def make_domain(
    corpus: Corpus,
    features: FeatureSet,
    bins: tuple[str, ...],
    is_vector: bool,
    settings: FeatureSettings,
) -> Domain:
    """A domain of features that exist, with the groups in which they will be normalised."""
    number = {name: i for i, name in enumerate(settings.emotions)}
    by, has_pitch, notes = settings.normalise_by, similar_voices.has_pitch(bins), corpus.notes
    positions = None
    if by in ("speaker", "voice") and has_pitch and features.utterances:
        positions = similar_voices.voice_positions(features.read(), bins)
    if by == "speaker" or settings.speakers == "names" or settings.speaker_pattern:
        named = name_speakers(
            features.utterances,
            positions,
            features.read,
            bins,
            way=settings.speakers,
            pattern=settings.speaker_pattern,
        )
        features = features._replace(utterances=named.utterances)
        notes = (*notes, *named.notes)
    utterances = features.utterances
    emotion = np.array([number.get(u.emotion or "", -1) for u in utterances], np.int32)
    speaker = tuple(u.speaker for u in utterances)
    group, note = normalise.grouping(by, speaker, has_pitch=has_pitch, is_vector=is_vector)
    voices = None
    if positions is not None:
        voices = normalise.VoicePositions(
            positions=positions,
            speaker_known=np.array([by == "speaker" and s is not None for s in speaker]),
            relevance=settings.relevance,
        )
    return Domain(
        corpus=corpus,
        features=features,
        bins=bins,
        is_vector=is_vector,
        emotion=emotion,
        speaker=speaker,
        group=tuple(group),
        voices=voices,
        notes=notes,
        grouping_note=note,
        recipe_settings=settings.recipe_settings,
    )


def with_voice_groups(domain: Domain, group: np.ndarray, is_mixed: np.ndarray, note: str) -> Domain:
    """The domain, with groups of voices in place of unknown speakers. Known speakers stay.

    Args:
      domain: one that has `voices`.
      group: [n] group numbers.
      is_mixed: [n] bool, whether the group holds many persons. Each of its utterances is then
        normalised among similar voices of the group, and not by the whole group.
      note: for the user.
    """
    assert domain.voices is not None
    has_id = np.array([speaker is not None for speaker in domain.speaker])
    ids = {speaker for speaker in domain.speaker if speaker is not None}
    names = []
    for i, (number, speaker) in enumerate(zip(group, domain.speaker, strict=True)):
        name = f"voices {number}, utterance {i}" if is_mixed[i] else f"voices {number}"
        names.append(normalise.unused_name(name, ids) if speaker is None else speaker)
    voices = domain.voices._replace(speaker_known=has_id | ~is_mixed, group=group)
    return domain._replace(group=tuple(names), voices=voices, grouping_note=note)


def _speech_note(skipped: Sequence[Skipped]) -> str | None:
    """Names the clips that were left out because they hold no speech; None if there are none."""
    files = [clip.file for clip in skipped if clip.no_speech]
    if not files:
        return None
    more = ", ..." if len(files) > _NAMED_CLIPS else ""
    hold = "1 clip holds" if len(files) == 1 else f"{len(files)} clips hold"
    return f"{hold} no speech: {', '.join(files[:_NAMED_CLIPS])}{more}"


def check_failures(domain: Domain, max_failed_fraction: float) -> None:
    """Refuses a corpus of which too many files cannot be used.

    Raises:
      InputError: names the first such file and its reason.
    """
    skipped, usable = domain.features.skipped, len(domain.features.utterances)
    total = len(skipped) + usable
    if skipped and (len(skipped) / total > max_failed_fraction or not usable):
        raise InputError(
            f"{domain.corpus.name}: {len(skipped)} of {total} files cannot be used, the first "
            f"being {skipped[0].file} ({skipped[0].reason}); mend them, or allow more by "
            "--config.max_failed_fraction=1"
            + (_USE_ANY_SOUND if any(clip.no_speech for clip in skipped) else "")
        )
    if not usable:
        raise InputError(
            f"{domain.corpus.name}: no utterance can be used; give a corpus with audio"
        )


def make_direction(
    source: Domain,
    target: Domain,
    settings: FeatureSettings,
    opposite: Direction | None = None,
) -> Direction:
    """Normalises both domains, and puts them on the device or leaves them on disk.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      settings: as for `load_domain`.
      opposite: from `target` to `source`. Its arrays are shared where normalisation does not
        depend on the direction and both have the same features.

    Raises:
      InputError: the source has fewer than two emotions, or source and target share utterances.
    """
    _check_pair(source, target, settings.emotions)
    source = _normalised_like_target(source, target, settings.normalise_by)
    by, groups = settings.normalise_by, (source.group, target.group)
    if (
        opposite is not None
        and by != "source"
        and groups == (opposite.target.group, opposite.source.group)
        and source.features.path == opposite.target.features.path
        and target.features.path == opposite.source.features.path
        and source.bins == opposite.source.bins
    ):
        return Direction(
            source,
            target,
            opposite.target_frames,
            opposite.source_frames,
            (opposite.statistics[1], opposite.statistics[0]),
            opposite.window,
        )
    return normalise_domains(source, target, settings)


def normalise_domains(source: Domain, target: Domain, settings: FeatureSettings) -> Direction:
    """Normalises both domains in their groups, and puts them on the device or leaves them on disk.

    The arguments are those of `make_direction`, which checks them first.
    """
    by = settings.normalise_by
    source_statistics = normalise.identity(source.features.bins) if by == "none" else _fit(source)
    target_statistics = source_statistics if by in ("source", "none") else _fit(target)
    longest = max(int(source.features.length.max()), int(target.features.length.max()))
    window = None
    if not source.is_vector:
        window = -(-longest // _WINDOW_MULTIPLE) * _WINDOW_MULTIPLE
    place = _read_later if _needs_disk(source, target, settings.device_gib) else _put_on_device
    return Direction(
        source,
        target,
        place(source, source_statistics, window),
        place(target, target_statistics, window),
        (source_statistics, target_statistics),
        window,
    )


def _normalised_like_target(source: Domain, target: Domain, by: str) -> Domain:
    """The source, normalised by voice if the target has to be.

    That is so where the source's speakers or groups of voices are known and most of the target's
    are not. Otherwise the two domains would be normalised in different ways, which costs more than
    it gains.
    """
    if by != "speaker" or source.voices is None or target.voices is None:
        return source
    if not _is_grouped(source.voices) or _is_grouped(target.voices):
        return source
    note = f"normalised by voice, as {target.corpus.name} is, whose speakers are unknown"
    log.info("%s: %s", source.corpus.name, note)
    group, _ = normalise.grouping("voice", source.speaker, has_pitch=True, is_vector=False)
    voices = source.voices._replace(speaker_known=np.zeros_like(source.voices.speaker_known))
    return source._replace(group=tuple(group), voices=voices, grouping_note=note)


def speaker_numbers(domain: Domain) -> np.ndarray:
    """The number of the speaker, or small group of voices, that normalises each utterance: [n].

    It is int32, and -1 for an utterance that is not normalised by speaker.
    """
    if domain.voices is None:
        return np.full(len(domain.emotion), -1, np.int32)
    _, numbers = np.unique(domain.group, return_inverse=True)
    return np.where(domain.voices.speaker_known, numbers, -1).astype(np.int32)


def is_by_speaker(domain: Domain) -> bool:
    """Whether most utterances are normalised by speaker: by ids, or by groups of few persons."""
    return domain.voices is not None and bool(domain.voices.speaker_known.mean() >= 0.5)


def clips_per_speaker(domain: Domain) -> float:
    """How many clips each speaker has in the mean; 0 if the domain is not normalised by speaker.

    A small group of voices counts as a speaker.
    """
    if not is_by_speaker(domain):
        return 0.0
    numbers = speaker_numbers(domain)
    known = numbers[numbers >= 0]
    return len(known) / len(np.unique(known))


def _is_grouped(voices: normalise.VoicePositions) -> bool:
    """Whether most speakers are known, or voices are grouped."""
    return voices.group is not None or voices.speaker_known.mean() >= 0.5


def check_emotions(source: Domain, emotions: Sequence[str]) -> None:
    """Refuses a source with fewer than two labelled emotions.

    Raises:
      InputError: names the emotions.
    """
    present = [name for i, name in enumerate(emotions) if (source.emotion == i).any()]
    if len(present) < 2:
        raise InputError(
            f"{source.corpus.name}: the source needs labelled utterances of at least two of "
            f"{', '.join(emotions)}; found {present[0] if present else 'none'}: check its emotion "
            "column or folders"
        )


def _check_pair(source: Domain, target: Domain, emotions: Sequence[str]) -> None:
    check_emotions(source, emotions)
    source_places, target_places = (
        {place(u) for u in domain.features.utterances} for domain in (source, target)
    )
    shared = len(source_places & target_places)
    if shared:
        raise InputError(
            f"{source.corpus.name} and {target.corpus.name}: {shared} utterances are the same in "
            "source and target, so that the target's labels would be trained on; take them out of "
            "the source (--config.target_labels names clips of the target to train on), or see "
            "--config.methods=supervised for one corpus"
        )


def _fit(domain: Domain) -> normalise.Statistics:
    return normalise.fit_speakers(domain.features.read, domain.group, domain.voices)


def _needs_disk(source: Domain, target: Domain, device_gib: float) -> bool:
    """Whether the features of both domains are larger than the room for them on the device."""
    if source.is_vector:  # vectors are few
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    room_gib = device_gib or memory.get("bytes_limit", _DEFAULT_DEVICE_BYTES) / 2**31
    rows = sum(int(domain.features.length.sum()) for domain in (source, target))
    need_gib = _BYTES_PER_VALUE * rows * source.features.bins / 2**30
    if need_gib > room_gib:
        log.info(
            "%.2f GiB of features, room for %.2g: they are read from disk as they are needed",
            need_gib,
            room_gib,
        )
    return need_gib > room_gib


def _put_on_device(domain: Domain, statistics: normalise.Statistics, window: int | None) -> Frames:
    features = domain.features
    end = np.cumsum(features.length)
    start = (end - features.length).astype(np.int32)
    values = np.zeros((end[-1] + (window or 0), features.bins), np.float16)
    utterances = normalise.apply(statistics, features.read(), domain.group)
    for first, last, x in zip(start, end, utterances, strict=True):
        values[first:last] = x
    return Frames(jnp.asarray(values), start, features.length)


def _read_later(
    domain: Domain, statistics: normalise.Statistics, window: int | None
) -> StoredFrames:
    assert window is not None  # vectors are never left on disk

    def read(rows: Iterable[int]) -> Iterator[np.ndarray]:
        rows = list(rows)
        groups = [domain.group[row] for row in rows]
        return normalise.apply(statistics, domain.features.read(rows), groups)

    return StoredFrames(domain.features.length, window, domain.features.bins, read)
