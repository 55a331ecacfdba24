"""Where the samples of a file end by its header, in formats for which libsndfile ignores that.

libsndfile reads such a file to its end. Without these functions, a file that was cut off would be a
shorter one without a word, and what follows the samples would be heard as noise.
"""

import re
from collections.abc import Callable

_UNKNOWN_64 = 2**62  # programs write at least this size if they do not know the length
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def samples_end(head: bytes, file_format: str) -> tuple[int, int] | None:
    """The first byte of the samples, and the byte after the last one, as the header promises.

    Args:
      head: the beginning of the file.
      file_format: libsndfile's name for its format.

    Returns:
      None: libsndfile checks this format itself, or the header does not say it.
    """
    reader = _READERS.get(file_format)
    return None if reader is None else reader(head)


def _au(head: bytes) -> tuple[int, int] | None:
    order = "little" if head[:4] == b"dns." else "big"
    start = int.from_bytes(head[4:8], order)
    size = int.from_bytes(head[8:12], order)
    return (start, start + size) if 0 < size < 0x7FFF0000 else None


def _w64(head: bytes) -> tuple[int, int] | None:
    position = 40  # after the chunk of the file and the word "wave"
    while position + 24 <= len(head):
        size = int.from_bytes(head[position + 16 : position + 24], "little")
        if size < 24:
            return None
        if head[position : position + 16] == _W64_DATA:
            return (position + 24, position + size) if 24 < size < _UNKNOWN_64 else None
        position += size + -size % 8
    return None


def _rf64(head: bytes) -> tuple[int, int] | None:
    if head[12:16] != b"ds64":
        return None
    size = int.from_bytes(head[28:36], "little")
    position = 12
    while position + 8 <= len(head):
        if head[position : position + 4] == b"data":
            start = position + 8
            return (start, start + size) if 0 < size < _UNKNOWN_64 else None
        length = int.from_bytes(head[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return None


def _nist(head: bytes) -> tuple[int, int] | None:
    match = re.match(rb"NIST_1A\n\s*(\d{1,9})\n", head)
    if match is None:
        return None
    start = int(match[1])
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,15})$", head[:start], re.MULTILINE))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    # A-law and u-law need one byte for a sample, and their headers do not always say it.
    samples, channels, width = (int(fields.get(name, b"1")) for name in names)
    size = samples * channels * width
    return (start, start + size) if b"sample_count" in fields and size else None


_READERS: dict[str, Callable[[bytes], tuple[int, int] | None]] = {
    "AU": _au,
    "W64": _w64,
    "RF64": _rf64,
    "NIST": _nist,
}
