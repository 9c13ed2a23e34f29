"""A command as it is seen on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys


def on_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What the command writes when stdout and stderr are a terminal."""
    import pty

    main, secondary = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    command = [sys.executable, "-m", "prefd.daemon.cli", *arguments]
    subprocess.run(
        command,
        check=False,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env=base | {"TERM": "xterm"} | environment,
        timeout=60,
    )
    os.close(secondary)
    written = b""
    try:
        while chunk := os.read(main, 65536):
            written += chunk
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(main)
    return written.decode()
