"""Finds the utterances of long recordings, and which of a few people speaks each of them.

In many recorded calls, each person has a channel. Then the louder channel tells who speaks.
Otherwise people are told apart by their voices. Only a part of a recording is in memory at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from jdann import audio
from jdann.corpora.folder import list_audio
from jdann.errors import InputError
from jdann.features import speech
from jdann.features.signal_recipes import prosody
from jdann.features.speech import CONTEXT_S, FRAME_S, LONGEST_S, Evidence, Stretch
from jdann.speakers.similar_voices import voice_positions

SHORTEST_RECORDING_S = 1.0
_HOP_S = LONGEST_S - 2 * CONTEXT_S

# When each of two channels counts as one person's. In a frame of speech, the difference is clear if
# one channel is louder by this much.
_LOUDER_DB = 10.0
_CLEAR_SHARE = 0.6  # share of the frames of speech that need a clear difference
_LEAST_SHARE = 0.1  # share of the clear frames in which each channel has to be the louder one
_TURN_S = 0.5  # shorter turns of a channel are ignored

_BATCH = 16  # utterances in one call of the recipe
_VOICE_S = 1.59  # part of each utterance that is used: one window of the speaker encoder
_CLEAR_VOICE_S = 1.0  # shorter utterances are not used to find how many people there are
_SMALLEST_PART = 0.1  # share of the utterances that each person has at least
_TESTED = 1000  # utterances at most from which a silhouette is computed


class Distinct(NamedTuple):
    """When groups of voices count as different people."""

    # Least silhouette, -1 to 1 (Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation
    # and validation of cluster analysis")
    silhouette: float
    metric: str  # distance measure of the silhouette, as scikit-learn calls it
    distance: float  # least distance between the centres of two groups


# Chosen on CASIA and EmoDB (benchmarks/recordings.py). If one person is divided in two, the
# silhouette is .13 to .28. A woman and a man have .36 to .6.
DISTINCT_VECTORS = Distinct(0.3, "cosine", 0.0)
# The distance is that of a pitch base that differs by 7 semitones: mostly a woman and a man.
DISTINCT_PITCH = Distinct(0.65, "euclidean", 1.2)


class Recording(NamedTuple):
    """A recording that holds speech."""

    path: Path
    duration_s: float
    utterances: tuple[Stretch, ...]
    speaker: tuple[str, ...]  # of each utterance: "left" or "right", or "1", "2", ...


class VoiceReader(NamedTuple):
    """Computes numbers by which voices are compared."""

    # From a batch of samples [n, samples] and their lengths [n] to values [n, d]
    values: Callable[[np.ndarray, np.ndarray], jax.Array]
    bins: tuple[str, ...]  # name of each value; empty if they come from the speaker encoder


def make_voice_reader(encoder: Path | None) -> VoiceReader:
    """Makes a reader of voices.

    Args:
      encoder: from `jdann.speakers.encoder_file.find_or_fetch`; None: voices are compared by the
        base of their pitch, which mostly tells a woman from a man.
    """
    if encoder is None:
        recipe = prosody(sample_rate_hz=speech.SAMPLE_RATE_HZ)
        extract = jax.jit(recipe.extract)
        return VoiceReader(lambda samples, length: extract(samples, length)[0], recipe.bins)
    from jdann.features import voice_encoder  # it imports Flax, which takes long

    variables = voice_encoder.read_variables(encoder)
    # The whole batch at once, unlike the recipe of voice vectors, because there is only one window
    # per utterance.
    return VoiceReader(jax.jit(jax.vmap(partial(voice_encoder.voice_vector, variables))), ())


def list_recordings(names: Iterable[str | Path]) -> list[Path]:
    """Lists the given audio files, and the audio files in the given folders.

    Raises:
      InputError: a folder holds no audio, or there is no such file.
    """
    paths: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            paths += [path / file for file in list_audio(path)[0]]
        elif path.exists():
            paths.append(path)
        else:
            raise InputError(f"{name}: no such file or folder; give recordings, or their folder")
    return list(dict.fromkeys(paths))


def read_recording(
    path: Path, longest_s: float, speakers: int, voices: VoiceReader | None
) -> Recording:
    """Finds the utterances of a recording and who speaks each.

    Args:
      path: an audio file of any length.
      longest_s: length of the longest utterance, at most 20 s.
      speakers: number of people in the recording at most.
      voices: from `make_voice_reader`; needed only if `speakers` is more than 1.

    Raises:
      audio.AudioError: it cannot be read, is too short, or holds no speech.
    """
    longest_s = min(longest_s, 2 * CONTEXT_S)  # `read_utterances` reads no longer ones
    evidence, channels_db, duration_s = _measure(path)
    if duration_s < SHORTEST_RECORDING_S:
        raise audio.AudioError(
            f"lasts {duration_s:.2f} s; expected a recording of at least {SHORTEST_RECORDING_S:g} s"
        )
    stretches = [
        Stretch(start_s, min(end_s, duration_s)) for start_s, end_s in speech.find_speech(evidence)
    ]
    if not stretches:
        raise audio.NoSpeech("holds no speech")
    if speakers > 1 and channels_db is not None:
        louder = louder_channel(channels_db, stretches)
        if louder is not None:
            turns = [turn for stretch in stretches for turn in _turns(stretch, louder)]
            pieces = [
                (piece, channel)
                for turn, channel in turns
                for piece in speech.cut([turn], evidence.level_db, longest_s)
            ]
            names = tuple(("left", "right")[channel] for _, channel in pieces)
            return Recording(path, duration_s, tuple(piece for piece, _ in pieces), names)
    utterances = speech.cut(stretches, evidence.level_db, longest_s)
    group = np.zeros(len(utterances), int)
    if speakers > 1 and voices is not None:
        group = group_by_voice(path, utterances, speakers, voices)
    return Recording(path, duration_s, tuple(utterances), tuple(str(1 + g) for g in group))


def read_utterances(path: Path, utterances: Sequence[Stretch]) -> Iterator[tuple[int, np.ndarray]]:
    """Reads the utterances of a recording in one pass.

    Args:
      path: an audio file.
      utterances: in order, none longer than 2 CONTEXT_S.

    Yields:
      The sampling rate in Hz and the samples [samples] or [samples, channels] of each utterance.
    """
    remaining = list(utterances)[::-1]
    for window in _windows(path):
        while remaining and (window.is_last or remaining[-1].start_s < window.start_s + _HOP_S):
            utterance = remaining.pop()
            first, end = (round((s - window.start_s) * window.rate_hz) for s in utterance)
            yield window.rate_hz, window.samples[first:end]
        if not remaining:
            return


class _Window(NamedTuple):
    """A part of a recording."""

    start_s: float
    samples: np.ndarray  # [samples] or [samples, channels]
    rate_hz: int
    is_last: bool


def _windows(path: Path) -> Iterator[_Window]:
    """Yields the parts of a recording. Neighbours overlap by 2 CONTEXT_S."""
    windows = audio.windows(path, LONGEST_S, _HOP_S)
    window = next(windows, None)
    while window is not None:
        following = next(windows, None)
        yield _Window(*window, is_last=following is None)
        window = following


def _measure(path: Path) -> tuple[Evidence, np.ndarray | None, float]:
    """Measures a recording, window by window.

    Returns:
      The evidence of speech; the level of each channel, [frames, 2] in dB, or None if there are not
      two channels; the duration in s.
    """
    parts, levels, duration_s = [], [], 0.0
    context = round(CONTEXT_S / FRAME_S)
    for window in _windows(path):
        duration_s = window.start_s + len(window.samples) / window.rate_hz
        evidence = speech.measure(_mono(window.samples, window.rate_hz))
        frames = len(evidence.level_db)
        first = context if window.start_s else 0
        end = frames if window.is_last else frames - context
        parts.append(Evidence(*(track[first:end] for track in evidence)))
        if window.samples.ndim == 2 and window.samples.shape[1] == 2:
            levels.append(_channel_levels(window.samples, frames)[first:end])
    stereo = np.concatenate(levels) if levels else None
    return speech.join_evidence(parts), stereo, duration_s


def _mono(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Samples at the detector's rate, [samples]. Unlike `audio.mono`, it accepts silence."""
    if np.ptp(samples) < 2 * audio.SILENCE:
        return np.zeros(round(len(samples) / rate_hz * speech.SAMPLE_RATE_HZ), np.float32)
    return audio.mono(samples, rate_hz, speech.SAMPLE_RATE_HZ)


def _channel_levels(samples: np.ndarray, frames: int) -> np.ndarray:
    """The level of each channel without its constant offset, [frames, channels] in dB."""
    samples = samples - samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    edges = np.linspace(0, len(samples), frames, endpoint=False).astype(int)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), edges, axis=0)
    width = np.diff(np.r_[edges, len(samples)])[:, None]
    return 10 * np.log10(np.maximum(power / np.maximum(width, 1), 1e-12)).astype(np.float32)


def louder_channel(channels_db: np.ndarray, stretches: Iterable[Stretch]) -> np.ndarray | None:
    """Which of two channels is louder, if each person has a channel.

    Args:
      channels_db: [frames, 2], the level of each channel.
      stretches: where there is speech.

    Returns:
      [frames] int, 0 or 1; None if the channels do not tell who speaks.
    """
    width = round(_TURN_S / FRAME_S)
    power = ndimage.uniform_filter1d(10 ** (channels_db / 10), width // 2, axis=0)
    difference_db = 10 * np.log10(np.maximum(power[:, 1], 1e-12) / np.maximum(power[:, 0], 1e-12))
    is_speech = np.zeros(len(channels_db), bool)
    for first, end in map(_frames, stretches):
        is_speech[first:end] = True
    clear_db = difference_db[is_speech & (np.abs(difference_db) > _LOUDER_DB)]
    if len(clear_db) < max(1, _CLEAR_SHARE * is_speech.sum()):
        return None
    right_share = (clear_db > 0).mean()
    if not _LEAST_SHARE <= right_share <= 1 - _LEAST_SHARE:
        return None
    return ndimage.median_filter((difference_db > 0).astype(int), size=width)


def _turns(stretch: Stretch, louder: np.ndarray) -> Iterator[tuple[Stretch, int]]:
    """Yields the parts of a stretch in which one channel is louder, and which channel that is."""
    first, end = _frames(stretch)
    channel = louder[first:end]
    changes = [0, *(1 + np.flatnonzero(np.diff(channel))), len(channel)]
    edges_s = [stretch.start_s + FRAME_S * change for change in changes[:-1]] + [stretch.end_s]
    for k, begin in enumerate(changes[:-1]):
        yield Stretch(edges_s[k], edges_s[k + 1]), int(channel[begin])


def _frames(stretch: Stretch) -> tuple[int, int]:
    return round(stretch.start_s / FRAME_S), round(stretch.end_s / FRAME_S)


def group_by_voice(
    path: Path, utterances: Sequence[Stretch], speakers: int, voices: VoiceReader
) -> np.ndarray:
    """Finds the person who speaks each utterance by the voices.

    Args:
      path: an audio file.
      utterances: in order.
      speakers: number of people at most.
      voices: from `make_voice_reader`.

    Returns:
      [utterances] int from 0, in the order in which people begin to speak.
    """
    values = _read_voices(path, utterances, voices)
    length_s = np.array([end_s - start_s for start_s, end_s in utterances])
    if not voices.bins:
        return group_voices(values, length_s, speakers, DISTINCT_VECTORS)
    base = voice_positions(values[:, None], voices.bins)[:, :1]
    return group_voices(base, length_s, speakers, DISTINCT_PITCH)


def _read_voices(path: Path, utterances: Sequence[Stretch], voices: VoiceReader) -> np.ndarray:
    """The values of each utterance, [utterances, values]."""
    size = round(_VOICE_S * speech.SAMPLE_RATE_HZ)
    rows = []
    clips = read_utterances(path, utterances)
    while batch := list(islice(clips, _BATCH)):
        samples, length = np.zeros((_BATCH, size), np.float32), np.ones(_BATCH, np.int32)
        for row, (rate_hz, clip) in enumerate(batch):
            mono = _mono(clip, rate_hz)
            begin = max(0, len(mono) - size) // 2  # the middle
            part = mono[begin : begin + size]
            samples[row, : len(part)], length[row] = part, len(part)
        rows.append(np.asarray(voices.values(samples, length))[: len(batch)])
    return np.nan_to_num(np.concatenate(rows))


def group_voices(
    values: np.ndarray, length_s: np.ndarray, groups: int, distinct: Distinct
) -> np.ndarray:
    """Groups utterances by voice.

    Among the numbers of groups that give distinct groups, the one with the highest silhouette is
    taken.

    Args:
      values: [n, d], from a `VoiceReader`; similar voices have similar values.
      length_s: [n], of the utterances.
      groups: number of groups at most.
      distinct: when groups count as distinct; if they are not, there is one group.

    Returns:
      [n] int from 0, in the order of each group's first utterance.
    """
    clear = np.flatnonzero(length_s >= _CLEAR_VOICE_S)
    best, group = distinct.silhouette, np.zeros(len(values), int)
    for count in range(2, groups + 1):
        if len(clear) < 2 * count:
            break
        settings: dict[str, Any] = {"n_init": 5, "random_state": 0}
        model: Any = KMeans(count, **settings).fit(values[clear])
        sizes = np.bincount(model.labels_, minlength=count)
        nearest = pdist(model.cluster_centers_).min()
        if sizes.min() < max(2, _SMALLEST_PART * len(clear)) or nearest < distinct.distance:
            continue
        options: dict[str, Any] = {"sample_size": min(_TESTED, len(clear)), "random_state": 0}
        score = silhouette_score(values[clear], model.labels_, metric=distinct.metric, **options)
        if score >= best:
            best, group = float(score), model.predict(values)
    order = list(dict.fromkeys(group.tolist()))
    return np.array([order.index(number) for number in group.tolist()])
