"""A pytest plugin that gives prefd and its tests a Mac's surroundings, on Linux: `make test-as-mac`.

What it makes of the machine, before anything of prefd is imported:

- `sys.platform` is "darwin" where prefd and its tests look; other libraries keep to the system that they are on;
- there is no /proc and no /sys for them, psutil tells no shared memory, and macOS's library is a stand-in for it;
- temporary folders lie as deep as a Mac's, behind a link, and deeper than a socket's path may be;
- 256 files may be open, and the environment is what launchd gives a program.

What it cannot show: Metal, FSEvents, and processes that are started, which are Linux's own.
"""

from __future__ import annotations

import builtins
import errno
import functools
import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
from collections import namedtuple
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from support.fake_libsystem import FakeLibrary, find_here
from support.paths import ROOT

FILES = 256
KEPT = ("HOME", "USER", "LOGNAME", "SHELL", "CI", "OPENBLAS_NUM_THREADS", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
LAUNCHD_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
BOOT = b"1C5D2B1E-0F6B-4A7B-9D8C-1E2F3A4B5C6D"
MacMemory = namedtuple("MacMemory", "rss vms pfaults pageins")  # as psutil's own are


class MacSys(ModuleType):
    """The module `sys` with another platform. All else is read from the interpreter's own, and set there."""

    def __init__(self) -> None:
        super().__init__("sys")
        self.__dict__["platform"] = "darwin"
        self.__dict__["_before"] = {}
        self.__dict__["_known"] = set()

    def __getattr__(self, name: str) -> Any:
        """Read the interpreter's own."""
        return getattr(sys, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the platform here, and all else in the interpreter's own."""
        if name == "platform":
            self.__dict__[name] = value
        else:
            if hasattr(sys, name):
                self.__dict__["_before"].setdefault(name, getattr(sys, name))
                self.__dict__["_known"].add(name)
            setattr(sys, name, value)

    def __delattr__(self, name: str) -> None:
        """Undo what was set, as monkeypatch does with what it did not find in the module's own names."""
        if name in self.__dict__["_before"]:
            setattr(sys, name, self.__dict__["_before"].pop(name))
        elif name not in self.__dict__["_known"]:  # of two changes of one name, the first undo has brought it back
            delattr(sys, name)


def become_mac() -> Path:
    """Change this process's surroundings, and return the folder to remove at its end."""
    top = Path(tempfile.mkdtemp(prefix="pf-mac-", dir="/tmp"))
    for name in set(os.environ) - set(KEPT):
        del os.environ[name]
    os.environ["PATH"] = LAUNCHD_PATH
    os.environ["TMPDIR"] = str(make_temporary_folder(top))
    os.environ["XPC_SERVICE_NAME"] = "0"
    tempfile.tempdir = None
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    replace_sys(MacSys())
    hide_proc()
    hide_shared_memory()
    platform.machine = lambda: "arm64"
    platform.mac_ver = lambda *_: ("15.1", ("", "", ""), "arm64")
    from prefd.daemon.machine import darwin

    library = FakeLibrary(find_here, {b"kern.bootsessionuuid": BOOT})
    darwin.load_library = lambda: library  # type: ignore[assignment]
    name_peers_as_macos()
    return top


def make_temporary_folder(top: Path) -> Path:
    """Make a folder for temporary files below `top`, as deep as macOS's own and behind the same link."""
    real = top / "private" / "var"
    real.mkdir(parents=True)
    (top / "var").symlink_to(Path("private", "var"))
    folder = top / "var" / "folders" / "zz" / "zyxvpxvq6csfxvn_n0000000000000" / "T"
    folder.mkdir(parents=True)
    return folder


def replace_sys(mac: MacSys) -> None:
    """Have every `import sys` of prefd and its tests bind `mac`."""
    real_import = builtins.__import__
    tests = str(ROOT / "tests")

    def import_module(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # as the builtin has it
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name == "sys" and globals is not None:
            importer, file = str(globals.get("__name__", "")), str(globals.get("__file__", ""))
            if importer.startswith("prefd.") or file.startswith(tests):
                return mac
        return real_import(name, globals, locals, fromlist or (), level)

    builtins.__import__ = import_module


def hide_proc() -> None:
    """Have pathlib, which prefd reads /proc and /sys by, find neither."""
    real_open, real_stat = Path.open, Path.stat

    def refuse(path: Path) -> None:
        if path.is_absolute() and path.parts[1:2] in (("proc",), ("sys",)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def open_path(self: Path, *args: Any, **more: Any) -> Any:
        refuse(self)
        return real_open(self, *args, **more)

    def stat_path(self: Path, **more: Any) -> os.stat_result:
        refuse(self)
        return real_stat(self, **more)

    Path.open, Path.stat = open_path, stat_path  # type: ignore[method-assign]


def hide_shared_memory() -> None:
    """Have psutil tell of a process's memory what it tells on macOS."""
    real = psutil.Process.memory_info

    @functools.wraps(real)  # with what `oneshot` calls of it
    def memory_info(self: psutil.Process) -> MacMemory:
        memory = real(self)
        return MacMemory(memory.rss, memory.vms, 0, 0)

    psutil.Process.memory_info = memory_info


def name_peers_as_macos() -> None:
    """Have sockets answer LOCAL_PEERCRED, as macOS's do, with what Linux knows of their peers."""
    from prefd.daemon.control.peer_credentials import LOCAL_PEERCRED, SO_PEERCRED, SOL_LOCAL, UCRED, XUCRED

    real = socket.socket.getsockopt

    def get_option(self: socket.socket, level: int, option: int, *size: int) -> Any:
        if self.family != socket.AF_UNIX or (level, option, *size) != (SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size):
            return real(self, level, option, *size)
        _, uid, _ = UCRED.unpack(real(self, socket.SOL_SOCKET, SO_PEERCRED, UCRED.size))
        return XUCRED.pack(0, uid, 1, *[0] * 16)

    socket.socket.getsockopt = get_option  # type: ignore[method-assign,assignment]


_top = become_mac()


def pytest_unconfigure() -> None:
    """Remove the temporary folders."""
    shutil.rmtree(_top, ignore_errors=True)
