"""What a file is that libsndfile cannot read, by its first bytes."""

import re
from typing import NamedTuple

HEAD_BYTES = 1024  # so many of them tell the format
_UNFINISHED = (
    "only zeros at its beginning, as of a copy or download that did not end; copy it again"
)


class Format(NamedTuple):
    """A format that libsndfile cannot read."""

    name: str  # what the file is, in words
    start: bytes  # a regular expression for its first bytes
    demuxer: str | None  # ffmpeg's name for it; None: it is no sound


FORMATS = (
    Format("MPEG-4 (m4a, mp4)", rb"....ftyp", "mov"),
    Format("WebM or Matroska", rb"\x1aE\xdf\xa3", "matroska"),
    Format("Windows Media (wma)", rb"0&\xb2u\x8ef\xcf\x11", "asf"),
    Format("AMR", rb"#!AMR", "amr"),
    Format("AAC", rb"\xff[\xf0\xf1\xf8\xf9]", "aac"),
    Format("Monkey's Audio (ape)", rb"MAC ", "ape"),
    Format("WavPack", rb"wvpk", "wv"),
    Format("AVI video", rb"RIFF....AVI ", "avi"),
    Format("a pointer of Git LFS, not the audio; git lfs pull fetches it", rb"version http", None),
    Format("a pointer of git-annex, not the audio; git annex get fetches it", rb"\S*/annex/", None),
    Format("a web page; the download failed, try it again", rb"\s*<(!doctype|html|\?xml)", None),
    Format("JSON text, not audio; the download may have failed", rb'\s*[{\[]\s*["{}\]]', None),
    Format("a zip archive; unpack it", rb"PK\x03\x04", None),
    Format("a compressed archive; unpack it", rb"\x1f\x8b|Rar!|7z\xbc\xaf|BZh|\xfd7zXZ", None),
    Format("a picture", rb"\x89PNG|\xff\xd8\xff|GIF8", None),
    Format("a PDF document", rb"%PDF", None),
    Format("MIDI, which holds notes and no sound", rb"MThd", None),
    Format("a file of zeros, of a copy that did not end; copy it again", rb"\x00{512}", None),
)


def recognise(head: bytes) -> Format | None:
    """The format of a file with these first bytes; None: none of these."""
    matching = (f for f in FORMATS if re.match(f.start, head, re.DOTALL | re.IGNORECASE))
    return next(matching, None)
