"""Lets requests use the recogniser one at a time, each client in its turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from jdann.web.limits import Refused

HUNG_UP = 499  # the status that nginx uses in its log; nobody receives it


class Turns:
    """One request at a time; the next one is of the client who has waited longest for a turn.

    So a client with many requests delays those of another client by one request only.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of their turns
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return sum(map(len, self._waiting.values()))

    @property
    def idle(self) -> bool:
        """Whether no request is being answered and none waits."""
        return not self._taken

    @asynccontextmanager
    async def turn(self, client: str, hung_up: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Waits until it is the turn of this request, which lasts as long as the context.

        Args:
          client: whose request it is.
          hung_up: ends when the client has hung up.

        Raises:
          Refused: the client hung up while the request waited.
        """
        mine = self._ask(client)
        watch = asyncio.ensure_future(hung_up)
        try:
            await asyncio.wait((mine, watch), return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                raise Refused(HUNG_UP, "The client hung up before its turn.")
            watch.cancel()
            yield
        finally:
            watch.cancel()
            self._give_back(client, mine)

    def _ask(self, client: str) -> asyncio.Future[None]:
        """A future that is done when it is the turn of this request."""
        mine = asyncio.get_running_loop().create_future()
        if self._taken:
            self._waiting.setdefault(client, deque()).append(mine)
        else:
            self._taken = True
            mine.set_result(None)
        return mine

    def _give_back(self, client: str, mine: asyncio.Future[None]) -> None:
        """Ends the turn of a request, or its waiting."""
        if not mine.done():
            self._waiting[client].remove(mine)
            if not self._waiting[client]:
                del self._waiting[client]
        elif self._waiting:
            first = next(iter(self._waiting))
            requests = self._waiting.pop(first)
            requests.popleft().set_result(None)
            if requests:
                self._waiting[first] = requests  # behind all other clients
        else:
            self._taken = False
