"""Reads an uploaded file into memory, within limits that hold while it still arrives; nothing touches the disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

MULTIPART = "multipart/form-data"
_OVERHEAD = 16 * 1024  # bytes that a form adds to its file
_DISCARDED = 8  # times the limit: what is too large is read on for this long, so that its sender hears why it is refused


class Refused(Exception):
    """Why a request is not answered, in a sentence, and the HTTP status that says so."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class Upload(NamedTuple):
    """One uploaded file."""

    name: str | None
    data: bytes


class Limits(NamedTuple):
    """What is accepted."""

    bytes: int = 20 * 2**20  # of one file
    duration_s: float = 300.0
    in_flight_bytes: int = 256 * 2**20  # of all requests together
    waiting: int = 256  # requests that wait for the recogniser
    seconds: float = 60.0  # for a body to arrive


class Gate:
    """Counts what is held in memory, so that many requests at once are refused before memory ends."""

    def __init__(self, limits: Limits):
        self.limits, self.bytes, self.requests = limits, 0, 0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator["Held"]:
        """A request's stay, from its first byte to its answer."""
        if self.requests >= self.limits.waiting:
            raise Refused(
                503, "Too many requests at once; try again in a few seconds.", {"Retry-After": "5"}
            )
        self.requests += 1
        held = Held(self)
        try:
            yield held
        finally:
            self.requests -= 1
            self.bytes -= held.bytes


class Held:
    """The bytes that one request holds."""

    def __init__(self, gate: Gate):
        self.gate, self.bytes = gate, 0

    def add(self, count: int) -> None:
        """Raises Refused where all requests together would hold too much."""
        if self.gate.bytes + count > self.gate.limits.in_flight_bytes:
            raise Refused(
                503, "Too much audio at once; try again in a few seconds.", {"Retry-After": "5"}
            )
        self.gate.bytes += count
        self.bytes += count


async def read(request: Request, held: Held) -> Upload:
    """The file of a request: its whole body, or the one file of a form.

    Raises:
      Refused: it is missing, too large, too slow, or the form is damaged.
    """
    limits = held.gate.limits
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    form = kind == MULTIPART
    try:
        async with asyncio.timeout(limits.seconds):
            body = await _body(
                request, held, limits.bytes + (_OVERHEAD if form else 0), limits.bytes
            )
    except TimeoutError:
        sentence = f"The upload took longer than {limits.seconds:g} s; send it again."
        raise Refused(408, sentence, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "The upload ended before its end.") from None
    upload = await _of_form(request, body) if form else Upload(None, body)
    if not upload.data:
        raise Refused(
            400,
            "No audio came with the request; send a wav, flac, mp3 or ogg file as its body, or as the field file.",
        )
    if len(upload.data) > limits.bytes:
        raise _too_large(limits.bytes)
    return upload


def _too_large(limit: int) -> Refused:
    sentence = f"The file is larger than {limit / 2**20:g} MB; send a shorter or a compressed one."
    return Refused(413, sentence, {"Connection": "close"})


async def _body(request: Request, held: Held, most: int, named: int) -> bytes:
    """The body, of which never more than `most` bytes are held."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > _DISCARDED * most:
        raise _too_large(named)
    body, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > most:
            if body:
                body.clear()
            if seen > _DISCARDED * most:
                break
            continue
        held.add(len(chunk))
        body += chunk
    if seen > most:
        raise _too_large(named)
    return bytes(body)


class _InMemory(MultiPartParser):
    spool_max_size = 0  # a SpooledTemporaryFile of this size never goes to disk


async def _of_form(request: Request, body: bytes) -> Upload:
    async def stream():
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=8).parse()
    except (MultiPartException, ValueError, KeyError) as error:
        message = getattr(error, "message", "it cannot be read")
        raise Refused(
            400, f"The form is damaged ({message}); send one file, as in curl -F file=@clip.wav."
        ) from error
    files = [value for value in form.values() if not isinstance(value, str)]
    if not files:
        raise Refused(
            400, "The form holds no file; send one in the field file, as in curl -F file=@clip.wav."
        )
    return Upload(files[0].filename, await files[0].read())
