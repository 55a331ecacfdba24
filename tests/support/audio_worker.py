"""Reads audio files one after the other, in a process of its own that a fuzzed file may end.

`python -m tests.support.audio_worker LIST ANSWERS` reads each file that a line of LIST names, and
writes a line of JSON to ANSWERS before and after each.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jdann import audio
from jdann.features import speech_part

_SETTINGS = audio.AudioSettings()
_MOST_BYTES = 6 * 2**30  # of addresses, so that a broken file cannot stop the machine


def answer(path: Path) -> dict[str, Any]:
    """What became of a file: a refusal, or the shape, rate and digest of its samples."""
    try:
        samples, rate_hz = audio.read(path)
    except audio.AudioError as error:
        return {"refused": str(error)}
    outcome: dict[str, Any] = {
        "shape": samples.shape,
        "type": str(samples.dtype),
        "rate_hz": rate_hz,
        "digest": hash(samples.tobytes()),
    }
    try:
        clip = speech_part.prepare(samples, rate_hz, _SETTINGS)
    except audio.AudioError as error:
        return outcome | {"refused": str(error)}
    level = float(np.sqrt(np.mean(np.square(clip.samples, dtype=np.float64))))
    return outcome | {"prepared": clip.samples.shape, "level": level}


def other_readers_agree(path: Path, outcome: dict[str, Any]) -> bool:
    """Whether the bytes of a file are read as the file is."""
    try:
        samples, rate_hz = audio.decode(path.read_bytes())
    except audio.AudioError:
        return "digest" not in outcome
    same = (samples.shape, rate_hz, hash(samples.tobytes()))
    return same == (outcome.get("shape"), outcome.get("rate_hz"), outcome.get("digest"))


def main(listed: str, answers: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    with Path(answers).open("a", encoding="utf-8", buffering=1) as file:
        for name in Path(listed).read_text(encoding="utf-8").splitlines():
            file.write(json.dumps({"begun": name}) + "\n")
            begun = time.monotonic()
            try:
                outcome = answer(Path(name))
                seconds = time.monotonic() - begun
                outcome |= {"agree": other_readers_agree(Path(name), outcome), "seconds": seconds}
            except Exception as error:  # noqa: BLE001: that is what we look for
                outcome = {"error": f"{type(error).__name__}: {error}"}
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            file.write(json.dumps(outcome | {"name": name, "peak_mib": peak}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
