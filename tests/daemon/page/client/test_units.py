"""The client's own tests, which need no browser: `npm test` in daemon/page/client."""

from __future__ import annotations

import subprocess

from support.browser import CLIENT, find_node


def test_the_clients_own_tests_pass() -> None:
    ended = subprocess.run([find_node(), "test.mjs"], cwd=CLIENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "# pass" in ended.stdout
