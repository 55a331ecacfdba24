"""Makes recordings of conversations from the clips of a corpus.

Two speakers take turns. Between two clips there is a pause. Room noise is added to the whole
recording. For each frame of 10 ms, the truth is known. It is one of these:

- speech: a frame of a clip that is at most SPEECH_DB weaker than the clip's loudest frame and at
  least ABOVE_NOISE_DB stronger than the clip's background. Gaps of at most GAP_S between such
  frames are speech, too. Frequencies below LOWEST_HZ are ignored, because they are rumble.
- pause: a frame of an inserted pause that is at least COLLAR_S away from speech.
- neither: all other frames. They are not counted in any figure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

from jdann import audio
from jdann.corpora.index import Utterance

RATE_HZ = 16000
FRAME_S = 0.01
LOWEST_HZ = 100.0
SPEECH_DB = 30.0
ABOVE_NOISE_DB = 10.0
GAP_S = 0.3
COLLAR_S = 0.25
PAUSES_S = (0.4, 3.0)  # shortest and longest between two clips
MOST_CLIPS_IN_TURN = 3
_SPEECH_RMS = 0.05  # of a clip that is scaled to the common level
_NEITHER, _PAUSE = -1, -2  # used instead of the number of a speaker


class Turn(NamedTuple):
    """A clip in a recording."""

    start_s: float  # of its speech
    end_s: float
    speaker: int


class Call(NamedTuple):
    """A recording of two people."""

    samples: np.ndarray  # [samples] float32 at RATE_HZ
    speech: np.ndarray  # [frames] bool
    pause: np.ndarray  # [frames] bool
    speaker: np.ndarray  # [frames] int, 0 or 1; negative if nobody speaks
    turns: tuple[Turn, ...]


def make_call(
    utterances: Sequence[Utterance],
    speakers: tuple[str, str],
    minutes: float,
    noise_db: float | None,
    seed: int,
    levelled: bool = True,
) -> Call:
    """Makes a recording of two speakers of a corpus.

    Args:
      utterances: those of the corpus.
      speakers: two speakers; if they are the same, only one person speaks.
      minutes: length of the recording.
      noise_db: how far the room noise lies below the speech; None: digital silence in the pauses.
      seed: for the order of clips, the pauses and the noise.
      levelled: whether all clips are scaled to the same level.
    """
    rng = np.random.default_rng(seed)
    clips = [_shuffled([u for u in utterances if u.speaker == name], rng) for name in speakers]
    parts, masks, turns, position, next_clip = [], [], [], 0, [0, 0]
    person = 0

    def add_pause() -> None:
        nonlocal position
        count = int(rng.uniform(*PAUSES_S) * RATE_HZ)
        parts.append(np.zeros(count, np.float32))
        masks.append(np.full(count, _PAUSE))
        position += count

    add_pause()
    while position < 60 * minutes * RATE_HZ:
        for _ in range(rng.integers(1, MOST_CLIPS_IN_TURN + 1)):
            utterance = clips[person][next_clip[person] % len(clips[person])]
            next_clip[person] += 1
            clip = _read(utterance)
            mask = speech_of_clip(clip)
            if levelled:
                clip = clip * np.float32(_SPEECH_RMS / np.sqrt(np.square(clip[mask]).mean()))
            inside = np.flatnonzero(mask)
            turns.append(
                Turn(
                    (position + inside[0]) / RATE_HZ, (position + inside[-1] + 1) / RATE_HZ, person
                )
            )
            parts.append(clip)
            masks.append(np.where(mask, person, _NEITHER))
            position += len(clip)
            add_pause()
        person = 1 - person if speakers[0] != speakers[1] else 0
    samples, person_of_sample = np.concatenate(parts), np.concatenate(masks)
    power = np.square(samples[person_of_sample >= 0], dtype=np.float64).mean()
    if noise_db is not None:
        samples = samples + room_noise(len(samples), rng) * np.float32(
            np.sqrt(power) * 10 ** (-noise_db / 20)
        )
    hop = round(FRAME_S * RATE_HZ)
    person_of_frame = person_of_sample[hop // 2 :: hop]
    return Call(
        samples=samples.astype(np.float32),
        speech=person_of_frame >= 0,
        pause=(person_of_frame == _PAUSE) & ~_dilated(person_of_frame >= 0, COLLAR_S),
        speaker=person_of_frame,
        turns=tuple(turns),
    )


def speech_of_clip(clip: np.ndarray) -> np.ndarray:
    """The samples of a clean clip that are speech, as this module defines it, [samples] bool."""
    frame = round(3 * FRAME_S * RATE_HZ)
    clip = signal.sosfilt(signal.butter(4, LOWEST_HZ, "high", fs=RATE_HZ, output="sos"), clip)
    power = ndimage.uniform_filter1d(np.square(clip, dtype=np.float64), frame)
    weakest = np.percentile(power, 2) * 10 ** (ABOVE_NOISE_DB / 10)
    loud = power > max(power.max() * 10 ** (-SPEECH_DB / 10), min(weakest, power.max() / 2))
    starts = np.flatnonzero(np.diff(np.r_[False, loud, False].astype(int)))
    for gap_start, gap_end in zip(starts[1:-1:2], starts[2::2], strict=True):
        if gap_end - gap_start <= GAP_S * RATE_HZ:
            loud[gap_start:gap_end] = True
    return loud


def room_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of mean power 1: 1/f, with a hum of 50 Hz and a level that drifts, [samples]."""
    block, noise = 2**18, []
    frequency = np.fft.rfftfreq(block, 1 / RATE_HZ)
    shape = 1 / np.sqrt(np.maximum(frequency, 30.0))
    for _ in range(-(-count // block)):
        spectrum = rng.normal(size=len(shape)) + 1j * rng.normal(size=len(shape))
        noise.append(np.fft.irfft(spectrum * shape, block))
    samples = np.concatenate(noise)[:count]
    samples /= samples.std()
    t = np.arange(count) / RATE_HZ
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3))
    drift = 10 ** (1.0 * np.sin(2 * np.pi * t / 17.0 + rng.uniform(0, 6)) / 20)
    samples = (samples + 0.2 * hum) * drift
    return (samples / np.sqrt(np.square(samples).mean())).astype(np.float32)


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """Chords of three notes that decay, one after the other, [samples]; the peak is about 1."""
    samples, position = np.zeros(count), 0
    while position < count:
        length = min(int(RATE_HZ * rng.uniform(0.25, 1.5)), count - position)
        t = np.arange(length) / RATE_HZ
        root_hz, decay = 110 * 2 ** (rng.integers(0, 24) / 12), rng.uniform(0.3, 4)
        chord = np.zeros(length)
        for semitones in (0, rng.choice((3, 4)), 7):
            for k in range(1, 8):
                hz = k * root_hz * 2 ** (semitones / 12)
                chord += np.sin(2 * np.pi * hz * t + rng.uniform(0, 2 * np.pi)) / k
        envelope = np.exp(-t * decay) * np.minimum(1, t / 0.01)
        samples[position : position + length] = 0.2 * chord * envelope
        position += length
    return samples


def _read(utterance: Utterance) -> np.ndarray:
    samples, rate_hz = audio.read(utterance.path, utterance.start_s, utterance.end_s)
    return audio.mono(samples, rate_hz, RATE_HZ)


def _shuffled(utterances: Sequence[Utterance], rng: np.random.Generator) -> list[Utterance]:
    return [utterances[i] for i in rng.permutation(len(utterances))]


def _dilated(mask: np.ndarray, by_s: float) -> np.ndarray:
    """The mask with `by_s` more on each side of its true frames, [frames] bool."""
    return ndimage.binary_dilation(mask, iterations=round(by_s / FRAME_S))
