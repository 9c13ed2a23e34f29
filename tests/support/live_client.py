"""A real Tinker client's program in a process of its own, where the client is installed (`prefd[live]`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess

from prefd.daemon.machine.interpreter import PYTHON


def has_client() -> bool:
    """Whether the client is installed, and what its custom losses need."""
    return all(importlib.util.find_spec(name) for name in ("tinker", "torch"))


def run_client(url: str, *command: str, key: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TINKER_BASE_URL": url, "TINKER_API_KEY": key, "TINKER_TELEMETRY": "0"}
    return subprocess.run(
        [*PYTHON, *command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
