"""The limits of the server, and the error of a request that exceeds one."""

from typing import NamedTuple

from jdann.errors import InputError

_MEGABYTE = 2**20


class Refused(Exception):
    """A request that is refused: the HTTP status, and a sentence that says why."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


def too_many(sentence: str) -> Refused:
    """The refusal of a client that has its share already."""
    return Refused(429, sentence, {"Retry-After": "5"})


def busy(sentence: str) -> Refused:
    """The refusal of any client while the server has too much to do."""
    return Refused(503, sentence, {"Retry-After": "5"})


class Limits(NamedTuple):
    """The limits of one request, of one client, and of all clients together."""

    bytes: int = 20 * _MEGABYTE  # of one request, all of its files together
    duration_s: float = 300.0  # of one request, all of its clips together
    clips: int = 100  # of one person, in one request
    # Samples times channels of one request: 128 MB decoded, a little more than 300 s of stereo at
    # 48 kHz.
    values: int = 2**25
    headers_s: float = 10.0  # within which the headers of a request must arrive
    seconds: float = 60.0  # within which a request must arrive, headers and body together
    in_flight_bytes: int = 256 * _MEGABYTE  # of all requests together
    client_bytes: int = 64 * _MEGABYTE  # of all requests of one client
    waiting: int = 256  # requests that may wait for the recogniser
    client_waiting: int = 64  # of one client
    connections: int = 512  # open at once
    client_connections: int = 100  # of one client
    stopping_s: float = 20.0  # for which the server goes on answering after it was told to stop


def make_limits(megabytes: float, seconds: float) -> Limits:
    """The limits of an upload.

    One client may always send one request of the largest size while others send theirs.

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
    usual, largest = Limits(), int(megabytes * _MEGABYTE)
    of_client = max(usual.client_bytes, largest + _MEGABYTE)  # a form adds a little to its files
    return usual._replace(
        bytes=largest,
        duration_s=seconds,
        client_bytes=of_client,
        in_flight_bytes=max(usual.in_flight_bytes, 2 * of_client),
    )
