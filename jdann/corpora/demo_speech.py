"""The voices and the emotions of the demo corpus, synthesised by espeak-ng.

A speaker is a voice, a pitch, a tempo and a length of the vocal tract. An emotion changes pitch,
pitch range, tempo, loudness, spectral tilt, contour and tremor. The strength differs between
utterances, and the changes differ between the two languages.

espeak-ng (GPL-3) comes with the optional package `espeakng-loader`. Only the processes that make
the corpus load it.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

SAMPLE_RATE_HZ = 16000
VERSION = 1  # of the speech: existing folders with another version are made again

GENDERS = "FFFMMMFMFM" + "MMMMFFFFFM"  # of ESD's speakers 1 to 20
# Voices with `breath` (f2, f3, f5 and others) are left out. They sound different each time, as if
# espeak-ng read uninitialised memory.
_VARIANTS = {"F": ("f1", "f4", "linda", "Annie", "steph"), "M": ("m1", "m2", "m3", "m4", "m7")}
_ENGLISH_VOICES = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-gb-x-gbcwmd")


class Emotion(NamedTuple):
    """How far an emotion at full strength moves a voice from its neutral state."""

    folder: str  # as in ESD
    mandarin: str  # the label in ESD's Mandarin transcripts
    pitch: float  # espeak's units, 0 to 99 from the voice's lowest to its highest
    pitch_range: float  # espeak's units, 0 to 99
    rate: float  # fraction of the speaker's tempo
    loudness_db: float
    tilt_db: float  # per octave; a pressed voice is brighter
    rise: float  # of the pitch from beginning to end, as a fraction
    tremor: float  # depth of a slow modulation of the pitch, as a fraction


# In ESD's order: the number of a file is 350 * index + sentence.
EMOTIONS = (
    Emotion("Neutral", "中立", 0, 0, 0.0, 0.0, 0.0, -0.02, 0.0),
    Emotion("Angry", "生气", 6, 20, 0.18, 6.0, 2.2, -0.12, 0.006),
    Emotion("Happy", "快乐", 18, 26, 0.06, 3.0, 0.8, 0.04, 0.0),
    Emotion("Sad", "伤心", -10, -22, -0.18, -5.0, -1.4, -0.10, 0.014),
    Emotion("Surprise", "惊喜", 24, 34, -0.06, 2.0, -0.2, 0.28, 0.0),
)
# The next three are in the order of the fields of `Emotion` from `pitch` on.
# How strongly each language shows an emotion.
_STYLE = {"en": (1.0, 1.0, 0.7, 1.0, 1.1, 1.0, 1.0), "zh": (1.2, 1.1, 1.3, 1.0, 0.5, 0.6, 1.3)}
# Standard deviation of changes that have nothing to do with the emotion.
_SPREAD = (3.0, 5.0, 0.04, 1.5, 0.35, 0.03, 0.002)
_STRENGTH = (0.5, 1.3)  # of the emotion in an utterance: uniform between these


class Speaker(NamedTuple):
    """A voice of the demo corpus."""

    number: int  # as in ESD, 1 to 20
    language: str
    voice: str  # espeak's name
    pitch: float  # espeak's units
    pitch_range: float  # espeak's units
    words_per_minute: float
    tract: float  # vocal tract length, a multiple of the voice's; above 1 lowers pitch and formants
    tilt_db: float  # per octave, of voice and microphone
    noise_db: float  # of the room, relative to the speech


def make_speaker(number: int) -> Speaker:
    """The speaker with a number from 1 to 20; always the same for a number."""
    rng = np.random.default_rng([VERSION, number])
    language, gender = ("zh" if number <= 10 else "en"), GENDERS[number - 1]
    first_of_language = 10 * ((number - 1) // 10)
    variant = GENDERS[first_of_language : number - 1].count(gender)
    voice = "cmn" if language == "zh" else _ENGLISH_VOICES[(number - 11) % len(_ENGLISH_VOICES)]
    return Speaker(
        number=number,
        language=language,
        voice=f"{voice}+{_VARIANTS[gender][variant]}",
        pitch=rng.uniform(32, 50),
        pitch_range=rng.uniform(38, 52),
        words_per_minute=rng.uniform(150, 185),
        tract=rng.uniform(0.93, 1.07),
        tilt_db=rng.uniform(-0.7, 0.7) + (-1.0 if language == "zh" else 0.5),
        noise_db=rng.uniform(-45, -35) + (-5 if language == "zh" else 0),
    )


def speak(
    synthesise: Callable, speaker: Speaker, emotion: Emotion, text: str, rng: np.random.Generator
) -> np.ndarray:
    """Synthesises an utterance.

    Args:
      synthesise: from `start_espeak` with the speaker's voice.
      speaker: who speaks.
      emotion: how.
      text: what.
      rng: decides how this utterance differs from others.

    Returns:
      [samples] float32 at `SAMPLE_RATE_HZ`, within -1 to 1.
    """
    moves = np.array(emotion[2:]) * _STYLE[speaker.language] * rng.uniform(*_STRENGTH)  # [7]
    moves = moves * rng.uniform(0.7, 1.3, len(moves)) + rng.normal(0, _SPREAD)
    pitch, pitch_range, rate, loudness_db, tilt_db, rise, tremor = moves
    samples, rate_hz = synthesise(
        text,
        words_per_minute=speaker.words_per_minute * (1 + rate),
        pitch=speaker.pitch + pitch,
        pitch_range=speaker.pitch_range + pitch_range,
    )
    tremor_step = 2 * np.pi * rng.uniform(4.5, 6.5) / rate_hz  # radians per sample
    samples = _bend(samples, rise, tremor_step, abs(tremor), rng.uniform(0, 2 * np.pi))
    samples = soxr.resample(samples, rate_hz / speaker.tract, SAMPLE_RATE_HZ, quality="HQ")
    samples = _tilt(samples, speaker.tilt_db + tilt_db)
    rms = np.sqrt(np.mean(np.square(samples)))
    samples = samples / rms + 10 ** (speaker.noise_db / 20) * rng.standard_normal(len(samples))
    samples *= 10 ** ((-26 + loudness_db) / 20)
    return np.clip(samples, -0.99, 0.99).astype(np.float32)


def _bend(
    samples: np.ndarray, rise: float, tremor_step: float, tremor: float, phase: float
) -> np.ndarray:
    """Plays [samples] at a speed that rises by `rise` to the end and trembles by `tremor`."""
    position = np.linspace(-0.5, 0.5, len(samples))
    speed = 1 + rise * position + tremor * np.sin(tremor_step * np.arange(len(samples)) + phase)
    return np.interp(np.cumsum(speed), np.arange(len(samples)), samples)


def _tilt(samples: np.ndarray, tilt_db: float) -> np.ndarray:
    """Tilts the spectrum of [samples] about 1 kHz by `tilt_db` per octave, above 100 Hz."""
    # A power of 2: an FFT whose length has large prime factors takes ten times as long.
    length = 1 << (len(samples) - 1).bit_length()
    octaves = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 100) / 1000)
    tilted = np.fft.irfft(np.fft.rfft(samples, length) * 10 ** (tilt_db * octaves / 20))
    return tilted[: len(samples)]


def start_espeak(voice: str, scratch: Path) -> Callable[..., tuple[np.ndarray, int]]:
    """Starts a new espeak-ng.

    The state of espeak-ng depends on what it spoke before, and no call resets it. So a copy of the
    library is loaded for each speaker; then a speaker does not depend on earlier ones.

    Args:
      voice: espeak's name.
      scratch: a folder for the copy of the library.

    Returns:
      A function of text and prosody that returns [samples] float64 and their rate in Hz.
    """
    # An optional package: only the processes that make the corpus need it.
    import espeakng_loader

    library = ctypes.CDLL(
        shutil.copy(espeakng_loader.get_library_path(), tempfile.mkdtemp(dir=scratch))
    )
    callback_type = _declare(library)
    chunks: list[bytes] = []

    @callback_type
    def collect(samples, count, _events) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # continue

    rate_hz = _initialise(library, espeakng_loader.get_data_path(), voice)
    library.espeak_SetSynthCallback(collect)

    def synthesise(
        text: str, *, words_per_minute: float, pitch: float, pitch_range: float
    ) -> tuple[np.ndarray, int]:
        # espeakRATE, espeakPITCH and espeakRANGE in speak_lib.h
        _set_parameter(library, 1, words_per_minute, 80, 400)
        _set_parameter(library, 3, pitch, 0, 99)
        _set_parameter(library, 4, pitch_range, 0, 99)
        chunks.clear()
        encoded, utf8 = text.encode(), 1
        status = library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, utf8, None, None)
        _check_status(status, f"text {text}")
        samples = np.frombuffer(b"".join(chunks), np.int16).astype(np.float64)
        if not samples.any():
            raise RuntimeError(f"espeak-ng says nothing to {text!r} with voice {voice}")
        return samples / 32768, rate_hz

    synthesise.keep = (library, collect)  # the library calls `collect` as long as it is loaded
    return synthesise


def _declare(library: ctypes.CDLL) -> Callable:
    """Declares the functions of espeak-ng's speak_lib.h; returns the type of the callback."""
    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    unsigned, text, pointer = ctypes.c_uint, ctypes.c_char_p, ctypes.c_void_p
    library.espeak_Initialize.argtypes = (ctypes.c_int, ctypes.c_int, text, ctypes.c_int)
    library.espeak_SetSynthCallback.argtypes = (callback_type,)
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = (text,)
    library.espeak_SetParameter.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library.espeak_Synth.argtypes = (
        *(text, ctypes.c_size_t, unsigned, ctypes.c_int, unsigned, unsigned),
        *(ctypes.POINTER(unsigned), pointer),
    )
    library.espeak_Info.argtypes = (ctypes.POINTER(text),)
    library.espeak_Info.restype = text
    return callback_type


def _initialise(library: ctypes.CDLL, data_path: str, voice: str) -> int:
    """Starts the library with a voice; returns the sample rate in Hz."""
    synchronous, dont_exit = 2, 0x8000  # AUDIO_OUTPUT_SYNCHRONOUS, espeakINITIALIZE_DONT_EXIT
    used_path = ctypes.c_char_p()
    with tempfile.TemporaryDirectory() as folder:  # a short path: espeak-ng cuts at 160 characters
        link = Path(folder) / "espeak-ng-data"
        link.symlink_to(data_path)
        rate_hz = library.espeak_Initialize(synchronous, 0, os.fsencode(link), dont_exit)
        library.espeak_Info(ctypes.byref(used_path))
        if rate_hz <= 0 or used_path.value != os.fsencode(link):
            raise RuntimeError(f"espeak-ng does not start with the data in {data_path}")
        _check_status(library.espeak_SetVoiceByName(voice.encode()), f"voice {voice}")
    return rate_hz


def _set_parameter(
    library: ctypes.CDLL, number: int, value: float, lowest: int, highest: int
) -> None:
    rounded = round(np.clip(value, lowest, highest))
    status = library.espeak_SetParameter(number, rounded, 0)
    _check_status(status, f"{rounded} for parameter {number}")


def _check_status(status: int, request: str) -> None:
    if status:
        raise RuntimeError(f"espeak-ng refuses {request} (status {status})")
