"""The web application: pages, and a JSON endpoint that recognises emotions in uploaded audio.

Requests are received concurrently, within limits. One worker thread decodes and recognises them one
after the other, so that however many requests come at once, only one request needs memory and
processor time. Audio stays in memory; nothing is written to disk.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from jdann import __version__
from jdann.inference.recogniser import Recogniser
from jdann.web.access import Access
from jdann.web.access_token import TokenRequired
from jdann.web.answers import longest_s, recognise
from jdann.web.clients import Gate, client_of
from jdann.web.headers import HEADERS, SecurityHeaders
from jdann.web.limits import Limits, Refused
from jdann.web.options import read_options
from jdann.web.pages import Pages
from jdann.web.turns import Turns
from jdann.web.uploads import read_uploads

_MEDIA_TYPES = {
    "base.css": "text/css",
    "page.css": "text/css",
    "app.js": "text/javascript",
    "draw.js": "text/javascript",
    "recorder.js": "text/javascript",
    "token.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class Service:
    """Recognises one request at a time, the clients in turn."""

    def __init__(self, recogniser: Recogniser, limits: Limits):
        self.recogniser, self.limits, self.gate = recogniser, limits, Gate(limits)
        self.turns = Turns()
        self.stopping = False  # new requests are refused
        self._answering: set[asyncio.Task[Any]] = set()
        self._worker = ThreadPoolExecutor(1, "jdann-recogniser")
        self._began = time.monotonic()

    async def predict(self, request: Request) -> Response:
        """Answers the uploads of a request."""
        if self.stopping:
            sentence = "The server stops; send this to another one, or again in a minute."
            raise Refused(503, sentence, {"Retry-After": "60", "Connection": "close"})
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            return JSONResponse(await self._answer(request))
        except asyncio.CancelledError:
            raise Refused(503, "The server stopped before the answer was ready.") from None
        finally:
            self._answering.discard(task)

    async def _answer(self, request: Request) -> dict[str, Any]:
        client = client_of(request.client.host if request.client else "")
        with self.gate.request(client) as memory:
            options = read_options(request, longest_s(self.recogniser))
            uploads = await read_uploads(request, memory, self.limits)
            async with self.turns.turn(client, _hung_up(request)):
                work = partial(recognise, self.recogniser, uploads, self.limits, options)
                return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def give_up(self) -> None:
        """Ends the requests that are still without an answer."""
        for task in self._answering:
            task.cancel()

    def health(self, name: str) -> Response:
        """Whether the server answers, and how much it has to do."""
        content = {
            "status": "stopping" if self.stopping else "ok",
            "model": name,
            "version": __version__,
            "up_s": round(time.monotonic() - self._began, 1),
            "waiting": self.turns.waiting,
        }
        return JSONResponse(content, 503 if self.stopping else 200)


async def _hung_up(request: Request) -> None:
    """Ends when the client of a request that has arrived hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(service: Service, pages: Pages, access: Access) -> Starlette:
    """The web application.

    Args:
      service: recognises the uploaded clips.
      pages: the pages that belong to the recogniser.
      access: who may use the server. Its host names keep other web sites from reaching a local
        server through a name of their own (DNS rebinding).
    """
    # A damaged form is answered with a sentence; it need not be logged too.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
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

    async def health(request: Request) -> Response:
        return service.health(pages.name)

    guard = [Middleware(TokenRequired, access.token)] if access.token else []
    routes = [
        Route("/", page(pages.index)),
        Route("/card", page(pages.card)),
        Route("/api", api),
        Route("/api/info", info, middleware=guard),
        Route("/api/openapi.json", lambda request: JSONResponse(pages.openapi)),
        Route("/api/predict", service.predict, methods=["POST"], middleware=guard),
        Route("/health", health),
        Route("/static/{name}", asset),
    ]
    handlers = {Refused: _refused, HTTPException: _http_error, Exception: _unexpected}
    return Starlette(
        routes=routes,
        middleware=_middleware(access),
        exception_handlers=handlers,  # pyright: ignore[reportArgumentType]
    )


def _middleware(access: Access) -> list[Middleware]:
    """What every request passes before it reaches its route."""
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(access.hosts), www_redirect=False)
    ]
    if access.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(access.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
                expose_headers=["Retry-After"],
            )
        )
    return [*middleware, Middleware(SecurityHeaders)]


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
