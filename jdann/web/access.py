"""Who may use the server, and by which addresses: the options of `jdann serve` for a server."""

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jdann.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
TOKEN_VARIABLE = "JDANN_TOKEN"
_SHORTEST_TOKEN = 16  # characters
_TOKEN = re.compile(rf"[!-~]{{{_SHORTEST_TOKEN},}}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")

Proxies = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class Access(NamedTuple):
    """Who may use the server, and by which addresses."""

    token: str = ""  # each request for an answer must carry it; empty: none is needed
    origins: tuple[str, ...] = ()  # web sites whose pages may ask; "*": all
    hosts: tuple[str, ...] = ("*",)  # names of the server in requests; "*": any
    proxies: Proxies = ()  # whose word about the address of a client counts


def make_access(
    host: str,
    token_file: Path | None,
    origins: Sequence[str],
    host_names: Sequence[str],
    proxies: Sequence[str],
) -> Access:
    """Reads the options.

    Args:
      host: the address to listen on.
      token_file: holds the token; None: it stands in the environment variable JDANN_TOKEN, if there
        is one.
      origins: web sites whose pages may ask, such as https://example.org; "*": all.
      host_names: names by which visitors reach the server. If there are none: those of this machine
        for a server that only this machine can reach, else any.
      proxies: addresses or networks of proxies.

    Raises:
      InputError: an option has a value that cannot be used.
    """
    names = tuple(map(_host_name, host_names))
    local = host in LOOPBACK
    return Access(
        token=_read_token(token_file),
        origins=tuple(map(_origin, origins)),
        hosts=(*LOOPBACK, *names) if names or local else ("*",),
        proxies=tuple(map(_network, proxies)),
    )


def is_proxy(address: str, proxies: Proxies) -> bool:
    """Whether an address is that of a trusted proxy."""
    if not proxies:
        return False
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed in network for network in proxies)


def _read_token(path: Path | None) -> str:
    """The token in a file or in the environment; empty if there is none."""
    if path is None:
        if TOKEN_VARIABLE not in os.environ:
            return ""
        place, text = TOKEN_VARIABLE, os.environ[TOKEN_VARIABLE]
    else:
        place = f"--token-file {path}"
        try:
            text = path.expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text"
            raise InputError(f"{place}: cannot be read ({reason})") from error
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise InputError(
            f"{place}: a token has {_SHORTEST_TOKEN} or more letters, digits and signs of ASCII, "
            "and no space; openssl rand -hex 32 makes one"
        )
    return token


def _origin(text: str) -> str:
    """The origin of a web site as browsers write it."""
    if text == "*":
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")
    given = text.casefold().removesuffix("/")
    if usual is None or not name or given not in (origin, f"{origin}:{usual}"):
        raise InputError(
            f"--cors {text}: expected an origin such as https://example.org, without a path, or *"
        )
    return origin


def _host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise InputError(
            f"--allow-host {text}: expected a host name such as emotion.example.org, "
            "without https:// and without a port"
        )
    return text.casefold()


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InputError(
            f"--trusted-proxy {text}: expected an address such as 10.0.0.2, or a network such as "
            "10.0.0.0/24"
        ) from error
