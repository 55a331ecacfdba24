"""Reads audio files in a process of its own, which a broken file may end or hold up.

`python -m tests.support.audio_worker LIST ANSWERS` reads each file that a line of LIST names, and
writes a line of JSON to ANSWERS before and after each. `answers` runs it and watches over it.
"""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdann import audio
from jdann.features import speech, speech_part

_SETTINGS = audio.AudioSettings()
_MOST_BYTES = 6 * 2**30  # of addresses, so that a broken file cannot stop the machine
_START_S = 300.0  # until the worker is ready


def answers(
    files: Sequence[Path], folder: Path, longest_s: float
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What became of each file, as `_answer` says, or {"error": ...} if it stopped the worker.

    Args:
      files: are read one after the other.
      folder: for the files of the worker; what it prints is in `printed.txt` there.
      longest_s: until a file is answered; a worker that takes longer is ended.
    """
    remaining = list(files)
    listed, answered = folder / "listed.txt", folder / "answers.txt"
    while remaining:
        listed.write_text("\n".join(map(str, remaining)), encoding="utf-8")
        answered.write_text("")
        command = [sys.executable, "-m", "tests.support.audio_worker", str(listed), str(answered)]
        with (folder / "printed.txt").open("ab") as printed:
            worker = subprocess.Popen(command, stdout=printed, stderr=printed)
            end = _watch(worker, answered, longest_s)
        lines = [json.loads(line) for line in answered.read_text().splitlines()]
        # The first line says that the worker is ready, the others come in pairs.
        yield from zip(remaining, lines[2::2], strict=False)
        n_answered = max(0, len(lines) - 1) // 2
        if n_answered < len(remaining):
            yield remaining[n_answered], {"error": end}
        remaining = remaining[n_answered + 1 :]


def _watch(worker: subprocess.Popen[bytes], answered: Path, longest_s: float) -> str:
    """Waits for the end of a worker, or ends it if it is silent for too long; says which."""
    size, since = 0, time.monotonic()
    while worker.poll() is None:
        time.sleep(0.05)
        if answered.stat().st_size != size:
            size, since = answered.stat().st_size, time.monotonic()
        elif time.monotonic() - since > (longest_s if size else _START_S):
            worker.kill()
            worker.wait()
            return f"no answer after {longest_s:g} s"
    return f"the process ended with status {worker.returncode}"


def _answer(path: Path) -> dict[str, Any]:
    """A refusal, or the shape, type, rate and digest of the samples, and the prepared clip."""
    try:
        samples, rate_hz = audio.read(path)
    except audio.AudioError as error:
        return {"refused": str(error)}
    outcome = {
        "shape": list(samples.shape),
        "type": str(samples.dtype),
        "rate_hz": rate_hz,
        "digest": hashlib.sha256(samples.tobytes()).hexdigest(),
    }
    try:
        clip = speech_part.prepare(samples, rate_hz, _SETTINGS).samples
    except audio.AudioError as error:
        return outcome | {"not_prepared": str(error)}
    level = float(np.sqrt(np.mean(np.square(clip, dtype=np.float64))))
    return outcome | {"prepared": list(clip.shape), "level": level}


def _from_bytes(path: Path) -> str | None:
    """The digest of the samples if the bytes of a file are decoded; None: they are refused."""
    try:
        samples, _ = audio.decode(path.read_bytes())
    except audio.AudioError:
        return None
    return hashlib.sha256(samples.tobytes()).hexdigest()


def _work(listed: Path, answered: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    for seconds in (2, 4, 10, 30):  # compiles the programs of the speech detector
        speech.measure(np.ones(seconds * 16000, np.float32))
    with answered.open("a", encoding="utf-8", buffering=1) as file:
        file.write("{}\n")
        for name in listed.read_text(encoding="utf-8").splitlines():
            file.write("{}\n")
            try:
                outcome = _answer(Path(name))
                outcome["digest_of_bytes"] = _from_bytes(Path(name))
            except BaseException as error:  # nothing but an AudioError is allowed
                outcome = {"error": f"{type(error).__name__}: {error}"}
            peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            file.write(json.dumps(outcome | {"peak_mib": peak_kib // 1024}) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    _work(Path(sys.argv[1]), Path(sys.argv[2]))
