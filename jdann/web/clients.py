"""What one client may use at once, so that others are served too."""

import ipaddress
from collections import Counter

from jdann.web.limits import Limits, busy, too_many

_NETWORK_BITS = 64  # of an IPv6 address; one customer usually has all addresses of such a network


def client_of(address: str) -> str:
    """The client to whom an address belongs.

    An IPv4 address is a client of its own. All IPv6 addresses with the same first 64 bits are one
    client, because one machine can use any of them.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))


class Share:
    """Counts one kind of thing, such as connections, for all clients and for each of them."""

    def __init__(self, most: int, client_most: int, name: str):
        self.most, self.client_most, self.name = most, client_most, name
        self.total = 0
        self.of_client: Counter[str] = Counter()

    def add(self, client: str, count: int = 1, shared: bool = False) -> None:
        """Counts more for a client.

        Args:
          client: who has it.
          count: how much more.
          shared: many people use this client, which is a proxy; so it has no share.

        Raises:
          Refused: the client would have more than its share, or all clients together too much.
        """
        if not shared and self.of_client[client] + count > self.client_most:
            raise too_many(f"You sent too {self.name} at once; try again in a few seconds.")
        if self.total + count > self.most:
            raise busy(f"Too {self.name} at once; try again in a few seconds.")
        self.total += count
        self.of_client[client] += count

    def remove(self, client: str, count: int = 1) -> None:
        """Counts less for a client; one who has nothing left is forgotten."""
        self.total -= count
        self.of_client[client] -= count
        if self.of_client[client] <= 0:
            del self.of_client[client]


class RequestMemory:
    """Counts one request of a client, and the bytes that it holds in memory."""

    def __init__(self, requests: Share, memory: Share, client: str):
        self._requests, self._memory, self.client = requests, memory, client
        self.bytes = 0

    def __enter__(self) -> "RequestMemory":
        self._requests.add(self.client)
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.remove(self.client)
        self._memory.remove(self.client, self.bytes)

    def add(self, count: int) -> None:
        """Counts further bytes.

        Raises:
          Refused: the client, or all clients together, would hold too many bytes.
        """
        self._memory.add(self.client, count)
        self.bytes += count


class Gate:
    """Counts requests and their bytes in memory, and refuses more before memory ends."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.requests = Share(limits.waiting, limits.client_waiting, "many requests")
        self.memory = Share(limits.in_flight_bytes, limits.client_bytes, "much audio")

    def request(self, client: str) -> RequestMemory:
        """Counts a request from its first byte until its answer; to be used with `with`."""
        return RequestMemory(self.requests, self.memory, client)
