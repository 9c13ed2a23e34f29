"""The functions here read the address that the page is served on, and list the Hosts that a browser may ask it by."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.home.page_record import EVERY_ADDRESS, join_address

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)
HTTP_PORT = 80
MAX_PORT = 65_535


class BadAddress(PrefdError):
    """An address that the page cannot be served on, or a Host that is none; the message says what one looks like."""

    exit_code = Exit.USAGE


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def list_hosts(host: str, port: int, allowed: Iterable[str]) -> frozenset[str]:
    """List what a browser may send as Host: this machine's own names and `host`, with this port, and what is `allowed`.

    An allowed name without a port counts with the page's own and, as behind a proxy, with none. Raises BadAddress.
    """
    names = [*LOCAL_NAMES, *([] if host in EVERY_ADDRESS else [host])]
    hosts = {join_address(name, port) for name in names}
    if port == HTTP_PORT:
        hosts |= {join_address(name, port).removesuffix(f":{port}") for name in names}
    for each in allowed:
        name, own_port = split_host(each)
        hosts |= {f"{name}:{own_port}"} if own_port else {name, f"{name}:{port}"}
    return frozenset(hosts)


def split_host(text: str) -> tuple[str, str]:
    """Split a Host into its name and its port, which is empty where it has none. Raises BadAddress."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", text.strip().lower(), re.ASCII)
    if match is None or not NAME.fullmatch(match[1]):
        raise BadAddress(
            f"{text!r} is no Host: write a name, such as box.example, with its port where it has one, box.example:443"
        )
    return match[1], match[2] or ""


def parse_address(text: str, host: str, port: int) -> tuple[str, int]:
    """Parse `PORT`, `HOST` or `HOST:PORT`; what is not there is `host` or `port`. Raises BadAddress."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return host, _check_port(int(text), text)
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+))(?::(?P<port>\d{1,5}))?", text, re.ASCII)
    if match is None:
        raise BadAddress(f"{text!r} is no address: write 8377, 127.0.0.1:8377 or [::1]:8377")
    return match["v6"] or match["v4"], _check_port(int(match["port"] or port), text)


def _check_port(port: int, text: str) -> int:
    if port > MAX_PORT:
        raise BadAddress(f"{text!r} has the port {port}: the largest is {MAX_PORT}")
    return port
