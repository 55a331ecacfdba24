"""Answers only those requests that carry the token of the server."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jdann.web.limits import Refused


class TokenRequired:
    """Refuses requests without the token; the time of the comparison does not depend on it."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self._expected = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on if it has the header `Authorization: Bearer TOKEN`.

        Raises:
          Refused: it has not.
        """
        given = Headers(scope=scope).get("authorization", "")
        scheme, _, token = given.partition(" ")
        known = hmac.compare_digest(token.strip().encode("latin-1"), self._expected)
        if not (known and scheme.casefold() == "bearer"):
            raise Refused(
                401,
                "This server needs its token; send it in the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        await self.app(scope, receive, send)
