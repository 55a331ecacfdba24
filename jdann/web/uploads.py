"""Reads uploaded files into memory; nothing touches the disk.

The limits are checked while the file still arrives, so that no request can fill the memory.
"""

import asyncio
import time
from typing import NamedTuple

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from jdann.web.clients import RequestMemory
from jdann.web.limits import Limits, Refused

MULTIPART = "multipart/form-data"
_OVERHEAD = 64 * 1024  # bytes that a form adds to its files
# Bytes beyond the limit are read and thrown away, up to this multiple of the limit. Most clients
# read the answer, which says why the file is refused, only after they have sent everything.
_DISCARDED = 8


def unusable(reason: object) -> str:
    """The sentence that says why a clip cannot be used."""
    return f"This cannot be used: {reason}."


class Upload(NamedTuple):
    """One uploaded file."""

    name: str | None
    data: bytes


async def read_uploads(request: Request, memory: RequestMemory, limits: Limits) -> list[Upload]:
    """Reads the files of a request: its whole body, or the files of a form.

    Args:
      request: the request. Its `state.began`, by time.monotonic, is when its first byte arrived.
      memory: counts the bytes that are held.
      limits: the limits of a request.

    Raises:
      Refused: there is no file, the files are too large, too many or too slow, or the form is
        damaged.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    is_form = media_type == MULTIPART
    most_bytes = limits.bytes + (_OVERHEAD if is_form else 0)
    try:
        async with asyncio.timeout(request.state.began + limits.seconds - time.monotonic()):
            body = await _body(request, memory, most_bytes, limits.bytes)
    except TimeoutError:
        sentence = f"The upload took longer than {limits.seconds:g} s; send it again."
        raise Refused(408, sentence, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "The upload broke off before its end.") from None
    uploads = await _files_of_form(request, body, limits.clips) if is_form else [Upload(None, body)]
    if not any(upload.data for upload in uploads):
        raise Refused(
            400,
            "The request has no audio; send a wav, flac, mp3 or ogg file as its body, "
            "or in the field file of a form.",
        )
    if sum(len(upload.data) for upload in uploads) > limits.bytes:
        raise _too_large(limits.bytes)
    return uploads


def _too_large(limit: int) -> Refused:
    sentence = (
        f"The upload is larger than {limit / 2**20:g} MB; send less audio, or compressed files."
    )
    return Refused(413, sentence, {"Connection": "close"})


async def _body(request: Request, memory: RequestMemory, most: int, limit: int) -> bytes:
    """Reads the body and never holds more than `most` bytes; `limit` is the one that is named."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > _DISCARDED * most:
        raise _too_large(limit)
    body, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            body.clear()
            if received > _DISCARDED * most:
                break
            continue
        memory.add(len(chunk))
        body += chunk
    if received > most:
        raise _too_large(limit)
    return bytes(body)


class _InMemory(MultiPartParser):
    spool_max_size = 0  # a SpooledTemporaryFile of this size never goes to disk

    @property
    def has_too_many_files(self) -> bool:
        """Whether the form broke off because of the number of its files."""
        return self._current_files > self.max_files

    def close(self) -> None:
        """Frees the files of the form, also of one that broke off before its end."""
        for file in getattr(self, "_files_to_close_on_error", ()):
            file.close()


async def _files_of_form(request: Request, body: bytes, most: int) -> list[Upload]:
    async def stream():
        yield body

    parser = _InMemory(request.headers, stream(), max_files=most, max_fields=8)
    try:
        form = await parser.parse()
        files = [value for _, value in form.multi_items() if not isinstance(value, str)]
        if not files:
            raise Refused(
                400,
                "The form has no file; send one in the field file, as in curl -F file=@clip.wav.",
            )
        return [Upload(file.filename, await file.read()) for file in files]
    except (MultiPartException, ValueError, KeyError) as error:
        if parser.has_too_many_files:
            sentence = f"The form has more than {most} files; send at most {most}."
            raise Refused(413, sentence) from error
        reason = error.message if isinstance(error, MultiPartException) else "it cannot be read"
        raise Refused(
            400, f"The form is damaged ({reason}); send it as in curl -F file=@clip.wav."
        ) from error
    finally:
        parser.close()
