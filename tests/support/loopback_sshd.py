"""A real sshd on 127.0.0.1 with keys of its own, and an `ssh` first on PATH that knows it as `loopback`; nobody's ~/.ssh is touched."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from support.fake_worker import wait_for
from support.sockets import find_free_port

HOST = "loopback"
PLACES = "/usr/sbin:/usr/local/sbin:/sbin"
SERVER = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
PidFile none
PasswordAuthentication no
SetEnv XDG_CACHE_HOME={folder}/cache
"""
CLIENT = """Host loopback
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking accept-new
"""


@dataclass(frozen=True)
class LoopbackSSHD:
    """LoopbackSSHD is a running sshd."""

    process: subprocess.Popen[bytes]

    def find_ranks(self) -> list[psutil.Process]:
        """The ranks that run in its sessions."""
        pids = []
        for each in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "far-rank" in each.cmdline() and "python" in each.name():
                    pids.append(each)
            except psutil.Error:
                continue
        return pids

    def find_sessions(self) -> list[psutil.Process]:
        """The processes of sshd that serve a connection."""
        sessions: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return sessions


@contextmanager
def running_sshd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSSHD]:
    """Has a real sshd run for the time of the block, whose ssh is first on PATH; skips the test where there is none."""
    sshd, ssh = shutil.which("sshd", path=PLACES), shutil.which("ssh")
    if sshd is None or ssh is None:
        pytest.skip("there is no sshd here: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # the folder that it shuts its unprivileged half in
    folder.mkdir(mode=0o700)
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = find_free_port()
    words = {"folder": folder, "port": port, "user": getpass.getuser()}
    (folder / "sshd_config").write_text(SERVER.format(**words))
    (folder / "ssh_config").write_text(CLIENT.format(**words))
    wrapper = folder / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    log = folder / "sshd.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=stream)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port), 20)
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {log.read_text().strip()[-200:]}")
        tried = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", HOST, f"{sys.executable} -c 'import prefd'"],
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode:
            pytest.skip(f"nobody may log in here: {tried.stderr.strip()[-200:]}")
        yield LoopbackSSHD(process)
    finally:
        for each in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            each.kill()
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0
