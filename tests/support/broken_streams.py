"""Runs commands of prefd with streams that are closed, unread, full or of another encoding: each in a fork of one process.

    PYTHONPATH=tests python -m support.broken_streams HOME < '[[["jobs"], ["whole", "full"]], …]'

prints {"jobs": {CONDITION: [exit code, what it wrote to stdout and stderr as far as anyone could read it]}} as JSON. Run by
tests/daemon/machine/test_streams.py.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from prefd.daemon import commands
from prefd.daemon.cli import cli


def whole() -> None:
    """Leave the streams as they are."""


def close(*descriptors: int) -> None:
    """Close descriptors, as `>&-` does before Python starts."""
    for descriptor in descriptors:
        os.close(descriptor)
        name = ("stdin", "stdout", "stderr")[descriptor]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


def leave_unread(*descriptors: int) -> None:
    """Make descriptors pipes whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    for descriptor in descriptors:
        os.dup2(write, descriptor)
    os.close(write)


def fill() -> None:
    """Make stdout a disk that is full."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    os.close(full)


def encode(encoding: str) -> None:
    """Give stdout another encoding, strict as a locale gives it."""
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
        os.fdopen(1, "wb", closefd=False), encoding, "strict"
    )


CONDITIONS: dict[str, Callable[[], None]] = {
    "whole": whole,
    "no stdout": lambda: close(1),
    "no stderr": lambda: close(2),
    "no stdin": lambda: close(0),
    "nothing": lambda: close(0, 1, 2),
    "stdout unread": lambda: leave_unread(1),
    "both unread": lambda: leave_unread(1, 2),
    "ascii": lambda: encode("ascii"),
    "latin-1": lambda: encode("latin-1"),
    "full": fill,
}


def run(home: Path, command: list[str], condition: str) -> tuple[int, str, str]:
    """Run one command in a fork. Return its exit code, and what came to stdout and stderr."""
    files = [Path(os.environ["TMPDIR"], f"stream-{os.getpid()}-{name}") for name in ("out", "err")]
    if (pid := os.fork()) == 0:
        code = 99
        try:
            for descriptor, file in enumerate(files, 1):
                opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(opened, descriptor)
                os.close(opened)
            errors = os.open(files[1], os.O_WRONLY | os.O_APPEND)
            try:
                CONDITIONS[condition]()
                cli(["--home", str(home), *command], prog_name="prefd")
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
                for stream in (sys.stdout, sys.stderr):  # as the interpreter does at its end, where it counts
                    if stream is not None:
                        stream.flush()
            except BaseException:  # noqa: BLE001  # whatever it is, it is what the test looks for
                code = 98
                os.write(errors, traceback.format_exc().encode("utf-8", "replace"))
        except BaseException:  # noqa: BLE001  # the interpreter's own end
            code = 97
            os.write(errors, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    texts = [file.read_bytes().decode("utf-8", "surrogateescape") for file in files]
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def import_everything() -> None:
    """Import what the commands would, once for all forks."""
    for module in pkgutil.walk_packages(commands.__path__, "prefd.daemon.commands."):
        importlib.import_module(module.name)
    for name in ("httpx", "httpx_sse", "prefd.daemon.health.usage", "prefd.daemon.jobs.table", "prefd.daemon.home.cache", "prefd.cache.store"):  # fmt: skip
        importlib.import_module(name)


def main(home: Path) -> None:
    """Run each command of stdin under the conditions beside it."""
    import_everything()
    lines: list[tuple[list[str], list[str]]] = json.load(sys.stdin)
    answer = {" ".join(command): {name: run(home, command, name) for name in names} for command, names in lines}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
