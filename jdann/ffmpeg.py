"""Finds and runs ffmpeg, for formats that libsndfile cannot read. It is optional."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import BinaryIO

_LONGEST_RUN_S = 600  # with a file; long recordings take minutes
_LONGEST_UPLOAD_S = 60  # with bytes, for which somebody waits


class ConversionError(Exception):
    """Why ffmpeg did not convert a file, in words."""


@cache
def find() -> str | None:
    """The program: `ffmpeg` of the system, else that of the package imageio-ffmpeg; or None."""
    program = shutil.which("ffmpeg")
    if program is None:
        try:
            from imageio_ffmpeg import get_ffmpeg_exe  # an extra that few need

            program = get_ffmpeg_exe()
        except (ImportError, RuntimeError):  # it is missing, or has no program for this system
            return None
    return program


def convert(source: Path | bytes, demuxer: str, longest_s: float) -> BinaryIO:
    """Converts the sound of a file to wav, with 16 bits and its own rate and channels.

    Only the given demuxer is used, because others open files and addresses that the input names.

    Args:
      source: the file, or its bytes. On Linux, bytes are not written to disk.
      demuxer: ffmpeg's name for the format, such as "mov".
      longest_s: what comes later is left out, seconds; infinite: nothing is.

    Returns:
      The wav file, open for reading. That of a file is a temporary one, which is gone when it is
      closed; that of bytes is in memory.

    Raises:
      ConversionError: the file is damaged or holds no sound, or ffmpeg cannot be run.
    """
    program = find()
    if program is None:
        raise ConversionError("ffmpeg is not installed")
    given, name = _given(source)
    limit = [] if longest_s == float("inf") else ["-t", str(longest_s)]
    command = [
        *(program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file,fd,pipe"),
        *("-f", demuxer, "-i", name, "-map", "0:a:0", *limit),
        *("-c:a", "pcm_s16le", "-f", "wav", "pipe:1"),
    ]
    wav = tempfile.TemporaryFile() if given is None else _memory_file()  # noqa: SIM115
    try:
        finished = subprocess.run(
            command,
            stdout=wav,
            stderr=subprocess.PIPE,
            pass_fds=() if given is None else (given.fileno(),),
            timeout=_LONGEST_RUN_S if given is None else _LONGEST_UPLOAD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        wav.close()
        raise ConversionError(f"ffmpeg did not end ({str(error)[:80]})") from error
    finally:
        if given is not None:
            given.close()
    problem = finished.stderr.decode("utf-8", "replace").strip().splitlines()
    if finished.returncode or problem:
        wav.close()
        raise ConversionError(problem[0][-120:] if problem else "ffmpeg failed")
    wav.seek(0)
    return wav


def _given(source: Path | bytes) -> tuple[BinaryIO | None, str]:
    """What is given to ffmpeg as an open file, or None, and the name of its input."""
    if not isinstance(source, bytes):
        return None, f"file:{os.fspath(source)}"
    given = _memory_file()
    given.write(source)
    given.flush()
    given.seek(0)
    return given, f"/dev/fd/{given.fileno()}"


def _memory_file() -> BinaryIO:
    """An open file that is only in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("jdann"), "w+b")
    return tempfile.TemporaryFile()
