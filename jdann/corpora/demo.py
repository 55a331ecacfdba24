"""The demo corpus: speech synthesised by espeak-ng in ESD's layout, so that every command runs anywhere.

Ten Mandarin and ten English speakers say the same sentences in five emotions. A speaker is a voice, a register, a tempo
and a vocal-tract length; an emotion moves pitch, pitch range, tempo, loudness, spectral tilt, contour and tremor, more
or less strongly from utterance to utterance and not alike in the two languages. It shows that a pipeline works; figures
measured on it say nothing about people.

espeak-ng (GPL-3) comes with the optional package `espeakng-loader`; only the processes that make the corpus load it.
"""

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from jdann.corpora.sentences import SENTENCES
from jdann.errors import InputError
from jdann.progress import track

SAMPLE_RATE_HZ = 16000
MARKER = "demo.json"  # written last: a folder without it was never finished
_VERSION = 1  # of the speech: another number makes existing folders be made anew
_SENTENCES_PER_EMOTION = 350  # of ESD, which its file numbers count in
_MOST_PROCESSES = 8  # each takes some 150 MB
_STALE_S = 24 * 3600  # an unfinished folder this old belongs to a process that is gone

_GENDERS = "FFFMMMFMFM" + "MMMMFFFFFM"  # of ESD's speakers 1 to 20
# Not those with `breath` (f2, f3, f5 and others): they sound of uninitialised memory, different each time.
_VARIANTS = {"F": ("f1", "f4", "linda", "Annie", "steph"), "M": ("m1", "m2", "m3", "m4", "m7")}
_ENGLISH_VOICES = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-gb-x-gbcwmd")


class _Emotion(NamedTuple):
    """How far an emotion at full strength moves a voice from its neutral one."""

    folder: str  # ESD's
    mandarin: str  # the label in ESD's Mandarin transcripts
    pitch: float  # espeak's units, 0 to 99 from the voice's lowest to its highest
    pitch_range: float  # espeak's units, 0 to 99
    rate: float  # fraction of the speaker's tempo
    loudness_db: float
    tilt_db: float  # per octave: a pressed voice is brighter
    rise: float  # of the pitch from beginning to end, fraction
    tremor: float  # depth of a slow modulation of pitch, fraction


# In ESD's order: file number = 350 * index + sentence.
_EMOTIONS = (
    _Emotion("Neutral", "中立", 0, 0, 0.0, 0.0, 0.0, -0.02, 0.0),
    _Emotion("Angry", "生气", 6, 20, 0.18, 6.0, 2.2, -0.12, 0.006),
    _Emotion("Happy", "快乐", 18, 26, 0.06, 3.0, 0.8, 0.04, 0.0),
    _Emotion("Sad", "伤心", -10, -22, -0.18, -5.0, -1.4, -0.10, 0.014),
    _Emotion("Surprise", "惊喜", 24, 34, -0.06, 2.0, -0.2, 0.28, 0.0),
)
# How much of it each language shows, in the order of the fields from `pitch` on: the two do not act alike.
_STYLE = {"en": (1.0, 1.0, 0.7, 1.0, 1.1, 1.0, 1.0), "zh": (1.2, 1.1, 1.3, 1.0, 0.5, 0.6, 1.3)}
_STRENGTH = (0.5, 1.3)  # of an utterance, drawn evenly
_SPREAD = (
    3.0,
    5.0,
    0.04,
    1.5,
    0.35,
    0.03,
    0.002,
)  # standard deviation of what has nothing to do with the emotion


class _Speaker(NamedTuple):
    number: int  # ESD's, 1 to 20
    language: str
    voice: str  # espeak's
    pitch: float  # espeak's units
    pitch_range: float  # espeak's units
    words_per_minute: float
    tract: float  # length relative to the voice's own: above 1 lowers pitch and formants
    tilt_db: float  # per octave, of voice and microphone
    noise_db: float  # of the room, relative to the speech


def folder(data_dir: str | Path, *, sentences: int = 10, speakers: int = 10) -> Path:
    """Where the demo corpus of that size lies, whether or not it has been made.

    Args:
      data_dir: folder of all data.
      sentences: in each emotion, 1 to 350.
      speakers: of each language, 1 to 10.
    """
    return Path(data_dir) / f"demo-{speakers}x{sentences}"


def ensure(
    data_dir: str | Path, *, sentences: int = 10, speakers: int = 10, force: bool = False
) -> Path:
    """Makes the demo corpus unless it is there, and returns its folder.

    The layout, file names and transcripts are ESD's: `0011/Angry/train/0011_000351.wav`, 16 kHz, mono, 16 bit; speakers
    0001 to 0010 speak Mandarin, 0011 to 0020 English. The sentences' numbers are spread over ESD's 350, so that from
    ten sentences on each of its three parts has some. The same files come out, bit for bit, on the same machine.

    Args:
      data_dir: folder of all data, made where it does not exist.
      sentences: in each emotion, 1 to 350.
      speakers: of each language, 1 to 10.
      force: make it anew.

    Returns:
      The folder, complete. Nothing is seen of an interrupted making.

    Raises:
      InputError: a number is out of range, espeakng-loader is not installed, or the folder cannot be written.
    """
    for name, value, most in (
        ("sentences", sentences, _SENTENCES_PER_EMOTION),
        ("speakers", speakers, 10),
    ):
        if not 1 <= value <= most:
            raise InputError(f"demo corpus: {name} is {value}; expected 1 to {most}")
    target = folder(data_dir, sentences=sentences, speakers=speakers)
    marker = {
        "made_by": "jdann, with espeak-ng",
        "version": _VERSION,
        "sentences": sentences,
        "speakers": speakers,
    }
    if not force and _read_marker(target) == marker:
        return target
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            'the demo corpus needs espeak-ng, which is not installed; run: pip install "jdann[demo]"'
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
            scratch = Path(name)
            _make(scratch / "new", scratch, marker)
            if target.exists():
                target.rename(scratch / "old")
            (scratch / "new").rename(target)
    except OSError as error:
        if _read_marker(target) == marker:  # another process was faster
            return target
        raise InputError(
            f"{target}: the demo corpus cannot be written there ({error.strerror or error})"
        ) from error
    return target


def _read_marker(target: Path) -> dict | None:
    try:
        return json.loads((target / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _remove_stale(target: Path) -> None:
    """Removes what a making left that was killed rather than interrupted."""
    for left in target.parent.glob(f".{target.name}-*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _make(root: Path, scratch: Path, marker: dict) -> None:
    """Writes the corpus into `root`, one process for each core."""
    speakers, sentences = marker["speakers"], marker["sentences"]
    numbers = [first + i for i in range(speakers) for first in (1, 11)]
    cores = min(len(os.sched_getaffinity(0)), len(numbers), _MOST_PROCESSES)
    shares = [numbers[i::cores] for i in range(cores)]
    # Plain subprocesses: multiprocessing would fork JAX's threads, or import the caller's script once more.
    code = f"from jdann.corpora.demo import _work; _work({str(root)!r}, {str(scratch)!r}, {sentences}, %r)"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    logs = [scratch / f"{i}.log" for i in range(cores)]
    said_end, worker_end = os.pipe()  # one for all workers; it ends when the last of them does
    workers = []
    with os.fdopen(said_end) as said:
        try:
            for share, log in zip(shares, logs, strict=True):
                command = [sys.executable, "-c", code % share]
                with log.open("w") as errors:
                    workers.append(
                        subprocess.Popen(command, env=environment, stdout=worker_end, stderr=errors)
                    )
            os.close(worker_end)
            total = len(numbers) * len(_EMOTIONS) * sentences
            for _ in track(said, "Synthesising the demo corpus", total, "utterances"):
                pass
            failed = [log for worker, log in zip(workers, logs, strict=True) if worker.wait()]
        finally:
            for worker in workers:
                worker.kill()  # does nothing to one that has ended
                worker.wait()
    if failed:
        reason = (
            failed[0].read_text(errors="replace").strip().splitlines() or ["its process was killed"]
        )[-1]
        raise InputError(f"the demo corpus could not be synthesised: {reason}")
    (root / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")


def _work(root: str, scratch: str, sentences: int, numbers: list[int]) -> None:
    """Writes a share of the speakers, and a line to standard output for each utterance."""
    for number in numbers:
        for _ in _make_speaker(Path(root), Path(scratch), number, sentences):
            print(number, flush=True)


def _make_speaker(root: Path, scratch: Path, number: int, sentences: int) -> Iterator[Path]:
    """Writes all utterances of one speaker, yielding the path of each, and the transcript."""
    speaker = _speaker(number)
    say = _synthesiser(speaker.voice, scratch)
    name = f"{number:04d}"
    transcript = []
    for index, emotion in enumerate(_EMOTIONS):
        label = emotion.mandarin if speaker.language == "zh" else emotion.folder
        for k in range(sentences):
            sentence = 1 + k * _SENTENCES_PER_EMOTION // sentences
            file = f"{name}_{index * _SENTENCES_PER_EMOTION + sentence:06d}"
            text = SENTENCES[k][speaker.language == "zh"]
            path = root / name / emotion.folder / _part(sentence) / f"{file}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([_VERSION, number, index, sentence])
            soundfile.write(
                path, _utterance(say, speaker, emotion, text, rng), SAMPLE_RATE_HZ, subtype="PCM_16"
            )
            transcript.append(f"{file}\t{text}\t{label}\n")
            yield path
    (root / name / f"{name}.txt").write_text("".join(transcript), encoding="utf-8")


def _part(sentence: int) -> str:
    """ESD's official part of a sentence, 1 to 350."""
    return "evaluation" if sentence <= 20 else "test" if sentence <= 50 else "train"


def _speaker(number: int) -> _Speaker:
    """Speaker 1 to 20, always the same."""
    rng = np.random.default_rng([_VERSION, number])
    language, gender = ("zh" if number <= 10 else "en"), _GENDERS[number - 1]
    among_its_gender = _GENDERS[10 * ((number - 1) // 10) : number - 1].count(gender)
    voice = "cmn" if language == "zh" else _ENGLISH_VOICES[(number - 11) % len(_ENGLISH_VOICES)]
    return _Speaker(
        number=number,
        language=language,
        voice=f"{voice}+{_VARIANTS[gender][among_its_gender]}",
        pitch=rng.uniform(32, 50),
        pitch_range=rng.uniform(38, 52),
        words_per_minute=rng.uniform(150, 185),
        tract=rng.uniform(0.93, 1.07),
        tilt_db=rng.uniform(-0.7, 0.7) + (-1.0 if language == "zh" else 0.5),
        noise_db=rng.uniform(-45, -35) + (-5 if language == "zh" else 0),
    )


def _utterance(
    say: Callable, speaker: _Speaker, emotion: _Emotion, text: str, rng: np.random.Generator
) -> np.ndarray:
    """[samples] float32 at SAMPLE_RATE_HZ, within -1 to 1."""
    moved = np.array(emotion[2:]) * _STYLE[speaker.language] * rng.uniform(*_STRENGTH)  # [7]
    moved = moved * rng.uniform(0.7, 1.3, len(moved)) + rng.normal(0, _SPREAD)
    pitch, pitch_range, rate, loudness_db, tilt_db, rise, tremor = moved
    samples, rate_hz = say(
        text,
        words_per_minute=speaker.words_per_minute * (1 + rate),
        pitch=speaker.pitch + pitch,
        pitch_range=speaker.pitch_range + pitch_range,
    )
    samples = _bend(
        samples,
        rise,
        2 * np.pi * rng.uniform(4.5, 6.5) / rate_hz,
        abs(tremor),
        rng.uniform(0, 2 * np.pi),
    )
    samples = soxr.resample(samples, rate_hz / speaker.tract, SAMPLE_RATE_HZ, quality="HQ")
    samples = _tilt(samples, speaker.tilt_db + tilt_db)
    rms = np.sqrt(np.mean(np.square(samples)))
    samples = samples / rms + 10 ** (speaker.noise_db / 20) * rng.standard_normal(len(samples))
    samples *= 10 ** ((-26 + loudness_db) / 20)
    return np.clip(samples, -0.99, 0.99).astype(np.float32)


def _bend(
    samples: np.ndarray, rise: float, tremor_step: float, tremor: float, phase: float
) -> np.ndarray:
    """[samples] played at a speed that rises by `rise` from beginning to end and trembles by `tremor`."""
    position = np.linspace(-0.5, 0.5, len(samples))
    speed = 1 + rise * position + tremor * np.sin(tremor_step * np.arange(len(samples)) + phase)
    return np.interp(np.cumsum(speed), np.arange(len(samples)), samples)


def _tilt(samples: np.ndarray, tilt_db: float) -> np.ndarray:
    """[samples] with the spectrum tilted about 1 kHz by `tilt_db` per octave, above 100 Hz."""
    length = (
        1 << (len(samples) - 1).bit_length()
    )  # lengths with large prime factors take ten times as long
    octaves = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 100) / 1000)
    return np.fft.irfft(np.fft.rfft(samples, length) * 10 ** (tilt_db * octaves / 20))[
        : len(samples)
    ]


def _synthesiser(voice: str, scratch: Path) -> Callable[..., tuple[np.ndarray, int]]:
    """Starts an espeak-ng of its own and returns a function from text and prosody to samples and their rate in Hz.

    What espeak-ng has said colours what it says next, and no call undoes that: a copy of the library, in `scratch`, is
    loaded as a new one, so that a speaker does not depend on who was synthesised before. Constants are those of
    espeak-ng's speak_lib.h.
    """
    import espeakng_loader

    own = tempfile.mkdtemp(dir=scratch)
    library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), own))
    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    library.espeak_Initialize.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    library.espeak_SetSynthCallback.argtypes = (callback_type,)
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
    library.espeak_SetParameter.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library.espeak_Synth.argtypes = (
        *(
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
        ),
        *(ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p),
    )
    chunks: list[bytes] = []

    @callback_type
    def collect(samples, count, _events) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    library.espeak_Info.argtypes = (ctypes.POINTER(ctypes.c_char_p),)
    library.espeak_Info.restype = ctypes.c_char_p
    synchronous, dont_exit = 2, 0x8000
    found = ctypes.c_char_p()
    with tempfile.TemporaryDirectory() as short:  # espeak-ng cuts paths at 160 characters
        data = Path(short) / "espeak-ng-data"
        data.symlink_to(espeakng_loader.get_data_path())
        rate_hz = library.espeak_Initialize(synchronous, 0, os.fsencode(data), dont_exit)
        library.espeak_Info(ctypes.byref(found))
        if rate_hz <= 0 or found.value != os.fsencode(data):
            raise RuntimeError(
                f"espeak-ng does not start with the data in {espeakng_loader.get_data_path()}"
            )
        _checked(library.espeak_SetVoiceByName(voice.encode()), f"voice {voice}")
    library.espeak_SetSynthCallback(collect)

    def say(
        text: str, *, words_per_minute: float, pitch: float, pitch_range: float
    ) -> tuple[np.ndarray, int]:
        for name, number, value in (
            ("rate", 1, words_per_minute),
            ("pitch", 3, pitch),
            ("range", 4, pitch_range),
        ):
            value = round(np.clip(value, 80, 400) if name == "rate" else np.clip(value, 0, 99))
            _checked(library.espeak_SetParameter(number, value, 0), f"{name} {value}")
        chunks.clear()
        encoded, utf8 = text.encode(), 1
        _checked(
            library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, utf8, None, None),
            f"text {text}",
        )
        samples = np.frombuffer(b"".join(chunks), np.int16).astype(np.float64)
        if not samples.any():
            raise RuntimeError(f"espeak-ng says nothing to {text!r} with voice {voice}")
        return samples / 32768, rate_hz

    say.keep = (library, collect)  # the library calls `collect` for as long as it lives
    return say


def _checked(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"espeak-ng refuses {what} (status {status})")
