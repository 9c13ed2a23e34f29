"""Who is at the other end of a Unix socket, as the kernel says."""

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


class Connected(Protocol):
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def peer_uid(connection: Connected, platform: str = sys.platform) -> int:
    """The effective user of the process that connected. Raises OSError where the kernel does not say."""
    if platform == "darwin":
        version, uid, *_ = XUCRED.unpack(connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size))
        if version != XUCRED_VERSION:
            raise OSError(f"the kernel answers LOCAL_PEERCRED with version {version}, not {XUCRED_VERSION}")
        return int(uid)
    _, uid, _ = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return int(uid)


def stranger(connection: Connected) -> str | None:
    """Who connected, in words, unless it is the user that this process runs as. Who cannot be told is a stranger."""
    try:
        uid = peer_uid(connection)
    except (OSError, struct.error) as error:
        return f"a user that cannot be told ({error})"
    return None if uid == os.geteuid() else f"user {uid}"
