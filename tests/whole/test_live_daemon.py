"""The README's systemd service under a real systemd: ready, killed, hung, stopped."""

import os
import shutil
import subprocess

import pytest

from support.fake_systemd import SYSTEMD
from support.programs import program, program_environment

APART = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")


@pytest.mark.slow
@pytest.mark.skipif(not SYSTEMD.exists() or shutil.which("systemctl") is None, reason="no systemd here")
@pytest.mark.thorough  # service/test_systemd.py has the messages, commands/test_start_stop.py a daemon that sends them
def test_systemd_starts_watches_restarts_and_stops_it() -> None:
    mounting = "mount -t tmpfs tmpfs /run && mount -t cgroup2 none /mnt && mkdir /mnt/prefd-try && rmdir /mnt/prefd-try"
    tried = subprocess.run([*APART, "sh", "-c", mounting], capture_output=True, text=True, check=False)
    if os.geteuid() != 0 or tried.returncode:
        pytest.skip(f"no manager of its own can be started here: {tried.stderr.strip() or 'not root'}")
    done = subprocess.run(
        [*APART, *program("support.fake_systemd")],
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
