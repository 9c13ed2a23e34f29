"""Asks the kernel which user is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Protocol

# <sys/un.h> and <sys/ucred.h> of macOS, which Python's socket module does not name everywhere.
SOL_LOCAL = 0
LOCAL_PEERCRED = 1
XUCRED = struct.Struct("=IIh2x16I")  # version, effective uid, number of groups, groups
XUCRED_VERSION = 0
UCRED = struct.Struct("=iII")  # Linux: pid, uid, gid
SO_PEERCRED: int = getattr(socket, "SO_PEERCRED", 17)  # Python names it on Linux alone


class Connected(Protocol):
    """Connected is a socket that has a peer."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Returns a socket option as bytes."""
        ...


def peer_uid(connection: Connected, platform: str = sys.platform) -> int:
    """Returns the effective user of the process that connected. Raises OSError where the kernel does not say."""
    if platform == "darwin":
        version, uid, *_ = XUCRED.unpack(connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size))
        if version != XUCRED_VERSION:
            raise OSError(f"the kernel answers LOCAL_PEERCRED with version {version}, not {XUCRED_VERSION}")
        return int(uid)
    _, uid, _ = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, UCRED.size))
    return int(uid)


def describe_stranger(connection: Connected) -> str | None:
    """Names the user that connected, unless it is this process's own. A user that cannot be told is a stranger."""
    try:
        uid = peer_uid(connection)
    except (OSError, struct.error) as error:
        return f"a user that cannot be told ({error})"
    return None if uid == os.geteuid() else f"user {uid}"
