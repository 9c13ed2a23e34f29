"""The page beside the daemon: served again when it dies, ended with the daemon, its trouble told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import httpx
import psutil
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_files import STATIC
from prefd.daemon.home.page_record import find_page, read_page_record
from prefd.daemon.home.settings import Config, WebConfig
from prefd.daemon.machine.interpreter import PYTHON
from support import fake_worker
from support.homes import invoke
from support.running_daemon import QUICK, Place
from support.sockets import find_free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (STATIC / "index.html").exists(), reason="the page is not built here (make page)"),
]


@pytest.fixture
def port() -> int:
    """A port that is free, and that no other test is given meanwhile."""
    return find_free_port()


def with_page(port: int) -> Config:
    return QUICK.model_copy(update={"web": WebConfig(enabled=True, port=port)})


def wait_for_page(home: Home, without: int = 0) -> int:
    """The pid of the process that serves the page, once there is another than `without`."""
    fake_worker.wait_for(lambda: (page := find_page(home)) is not None and page.pid != without, 60)
    page = find_page(home)
    assert page is not None
    return page.pid


def test_it_is_served_again_when_it_dies_and_ends_with_the_daemon(place: Place, port: int) -> None:
    with place.daemon(with_page(port)) as client:
        first = wait_for_page(place.home)
        record = read_page_record(place.home)
        assert record is not None
        headers = {"Authorization": f"Bearer {record.token}"}
        assert httpx.get(f"{record.address}v1/status", headers=headers, trust_env=False).json()["page"]["pid"] == first
        os.kill(first, signal.SIGKILL)
        second = wait_for_page(place.home, without=first)
        page = client.status().page
        assert page is not None
        assert (page.address, page.pid) == (f"http://127.0.0.1:{port}/", second)
        assert page.error is not None
        assert "SIGKILL" in page.error
        shown = invoke(place.home, "status").stdout
        assert f"http://127.0.0.1:{port}/ (pid {second})" in shown
        assert record.token not in shown
        assert invoke(place.home, "web", "--show-url").stdout.strip() == record.url, "an open page goes on"
    assert not psutil.pid_exists(second)
    assert find_page(place.home) is None


def test_a_port_that_is_taken_is_told_with_the_remedy_and_taken_when_it_is_free(place: Place, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as other, place.daemon(with_page(port)) as client:
        fake_worker.wait_for(lambda: (page := client.status().page) is not None and page.error is not None, 60)
        shown = " ".join(invoke(place.home, "status").stdout.split())
        assert f"page not served: port {port} of 127.0.0.1 is taken by" in shown
        assert "choose another with `prefd web --port`" in shown
        other.close()
        wait_for_page(place.home)


def test_it_ends_when_its_input_is_closed_as_the_kernel_does_for_a_daemon_that_is_killed(
    ready_home: Home, port: int
) -> None:
    command = [
        *PYTHON,
        "-m",
        "prefd.daemon.cli",
        "--home",
        str(ready_home.root),
        "web",
        "--supervised",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert wait_for_page(ready_home) == child.pid
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == 0


def test_it_is_served_from_when_config_asks_for_it(place: Place, port: int) -> None:
    with place.daemon() as client:
        assert client.status().page is None
        place.home.config.write_text(f"[web]\nenabled = true\nport = {port}\n")
        pid = wait_for_page(place.home)
        place.home.config.write_text("[web]\nenabled = false\n")
        fake_worker.wait_for(lambda: client.status().page is None, 60)
        fake_worker.wait_for(lambda: not psutil.pid_exists(pid), 60)
