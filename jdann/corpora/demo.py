"""The demo corpus: speech synthesised by espeak-ng in ESD's layout, to try each command.

Ten Mandarin and ten English speakers say the same sentences in five emotions. The corpus shows that
a pipeline works. Scores measured on it say nothing about people.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from jdann import folders
from jdann.corpora import demo_speech, esd
from jdann.corpora.demo_speech import EMOTIONS, SAMPLE_RATE_HZ, VERSION
from jdann.corpora.sentences import SENTENCES
from jdann.errors import InputError
from jdann.progress import track

MARKER = "demo.json"  # written last: a folder without it is not complete
_MOST_PROCESSES = 8  # each takes some 150 MB


def folder(data_dir: str | Path, *, sentences: int = 10, speakers: int = 10) -> Path:
    """The folder of the demo corpus of a size; it need not exist.

    Args:
      data_dir: folder of all data.
      sentences: in each emotion, 1 to 350.
      speakers: of each language, 1 to 10.
    """
    return Path(data_dir) / f"demo-{speakers}x{sentences}"


def ensure(
    data_dir: str | Path, *, sentences: int = 10, speakers: int = 10, force: bool = False
) -> Path:
    """Makes the demo corpus if it does not exist, and returns its folder.

    The layout, file names and transcripts are ESD's: `0011/Angry/train/0011_000351.wav`, 16 kHz,
    mono, 16 bit. Speakers 0001 to 0010 speak Mandarin, 0011 to 0020 English. The numbers of the
    sentences are spread over ESD's 350, so that with ten sentences or more each of ESD's three
    parts has some. On one machine the files are always the same, bit for bit.

    Args:
      data_dir: folder of all data; it is made if it does not exist.
      sentences: in each emotion, 1 to 350.
      speakers: of each language, 1 to 10.
      force: make the corpus again.

    Returns:
      The folder, complete. If the work is interrupted, no folder appears. While another process
      makes the same corpus, this one waits.

    Raises:
      InputError: a number is out of range, espeakng-loader is not installed, or the folder cannot
        be written.
    """
    for name, value, highest in (
        ("sentences", sentences, esd.SENTENCES),
        ("speakers", speakers, 10),
    ):
        if not 1 <= value <= highest:
            raise InputError(f"demo corpus: {name} is {value}; expected 1 to {highest}")
    target = folder(data_dir, sentences=sentences, speakers=speakers)
    marker = {
        "made_by": "jdann, with espeak-ng",
        "version": VERSION,
        "sentences": sentences,
        "speakers": speakers,
    }
    if not force and _read_marker(target) == marker:
        return target
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "the demo corpus needs espeak-ng, which is not installed; "
            'run: pip install "jdann[demo]"'
        )
    made = "made this demo corpus"
    try:
        with folders.unfinished(target.parent, target.name, str(target), made) as scratch:
            # Another process may have made it meanwhile.
            if force or _read_marker(target) != marker:
                _make(scratch / "new", scratch, marker)
                folders.put_in_place(scratch / "new", target)
    except OSError as error:
        raise InputError(
            f"{target}: the demo corpus cannot be written there ({error.strerror or error})"
        ) from error
    return target


def _read_marker(target: Path) -> dict | None:
    try:
        return json.loads((target / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _make(root: Path, scratch: Path, marker: dict) -> None:
    """Writes the corpus into `root`, with one process for each core."""
    speakers, sentences = marker["speakers"], marker["sentences"]
    numbers = [first + i for i in range(speakers) for first in (1, 11)]
    cores = min(len(os.sched_getaffinity(0)), len(numbers), _MOST_PROCESSES)
    shares = [numbers[i::cores] for i in range(cores)]
    # Plain subprocesses: multiprocessing would fork JAX's threads, or import the caller's script a
    # second time.
    code = "from jdann.corpora.demo import write_speakers; write_speakers({!r}, {!r}, {}, {})"
    search_path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environment = {**os.environ, "PYTHONPATH": search_path}
    logs = [scratch / f"{i}.log" for i in range(cores)]
    read_end, write_end = os.pipe()  # for all processes; it closes when the last of them ends
    processes = []
    with os.fdopen(read_end) as lines:
        try:
            for share, log in zip(shares, logs, strict=True):
                script = code.format(str(root), str(scratch), sentences, share)
                with log.open("w") as errors:
                    process = subprocess.Popen(
                        [sys.executable, "-c", script],
                        env=environment,
                        stdout=write_end,
                        stderr=errors,
                    )
                processes.append(process)
            os.close(write_end)
            total = len(numbers) * len(EMOTIONS) * sentences
            for _ in track(lines, "Synthesising the demo corpus", total, "utterances"):
                pass
            failed = [log for process, log in zip(processes, logs, strict=True) if process.wait()]
        finally:
            for process in processes:
                process.kill()  # does nothing if the process has ended
                process.wait()
    if failed:
        messages = failed[0].read_text(errors="replace").strip().splitlines()
        reason = messages[-1] if messages else "its process was killed"
        raise InputError(f"the demo corpus could not be synthesised: {reason}")
    (root / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")


def write_speakers(root: str, scratch: str, sentences: int, numbers: list[int]) -> None:
    """Writes some of the speakers; prints a line for each utterance. It runs in a process.

    Args:
      root: the folder of the corpus.
      scratch: a folder for temporary files.
      sentences: in each emotion.
      numbers: the speakers, 1 to 20.
    """
    for number in numbers:
        for _ in _write_speaker(Path(root), Path(scratch), number, sentences):
            print(number, flush=True)


def _write_speaker(root: Path, scratch: Path, number: int, sentences: int) -> Iterator[Path]:
    """Writes all utterances of a speaker and the transcript; yields the path of each utterance."""
    speaker = demo_speech.make_speaker(number)
    synthesise = demo_speech.start_espeak(speaker.voice, scratch)
    name = f"{number:04d}"
    transcript = []
    for index, emotion in enumerate(EMOTIONS):
        label = emotion.mandarin if speaker.language == "zh" else emotion.folder
        for k in range(sentences):
            sentence = sentence_number(k, sentences)
            file = f"{name}_{index * esd.SENTENCES + sentence:06d}"
            text = SENTENCES[k][speaker.language == "zh"]
            path = root / name / emotion.folder / esd.official_split(sentence) / f"{file}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([VERSION, number, index, sentence])
            samples = demo_speech.speak(synthesise, speaker, emotion, text, rng)
            soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            transcript.append(f"{file}\t{text}\t{label}\n")
            yield path
    (root / name / f"{name}.txt").write_text("".join(transcript), encoding="utf-8")


def sentence_number(k: int, sentences: int) -> int:
    """ESD's number, 1 to 350, of sentence `k` from 0, if there are `sentences` in all."""
    return 1 + k * esd.SENTENCES // sentences
