"""`jdann serve`: a web page and a JSON endpoint that recognise emotions in uploaded audio.

The server is Starlette on uvicorn. Requests are received concurrently, within limits. One worker
thread decodes and recognises them one after the other, so that however many requests come at once,
only one request needs memory and processor time. Audio stays in memory; nothing is written to disk.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from jdann import audio
from jdann.errors import InputError
from jdann.inference.batches import BUCKET_S
from jdann.inference.recogniser import Prepared, Recogniser
from jdann.web.headers import HEADERS, SecurityHeaders
from jdann.web.one_speaker import Decoded, adapt_to_uploads
from jdann.web.options import Options, read_options
from jdann.web.pages import Pages, make_pages
from jdann.web.picture import draw_clip
from jdann.web.uploads import Gate, Limits, Refused, Upload, read_uploads, unusable

log = logging.getLogger("jdann")
# A longer clip gets a longer hop. Rounding may add one or two windows.
MAX_TIMELINE_WINDOWS = 400
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
UVICORN: dict[str, Any] = {
    "log_level": "warning",
    "access_log": False,
    "timeout_keep_alive": 30,
    "server_header": False,
    "lifespan": "off",
}
_MEDIA_TYPES = {
    "base.css": "text/css",
    "page.css": "text/css",
    "app.js": "text/javascript",
    "draw.js": "text/javascript",
    "recorder.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def make_app(
    recogniser: Recogniser, pages: Pages, limits: Limits, hosts: tuple[str, ...] = ("*",)
) -> Starlette:
    """The web application.

    Args:
      recogniser: recognises the uploaded clips.
      pages: the pages that belong to the recogniser.
      limits: the limits of an upload.
      hosts: host names that a request may use; "*": any. The list keeps other web sites from
        reaching a local server through a name of their own (DNS rebinding).
    """
    # A damaged form is answered with a sentence; it need not be logged too.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    service = _Service(recogniser, limits)
    static = {name: (files("jdann") / "web" / name).read_bytes() for name in _MEDIA_TYPES}

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in static:
            raise HTTPException(404)
        return Response(static[name], media_type=_MEDIA_TYPES[name])

    def page(html: str) -> Callable[[Request], Response]:
        return lambda request: HTMLResponse(html)

    async def api(request: Request) -> Response:
        # The examples use the address by which this visitor reached the server.
        return HTMLResponse(pages.api(f"{request.url.scheme}://{request.url.netloc}"))

    async def info(request: Request) -> Response:
        return JSONResponse(pages.info)

    routes = [
        Route("/", page(pages.index)),
        Route("/card", page(pages.card)),
        Route("/api", api),
        Route("/api/info", info),
        Route("/api/openapi.json", lambda request: JSONResponse(pages.openapi)),
        Route("/api/predict", service.predict, methods=["POST"]),
        Route("/static/{name}", asset),
    ]
    handlers = {Refused: _refused, HTTPException: _http_error, Exception: _unexpected}
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(SecurityHeaders),
    ]
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers=handlers,  # pyright: ignore[reportArgumentType]
    )


class _Service:
    """Recognises one request at a time, in the order in which the uploads are complete."""

    def __init__(self, recogniser: Recogniser, limits: Limits):
        self.recogniser, self.limits, self.gate = recogniser, limits, Gate(limits)
        self.worker = ThreadPoolExecutor(1, "jdann-recogniser")

    async def predict(self, request: Request) -> Response:
        async with self.gate.entered() as memory:
            options = read_options(request, _longest_s(self.recogniser))
            uploads = await read_uploads(request, memory)
            work = partial(recognise, self.recogniser, uploads, self.limits, options)
            answer = await asyncio.get_running_loop().run_in_executor(self.worker, work)
        return JSONResponse(answer)


def _longest_s(recogniser: Recogniser) -> float:
    """How much of a clip the recogniser uses, in seconds."""
    return recogniser.config.audio.max_duration_s


def recognise(
    recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits, options: Options
) -> dict[str, Any]:
    """Recognises the uploads of one request.

    Args:
      recogniser: recognises the clips.
      uploads: one audio file or, with the option `one_speaker`, several.
      limits: the limits of a request.
      options: what the answer contains. If there would be more than 400 windows, `hop_s` is
        increased.

    Returns:
      "file", "emotion", "probabilities" by emotion, "doubt" (a short reason to doubt the answer, or
      None), "duration_s" and "heard_s"; also "timeline" and "picture" if the options ask for them.
      With the option `one_speaker`: "adapted_to", the number of clips to which the recogniser was
      adapted, and "clips". Each of these is such an answer, or has "file" and "error" if the clip
      cannot be used.
      "emotion", "probabilities" and "doubt" are None where a clip holds no speech.

    Raises:
      Refused: nothing can be used, or an option does not fit the uploads or the recogniser.
    """
    try:
        if options.one_speaker:
            return _answer_speaker(recogniser, uploads, limits, options)
        if len(uploads) > 1:
            raise Refused(
                400,
                f"The form has {len(uploads)} files; send one, or add ?one_speaker=true to the "
                "address if all of them are of one person.",
            )
        samples, rate_hz = audio.decode(uploads[0].data, limits.duration_s, limits.values)
        return {"file": uploads[0].name, **_answer(recogniser, samples, rate_hz, options)}
    except audio.TooMuchAudio as error:
        raise Refused(413, unusable(error)) from error
    except (audio.AudioError, InputError) as error:
        raise Refused(422, unusable(error)) from error
    except MemoryError as error:
        sentence = "The server has too little memory for this audio; send less of it."
        raise Refused(413, sentence) from error


def _answer_speaker(
    recogniser: Recogniser, uploads: Sequence[Upload], limits: Limits, options: Options
) -> dict[str, Any]:
    """The answers for clips of one person, adapted to all of them that can be used."""
    speaker = adapt_to_uploads(recogniser, uploads, limits)
    # The limit of windows holds for all clips together.
    decoded = [clip for clip in speaker.clips if isinstance(clip, Decoded)]
    windowed_s = sum(max(0.0, clip.duration_s - options.window_s) for clip in decoded)
    options = options._replace(hop_s=max(options.hop_s, windowed_s / MAX_TIMELINE_WINDOWS))
    answers: list[dict[str, Any]] = []
    reasons: list[str] = []
    for upload, clip in zip(uploads, speaker.clips, strict=True):
        try:
            if isinstance(clip, audio.Rejected):
                raise audio.AudioError(clip.reason)
            answer = _answer(speaker.recogniser, clip.samples, clip.rate_hz, options)
        except (audio.AudioError, InputError) as error:
            answer = {"error": unusable(error)}
            reasons.append(str(error))
        answers.append({"file": upload.name, **answer})
    if len(reasons) == len(uploads) == 1:
        raise Refused(422, unusable(reasons[0]))
    if len(reasons) == len(uploads):
        sentence = f"None of the {len(uploads)} clips can be used; the first one: {reasons[0]}."
        raise Refused(422, sentence)
    return {"adapted_to": speaker.adapted_to, "clips": answers}


def _answer(
    recogniser: Recogniser, samples: np.ndarray, rate_hz: int, options: Options
) -> dict[str, Any]:
    duration_s = len(samples) / rate_hz
    ((_, answer),) = recogniser.answers([samples], rate_hz)
    if isinstance(answer, audio.Rejected):
        raise audio.AudioError(answer.reason)
    row = answer.probabilities
    content: dict[str, Any] = {
        "emotion": None if np.isnan(row).any() else recogniser.labels[int(np.argmax(row))],
        "probabilities": _by_emotion(recogniser, row),
        "doubt": answer.doubt or None,
        "duration_s": round(duration_s, 3),
        "heard_s": round(min(duration_s, _longest_s(recogniser)), 3),
    }
    if options.timeline:
        hop_s = max(options.hop_s, (duration_s - options.window_s) / MAX_TIMELINE_WINDOWS)
        windows = recogniser.windows(samples, options.window_s, hop_s, rate_hz)
        content["timeline"] = [
            {
                "start_s": round(start_s, 3),
                "end_s": round(end_s, 3),
                "probabilities": _by_emotion(recogniser, row),
            }
            for start_s, end_s, row in windows
        ]
    if options.picture:
        content["picture"] = draw_clip(samples, rate_hz)
    return content


def _by_emotion(recogniser: Recogniser, row: np.ndarray) -> dict[str, float] | None:
    """Probabilities by emotion; None for a clip or a window that holds no speech."""
    if np.isnan(row).any():
        return None
    return dict(zip(recogniser.labels, map(float, row), strict=True))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "There is no such page; /api lists what there is.",
        405: "This address does not accept that method; /api says which one it accepts.",
    }
    sentence = sentences.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    sentence = "The server made an unexpected error; its log has the details."
    return JSONResponse({"error": sentence}, 500, HEADERS)


def make_limits(megabytes: float, seconds: float) -> Limits:
    """The limits of an upload.

    Args:
      megabytes: largest size of one upload, 0.1 to 200.
      seconds: longest duration of one clip, 1 to 3600.

    Raises:
      InputError: a limit is outside its range.
    """
    if not 0.1 <= megabytes <= 200:
        raise InputError(f"--max-mb {megabytes:g}: expected 0.1 to 200")
    if not 1 <= seconds <= 3600:
        raise InputError(f"--max-s {seconds:g}: expected 1 to 3600")
    return Limits(int(megabytes * 2**20), seconds)


def main(recogniser: Recogniser, path: Path, host: str, port: int, limits: Limits) -> None:
    """Runs the server until it is interrupted.

    Args:
      recogniser: recognises the uploaded clips.
      path: where the recogniser was loaded from. If that is the work directory of a run, the model
        card shows the scores of the run too.
      host: address to listen on.
      port: port to listen on; 0: any free one.
      limits: the limits of an upload.

    Raises:
      InputError: the server cannot listen on the address.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise InputError(
                f"{host}:{port}: cannot listen here ({error.strerror}); "
                "choose another --port or --host"
            ) from error
        port = listener.getsockname()[1]
        loopback = host in LOOPBACK
        hosts = LOOPBACK if loopback else ("*",)
        log.info("compiling for every clip length")
        warm_up(recogniser)
        app = make_app(recogniser, make_pages(recogniser, path, limits), limits, hosts)
        shown = f"[{host}]" if ":" in host else host
        print(
            f"http://{shown}:{port} (Ctrl-C ends the server; "
            "audio stays in memory and is forgotten after the answer)",
            flush=True,
        )
        if not loopback:
            log.warning(
                "%s: other machines can reach the server and send audio to it without encryption; "
                "their browsers will not allow the page to use a microphone",
                host,
            )
        uvicorn.Server(uvicorn.Config(app, **UVICORN)).run(sockets=[listener])


def warm_up(recogniser: Recogniser) -> None:
    """Compiles the programs for every clip length, so that no visitor has to wait for them.

    Those that adapt to one person are compiled by the first request that needs them: few do, and
    they would double the time of the first start.

    Clips are padded to a multiple of BUCKET_S, and each multiple needs a program of its own. The
    last one holds clips of the longest duration, which may be a fraction of a bucket.
    """
    rate_hz, longest_s = recogniser.sample_rate_hz, _longest_s(recogniser)
    buckets = math.ceil(longest_s / BUCKET_S)
    skipped_s = recogniser.config.audio.offset_s  # left out at the start of every clip
    noise_s = skipped_s + max(6.0, buckets * BUCKET_S)
    noise = np.random.default_rng(0).normal(0, 0.1, math.ceil(noise_s * rate_hz))
    noise = noise.astype(np.float32)
    for bucket in range(1, buckets + 1):
        clip_s = skipped_s + bucket * BUCKET_S
        (clip,) = recogniser.prepare([noise[: int(clip_s * rate_hz)]], rate_hz)
        assert isinstance(clip, Prepared)  # noise is a clip that can be used
        list(recogniser.answers([clip]))
    six_seconds = noise[: 6 * rate_hz]
    list(recogniser.windows(six_seconds, min(2.0, longest_s), 0.5, rate_hz))
    draw_clip(six_seconds, rate_hz)
