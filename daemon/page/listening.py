"""`bind_page` takes the page's address, and `PortTaken` says who has it where another process does."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import psutil

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import join_address
from prefd.daemon.machine.owners import name_user
from prefd.daemon.page.addresses import BadAddress

REMEDY = "choose another with `prefd web --port`, or `port` under [web] in config.toml"


class PortTaken(PrefdError):
    """Another process listens on the port; the message says which, and what to do."""

    def __init__(self, host: str, port: int, holder: psutil.Process | None, remedy: str = REMEDY) -> None:
        super().__init__(f"port {port} of {host} is taken by {describe_listener(holder)}: {remedy}")
        self.is_foreign = holder is None or owner_of(holder) != os.geteuid()
        """Whether another user's process may be there, which a page that was opened would have given its token."""


def bind_page(host: str, port: int, remedy: str = REMEDY) -> socket.socket:
    """Listen on the address. Raises PortTaken, and BadAddress for one that this machine has not."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise BadAddress(f"{host}: {error.strerror}: name an address of this machine, such as 127.0.0.1") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, find_listener(port), remedy) from None
        hint = (
            "ports from 1024 on are free to all" if error.errno == errno.EACCES else "name an address of this machine"
        )
        raise BadAddress(f"{join_address(host, port)}: {os.strerror(error.errno or 0)}: {hint}") from None


def find_listener(port: int) -> psutil.Process | None:
    """Find the process that listens on a port; None where this user is not told, most often as it is another's."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
            return process
    return None


def describe_listener(process: psutil.Process | None) -> str:
    """Say whose process it is, and which home's page where it is a `prefd web`."""
    if process is None:
        return "a process of another user"
    owner = owner_of(process)
    whose = "" if owner in (None, os.geteuid()) else f" of {name_user(int(owner or 0))}"
    root = find_served_home(process)
    return f"the page of {root} (pid {process.pid}{whose})" if root else f"{process.name()} (pid {process.pid}{whose})"


def owner_of(process: psutil.Process) -> int | None:
    """Return the user of a process; None where it is gone."""
    try:
        return int(process.uids().effective)
    except psutil.Error:
        return None


def find_served_home(process: psutil.Process) -> Path | None:
    """Find the home whose page a process serves, by the lock that it has open; None where it is no `prefd web`."""
    try:
        paths = [Path(each.path) for each in process.open_files()]
    except psutil.Error:
        return None
    for path in paths:
        root = path.parent.parent
        if path == Home(root).page_lock:
            return root
    return None
