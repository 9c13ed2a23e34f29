"""Checks the machine around the home: whether file events come, the limits, the socket, the service manager."""

from __future__ import annotations

import os
import plistlib
import re
import resource
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.health.service_home import describe_other_home, read_agent_home, read_unit_home
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.machine.mounts import find_mount
from prefd.daemon.machine.open_files import reach
from prefd.daemon.machine.owners import is_refusal
from prefd.daemon.managers.launchd import Launchd
from prefd.daemon.managers.manager import ServiceError
from prefd.daemon.timing import USUAL, Timing

FEW_FILES = 1024  # a cache has several files a segment, and all of them are mapped
INOTIFY = Path("/proc/sys/fs/inotify")
LAST_EXIT = re.compile(r"last exit code = (\d+)")
LINGER = Path("/var/lib/systemd/linger")


def check_watch(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks how drops are noticed: tried, not guessed, where the file system should report them."""
    try:
        polling = Config.load(home).watch.polling
    except ConfigError:  # told by check_config
        return
    if not home.jobs.is_dir():
        return
    mount = find_mount(home.jobs)
    place = f"{home.jobs} is on {mount.describe()}" if mount else str(home.jobs)
    if polling:
        yield HealthFinding("ok", "watch", f"polling, as config.toml says; {place}")
        return
    if mount is not None and mount.is_silent:
        yield HealthFinding("ok", "watch", f"polling, because {place}, which does not tell of changes made elsewhere")
        return
    try:
        has_events = is_event_reported(home.jobs, timing.event_check)
    except OSError as error:
        if is_refusal(error):
            yield HealthFinding("ok", "watch", f"not tried, because {home.jobs} cannot be written: {error.strerror}")
            return
        limits = f"sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288 (now {describe_inotify()})"
        remedy = limits if describe_inotify() else "jobs/ is polled meanwhile"
        yield HealthFinding("warn", "watch", f"file events cannot be had: {error}", remedy)
        return
    if has_events:
        yield HealthFinding(
            "ok",
            "watch",
            f"file events; {place}{f'; inotify: {describe_inotify()}' if describe_inotify() else ''}",
        )
    else:
        detail = f"no file event came within {timing.event_check:g} s: {place}"
        yield HealthFinding(
            "warn", "watch", detail, f"set polling = true under [watch] in {home.config}; rescans go on meanwhile"
        )


def is_event_reported(folder: Path, seconds: float) -> bool:
    """Returns whether a file that appears in `folder` is reported within `seconds`. It is a dotfile, which no daemon takes. Raises OSError."""
    from watchfiles import watch

    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as elsewhere:
        probe = Path(elsewhere) / "nothing yet"
        try:
            for changes in watch(folder, watch_filter=None, recursive=False, debounce=20, step=10, rust_timeout=100, yield_on_timeout=True):  # fmt: skip
                if changes:
                    return True
                if time.monotonic() > deadline:
                    return False
                descriptor, name = tempfile.mkstemp(prefix=".doctor-", dir=folder)
                os.close(descriptor)
                probe.unlink(missing_ok=True)
                probe = Path(name)
        finally:
            probe.unlink(missing_ok=True)
    return False


def describe_inotify() -> str:
    """Names Linux's limits on file events; empty elsewhere."""
    try:
        names = ("max_user_instances", "max_user_watches")
        return ", ".join(f"{name} {int((INOTIFY / name).read_text()):,}" for name in names)
    except (OSError, ValueError):
        return ""


def check_limits(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks how many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = reach(soft, hard)  # daemon and workers raise theirs by themselves
    detail = "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} open files"
    if limit != resource.RLIM_INFINITY and limit < FEW_FILES:
        remedy = f"raise the hard limit, {hard} now: ulimit -Hn 8192 as root, or LimitNOFILE=8192 in the service's unit"
        yield HealthFinding("warn", "limits", f"{detail}: a large cache has more segments", remedy)
    else:
        yield HealthFinding("ok", "limits", detail)


def check_socket(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that only this user can reach the control socket, and that its path is short enough."""
    from prefd.daemon.home.layout import MAX_SOCKET_BYTES

    if not home.run.is_dir():
        return
    is_private = True
    for path, allowed_mode in ((home.run, 0o700), (home.socket, 0o600)):
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            continue
        if mode & ~allowed_mode & 0o777:
            is_private = False
            yield HealthFinding(
                "fail",
                "socket",
                f"{path} is open to others (mode {mode:04o})",
                f"chmod {allowed_mode:o} {shlex.quote(str(path))}",
            )
    length = len(os.fsencode(home.socket))
    if length > MAX_SOCKET_BYTES:
        detail = f"{home.socket} has {length} bytes, and a socket's path {MAX_SOCKET_BYTES} at most"
        yield HealthFinding(
            "warn", "socket", f"{detail}: it is made in a temporary folder", "a home with a shorter path"
        )
    elif is_private:
        yield HealthFinding("ok", "socket", f"{home.socket}, for this user alone")


def check_service(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks whether a service manager starts the daemon, and would succeed."""
    if sys.platform == "darwin":
        agent = Path.home() / "Library" / "LaunchAgents" / "prefd.plist"
        yield from _check_launchd(agent)
        yield from _check_loaded(agent)
        yield from _check_service_home(agent, read_agent_home, home)
    elif sys.platform == "linux":
        configs = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        unit = configs / "systemd" / "user" / "prefd.service"
        yield from _check_systemd(unit)
        yield from _check_service_home(unit, read_unit_home, home)


def _check_service_home(file: Path, read: Callable[[Path], Path], home: Home) -> Iterator[HealthFinding]:
    """Checks that the service serves the home that this shell's PREFD_HOME names. A file that cannot be read is told elsewhere."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        if problem := describe_other_home(read(file), home):
            yield HealthFinding("warn", "service", problem, f"prefd service install, which names it in {file} too")


def _check_systemd(unit: Path) -> Iterator[HealthFinding]:
    try:
        match = re.search(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        yield HealthFinding("ok", "service", "none: `prefd start` starts the daemon (docs/service.md)")
        return
    program = Path((shlex.split(match[1]) if match else [""])[0].replace("%h", str(Path.home())))
    if not os.access(program, os.X_OK) or program.is_dir():
        yield HealthFinding("fail", "service", f"{unit} starts {program}, which cannot be run", "prefd service install")
        return
    if not (unit.parent / "default.target.wants" / unit.name).exists():
        yield HealthFinding("warn", "service", f"{unit} is not enabled", "systemctl --user enable --now prefd")
    elif not (LINGER / Path.home().owner()).exists():
        yield HealthFinding("warn", "service", f"{unit}: the daemon ends when you log out", "loginctl enable-linger")
    else:
        yield HealthFinding("ok", "service", f"systemd: {unit}")


def _check_loaded(agent: Path) -> Iterator[HealthFinding]:
    """Checks that launchd has loaded the agent, and how its last daemon ended."""
    if not agent.exists():
        return
    try:
        description = Launchd().describe()
    except ServiceError as error:
        yield HealthFinding("warn", "service", str(error), "look at it: launchctl print gui/$(id -u)/prefd")
        return
    if description is None:
        yield HealthFinding("warn", "service", f"{agent} is not loaded: no daemon is started", "prefd service install")
    elif (match := LAST_EXIT.search(description)) and match[1] != "0":
        remedy = "look at daemon.log in the home, and at ~/Library/Logs/prefd.err"
        yield HealthFinding(
            "warn", "service", f"launchd says that its last daemon ended with exit code {match[1]}", remedy
        )


def _check_launchd(agent: Path) -> Iterator[HealthFinding]:
    try:
        program = Path(plistlib.loads(agent.read_bytes())["ProgramArguments"][0])
    except OSError:
        yield HealthFinding("ok", "service", "none: `prefd start` starts the daemon (docs/service.md)")
    except (plistlib.InvalidFileException, KeyError, IndexError, TypeError, ValueError) as error:
        yield HealthFinding("fail", "service", f"{agent} cannot be read: {error!r}", "prefd service install")
    else:
        if os.access(program, os.X_OK):
            yield HealthFinding("ok", "service", f"launchd: {agent}")
        else:
            yield HealthFinding(
                "fail",
                "service",
                f"{agent} starts {program}, which cannot be run",
                "prefd service install",
            )
