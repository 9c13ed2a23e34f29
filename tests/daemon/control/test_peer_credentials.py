import os
import socket
import struct

import pytest

from prefd.daemon.control.peer_credentials import peer_uid, stranger


class FromMacOS:
    """A connection whose kernel answers LOCAL_PEERCRED."""

    def __init__(self, uid: int, version: int = 0) -> None:
        self.answer = struct.pack("=IIh2x16I", version, uid, 1, *[20] * 16)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (0, 1, 76)
        return self.answer


class Says:
    """A connection whose kernel answers SO_PEERCRED."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return struct.pack("=iII", 4321, self.uid, 100)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux's way to ask")
def test_this_process_is_no_stranger_to_itself() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()
        assert stranger(ours) is None


def test_any_other_user_is_a_stranger_root_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefd.daemon.control.peer_credentials.peer_uid", lambda connection: connection.uid)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert stranger(Says(1000)) is None
    assert stranger(Says(1001)) == "user 1001"
    assert stranger(Says(0)) == "user 0"


def test_macos_answers_with_an_xucred() -> None:
    assert peer_uid(FromMacOS(501), "darwin") == 501
    assert peer_uid(Says(1001), "linux") == 1001
    with pytest.raises(OSError, match="version 3"):
        peer_uid(FromMacOS(501, version=3), "darwin")


def test_who_cannot_be_told_is_a_stranger() -> None:
    class Silent:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            return b""

    assert (stranger(Silent()) or "").startswith("a user that cannot be told")
