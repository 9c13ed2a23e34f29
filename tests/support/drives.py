"""Drives as Macs mount them: without rights and sockets, and with macOS's own files beside every other."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xff\xfe\x80\x81"
"""How a `._` file begins, which is UTF-8 in no part."""


def sprinkle(folder: Path) -> None:
    """Put beside each file below `folder` what macOS and its Finder keep there."""
    for parent, _, names in list(os.walk(folder)):
        for name in names:
            Path(parent, f"._{name}").write_bytes(APPLE_DOUBLE)
        Path(parent, ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1\xff")


def keep_no_rights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the file system of `folder` show mode 0777 for everything, and refuse chmod and sockets, as exFAT's do."""
    real_stat, real_chmod, real_bind = os.stat, os.chmod, socket.socket.bind

    def is_there(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(os.fspath(path)).is_relative_to(folder)

    def stat(path: Any, *args: Any, **more: Any) -> os.stat_result:
        info = real_stat(path, *args, **more)
        if not is_there(path):
            return info
        return os.stat_result((info.st_mode | 0o777, *info[1:]), {})

    def chmod(path: Any, mode: int, *args: Any, **more: Any) -> None:
        if is_there(path):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(path))
        real_chmod(path, mode, *args, **more)

    def bind(self: socket.socket, address: Any) -> None:
        if is_there(address):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        real_bind(self, address)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "chmod", chmod)
    monkeypatch.setattr(socket.socket, "bind", bind)
