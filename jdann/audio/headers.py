"""Headers of audio files that do not say how much audio follows, or say it wrongly."""

import io
import re
from typing import Any, BinaryIO

import soundfile

from jdann.audio.errors import AudioError
from jdann.audio.extents import samples_end

# A header, or a manifest's `end`, may promise this much more than the file holds.
TOLERANCE_S = 0.1
UNKNOWN_FRAMES = 2**62  # libsndfile reports about 2**63 if a header does not know the length
_UNKNOWN_BYTES = 0x7FFF0000  # programs write at least this size if they do not know the length
_LONGEST_HEADER = 2**20  # bytes in which the data of a file begin


def check_size(file: soundfile.SoundFile) -> None:
    """Raises an AudioError if a RIFF or AIFF header promises more bytes than the file has.

    libsndfile reads such files without an error. A size of almost 2 GiB or more does not count:
    programs write it when they do not know the length yet.
    """
    sizes = re.search(
        r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE
    )
    if sizes is None:
        return
    promised_bytes, actual_bytes = int(sizes[1]), int(sizes[2])
    if promised_bytes < _UNKNOWN_BYTES:
        actual_s = file.frames / file.samplerate
        promised_s = actual_s * promised_bytes / max(actual_bytes, 1)
        if promised_s - actual_s > TOLERANCE_S:
            raise_short(promised_s, actual_s)


def raise_short(promised_s: float, actual_s: float) -> None:
    """Raises the AudioError of a file that is shorter than its header says."""
    raise AudioError(
        f"cut off or damaged: the header promises {promised_s:.2f} s, "
        f"the file holds {actual_s:.2f} s"
    )


def with_data_size(file: BinaryIO) -> io.RawIOBase | None:
    """A wav file whose header gives its data the size 0, as if it were the size that they have.

    A program writes 0 if it does not know the size yet, and writes the size when it ends.

    Args:
      file: open for reading.

    Returns:
      A file to read instead; None if it is not such a wav file.
    """
    file.seek(0)
    head = file.read(_LONGEST_HEADER)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position = 12
    while head[position : position + 4] != b"data":
        size = int.from_bytes(head[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
        if position + 8 > len(head):
            return None
    if head[position + 4 : position + 8] != bytes(4):
        return None
    size = file.seek(0, io.SEEK_END) - position - 8
    if size <= 0 or _is_chunk(head[position + 8 : position + 16], size):
        return None
    size_bytes = min(size, 2**32 - 1).to_bytes(4, "little")
    return _View(file, position + 8 + size, position + 4, size_bytes)


def without_rest(stream: BinaryIO, file: soundfile.SoundFile) -> io.RawIOBase | None:
    """A file without what follows its samples, in formats where libsndfile would read that too.

    Args:
      stream: open for reading.
      file: the same file, opened by libsndfile.

    Returns:
      A file to read instead; None if nothing follows the samples.

    Raises:
      AudioError: the header promises more samples than the file holds.
    """
    position = stream.tell()
    stream.seek(0)
    extent = samples_end(stream.read(_LONGEST_HEADER), file.format)
    length = stream.seek(0, io.SEEK_END)
    stream.seek(position)
    if extent is None or extent[0] >= length or extent[1] == length:
        return None
    start, end = extent
    if end < length:
        return _View(stream, end)
    actual_s = file.frames / file.samplerate
    promised_s = actual_s * (end - start) / (length - start)
    if promised_s - actual_s > TOLERANCE_S:
        raise_short(promised_s, actual_s)
    return None


def _is_chunk(start: bytes, size: int) -> bool:
    """Whether bytes begin like a chunk that fits into `size` bytes: the data are really empty."""
    return (
        start[:4].isascii() and start[:4].isalnum() and int.from_bytes(start[4:], "little") < size
    )


class _View(io.RawIOBase):
    """The beginning of a file, in which some bytes may read as other ones."""

    def __init__(self, file: BinaryIO, end: int, start: int = 0, data: bytes = b""):
        self.file, self.end, self.start, self.data = file, end, start, data
        file.seek(0)

    def readinto(self, buffer: Any, /) -> int:
        first = self.file.tell()
        piece = bytearray(self.file.read(max(0, min(len(buffer), self.end - first))))
        for i, byte in enumerate(self.data, start=self.start - first):
            if 0 <= i < len(piece):
                piece[i] = byte
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.file.tell(), io.SEEK_END: self.end}[whence]
        # A damaged header may name a place before the beginning. libsndfile calls this function,
        # and an exception in it would be printed, not raised.
        return self.file.seek(base + offset) if base + offset >= 0 else self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()
