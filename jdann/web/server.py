"""`jdann serve`: a page and a JSON endpoint that recognise emotions in uploaded audio, which never leaves memory.

Starlette on uvicorn: requests are read concurrently within limits, and one worker thread decodes and recognises them in
turn, so that memory and processor are used by one clip at a time however many come at once.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jdann import audio
from jdann.errors import InputError
from jdann.inference.recogniser import Recogniser
from jdann.web.pages import Pages
from jdann.web.picture import picture
from jdann.web.uploads import Gate, Limits, Refused, read

log = logging.getLogger("jdann")
_MOST_VALUES = (
    2**25
)  # samples times channels of one clip, 128 MB decoded: 300 s of stereo at 48 kHz and a little more
_WINDOWS = 400  # of a timeline at most; longer clips get a longer hop
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
UVICORN: dict[str, Any] = {
    "log_level": "warning",
    "access_log": False,
    "timeout_keep_alive": 30,
    "server_header": False,
    "lifespan": "off",
}
_STATIC = {"base.css": "text/css", "page.css": "text/css", "app.js": "text/javascript", "draw.js": "text/javascript",
           "recorder.js": "text/javascript", "icon.svg": "image/svg+xml"}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; "
    "connect-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def make_app(
    recogniser: Recogniser, pages: Pages, limits: Limits, hosts: tuple[str, ...] = ("*",)
) -> Starlette:
    """The web application.

    Args:
      recogniser: what answers.
      pages: the HTML that goes with it.
      limits: what is accepted.
      hosts: names under which it may be asked, so that no other site's name can be made to point here; "*": any.
    """
    logging.getLogger("python_multipart").setLevel(
        logging.ERROR
    )  # a damaged form is answered, not logged
    service = _Service(recogniser, limits)
    static = {name: (files("jdann") / "web" / name).read_bytes() for name in _STATIC}

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in static:
            raise HTTPException(404)
        return Response(static[name], media_type=_STATIC[name])

    def page(html: str) -> Callable[[Request], Response]:
        return lambda request: HTMLResponse(html)

    async def info(request: Request) -> Response:
        return JSONResponse(pages.info)

    routes = [
        Route("/", page(pages.index)),
        Route("/card", page(pages.card)),
        Route("/api", page(pages.api)),
        Route("/api/info", info),
        Route("/api/openapi.json", lambda request: JSONResponse(pages.openapi)),
        Route("/api/predict", service.predict, methods=["POST"]),
        Route("/static/{name}", asset),
    ]
    handlers = {Refused: _refused, HTTPException: _http_error, Exception: _unexpected}
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(_SecurityHeaders),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)  # pyright: ignore[reportArgumentType]


class _Service:
    """The recogniser behind the endpoint: one clip at a time, in the order in which uploads are complete."""

    def __init__(self, recogniser: Recogniser, limits: Limits):
        self.recogniser, self.limits, self.gate = recogniser, limits, Gate(limits)
        self.worker = ThreadPoolExecutor(1, "jdann-recogniser")

    async def predict(self, request: Request) -> Response:
        async with self.gate.entered() as held:
            options = _options(request, self.recogniser.card["config"]["audio"]["max_duration_s"])
            upload = await read(request, held)
            work = partial(recognise, self.recogniser, upload.data, self.limits, **options)
            answer = await asyncio.get_running_loop().run_in_executor(self.worker, work)
        return JSONResponse({"file": upload.name, **answer})


def _options(request: Request, longest_s: float) -> dict[str, Any]:
    """What the query of a request asks for."""
    known = {"timeline", "picture", "window_s", "hop_s"}
    for name in request.query_params:
        if name not in known:
            raise Refused(400, f"{name[:40]!r} is no option; expected {', '.join(sorted(known))}.")
    given: dict[str, Any] = {}
    for name in ("timeline", "picture"):
        value = request.query_params.get(name, "false").casefold()
        if value not in ("true", "false", "1", "0", ""):
            raise Refused(400, f"{name} is {value[:40]!r}; expected true or false.")
        given[name] = value in ("true", "1")
    for name, default, low, high in (
        ("window_s", min(2.0, longest_s), audio.SHORTEST_S, longest_s),
        ("hop_s", 0.5, 0.05, 3600.0),
    ):
        text = request.query_params.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = np.nan
        if not low <= value <= high:
            raise Refused(
                400, f"{name} is {str(text)[:40]!r}; expected seconds from {low:g} to {high:g}."
            )
        given[name] = value
    return given


def recognise(
    recogniser: Recogniser,
    data: bytes,
    limits: Limits,
    *,
    timeline: bool,
    picture: bool,
    window_s: float,
    hop_s: float,
) -> dict[str, Any]:
    """The answer to one upload.

    Args:
      recogniser: what answers.
      data: an audio file's bytes.
      limits: what is accepted.
      timeline: also the emotions over time.
      picture: also what the page draws.
      window_s: of the timeline, s.
      hop_s: of the timeline, s; longer where the clip would have more than 400 windows.

    Returns:
      "emotion", "probabilities" by emotion, "duration_s", "heard_s", "timeline" and "picture" where they are wanted.

    Raises:
      Refused: it is not audio that can be used.
    """
    try:
        samples, rate_hz = audio.decode(data, limits.duration_s, _MOST_VALUES)
        duration_s = len(samples) / rate_hz
        (_, row), = recogniser.each([samples], rate_hz)  # fmt: skip
        if isinstance(row, str):
            raise audio.AudioError(row)
        answer: dict[str, Any] = {
            "emotion": recogniser.labels[int(np.argmax(row))],
            "probabilities": _named(recogniser, row),
            "duration_s": round(duration_s, 3),
            "heard_s": round(
                min(duration_s, recogniser.card["config"]["audio"]["max_duration_s"]), 3
            ),
        }
        if timeline:
            found = recogniser.windows(
                samples, window_s, max(hop_s, (duration_s - window_s) / _WINDOWS), rate_hz
            )
            answer["timeline"] = [
                {
                    "start_s": round(start_s, 3),
                    "end_s": round(end_s, 3),
                    "probabilities": _named(recogniser, row),
                }
                for start_s, end_s, row in found
            ]
        if picture:
            answer["picture"] = _picture(samples, rate_hz)
        return answer
    except audio.AudioError as error:
        status = 413 if str(error).startswith("lasts ") and "at most" in str(error) else 422
        raise Refused(status, f"This cannot be used: {error}.") from error
    except InputError as error:
        raise Refused(422, f"This cannot be used: {error}.") from error
    except MemoryError as error:
        raise Refused(
            413, "This is too much audio for the memory at hand; send a shorter clip."
        ) from error


_picture = picture  # which is also the name of an option


def _named(recogniser: Recogniser, row: np.ndarray) -> dict[str, float] | None:
    """Probabilities by name; None where nothing was heard."""
    return (
        None if np.isnan(row).any() else dict(zip(recogniser.labels, map(float, row), strict=True))
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {
        404: "There is nothing here; /api explains what there is.",
        405: "This address takes another method; /api says which.",
    }
    return JSONResponse(
        {"error": said.get(error.status_code, error.detail)}, error.status_code, error.headers
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The server made a mistake; its log says which."}, 500, _HEADERS)


class _SecurityHeaders:
    """Adds to every answer what keeps the page to itself."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in _HEADERS.items()),
                ]
            await send(message)

        await self.app(scope, receive, with_headers)


def make_limits(megabytes: float, seconds: float) -> Limits:
    """What is accepted.

    Args:
      megabytes: of one upload, 0.1 to 200.
      seconds: of one clip, 1 to 3600.

    Raises:
      InputError: either makes no sense.
    """
    if not 0.1 <= megabytes <= 200:
        raise InputError(f"--max-mb {megabytes:g}: expected 0.1 to 200")
    if not 1 <= seconds <= 3600:
        raise InputError(f"--max-s {seconds:g}: expected 1 to 3600")
    return Limits(int(megabytes * 2**20), seconds)


def main(recogniser: Recogniser, path: Path, host: str, port: int, limits: Limits) -> None:
    """The command's body: serves until it is interrupted.

    Args:
      recogniser: what answers.
      path: where it was loaded from; the model card is richer where that is a run's work directory.
      host: address to listen on.
      port: 0: any free one.
      limits: what is accepted.

    Raises:
      InputError: the address cannot be listened on.
    """
    import uvicorn

    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise InputError(
                f"{host}:{port}: cannot be listened on ({error.strerror}); choose another --port or --host"
            ) from error
        port = listener.getsockname()[1]
        loopback = host in LOOPBACK
        hosts = LOOPBACK if loopback else ("*",)
        log.info("warming up")
        warm_up(recogniser)
        app = make_app(recogniser, Pages.of(recogniser, path, limits), limits, hosts)
        shown = f"[{host}]" if ":" in host else host
        print(
            f"http://{shown}:{port} (Ctrl-C ends it; audio stays in memory and is forgotten after the answer)",
            flush=True,
        )
        if not loopback:
            log.warning(
                "%s is not loopback: whoever reaches it may send audio, unencrypted; browsers give it no microphone",
                host,
            )
        uvicorn.Server(uvicorn.Config(app, **UVICORN)).run(sockets=[listener])


def warm_up(recogniser: Recogniser) -> None:
    """Compiles for the clips that come most, so that the first visitor does not wait."""
    rate_hz = recogniser.sample_rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * rate_hz).astype(np.float32)
    longest_s = int(recogniser.card["config"]["audio"]["max_duration_s"])
    for seconds in range(1, longest_s + 1):
        list(recogniser.each([noise[: seconds * rate_hz]], rate_hz))
    list(recogniser.windows(noise, min(2.0, longest_s), 0.5, rate_hz))
    picture(noise, rate_hz)
