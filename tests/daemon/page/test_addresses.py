"""Where the page is served, and by which names it may be asked for."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import hold_page
from prefd.daemon.page.addresses import BadAddress, is_loopback, list_hosts, parse_address
from prefd.daemon.page.listening import PortTaken, bind_page, describe_listener


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9000", ("127.0.0.1", 9000)),
        ("0.0.0.0", ("0.0.0.0", 8377)),
        ("box:9000", ("box", 9000)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::1]", ("::1", 8377)),
    ],
)
def test_an_address_is_a_port_a_host_or_both(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "127.0.0.1", 8377) == address


@pytest.mark.parametrize("text", ["", "::1", "http://box", "box:port", "box:", "70000", "box:70000", "a b:1:2"])
def test_what_is_no_address_is_told_with_one_that_is(text: str) -> None:
    with pytest.raises(BadAddress, match=r"8377|the largest is 65535"):
        parse_address(text, "127.0.0.1", 8377)


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(each) for each in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(each) for each in ("0.0.0.0", "::", "10.0.0.1", "box")] == [False] * 4


def test_the_hosts_are_this_machines_names_the_address_and_what_was_allowed() -> None:
    own = {"127.0.0.1:8377", "localhost:8377", "[::1]:8377"}
    assert list_hosts("127.0.0.1", 8377, []) == own
    assert list_hosts("0.0.0.0", 8377, []) == own, "no name is everybody's"
    assert list_hosts("10.0.0.5", 8377, ["Box.Example", "other:443"]) == own | {
        "10.0.0.5:8377",
        "box.example",
        "box.example:8377",
        "other:443",
    }
    assert {"localhost", "[::1]"} < list_hosts("127.0.0.1", 80, [])


@pytest.mark.parametrize("name", ["*", "", "box/", "http://box", "box:x", "a b", "*.example", "box@evil"])
def test_no_pattern_and_no_url_is_a_host(name: str) -> None:
    with pytest.raises(BadAddress, match=r"box\.example:443"):
        list_hosts("127.0.0.1", 8377, [name])


def test_a_taken_port_names_who_has_it_and_the_remedy(ready_home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, hold_page(ready_home):
        port = other.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            bind_page("127.0.0.1", port)
    assert f"is taken by the page of {ready_home.root} (pid {os.getpid()})" in str(caught.value), (
        "another home's is told apart"
    )
    assert "prefd web --port" in str(caught.value)
    assert not caught.value.is_foreign


def test_another_users_process_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_listener(None) == "a process of another user"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert " of root)" in describe_listener(psutil.Process(1)) or os.getuid() != 0


@pytest.mark.parametrize(
    ("host", "reason"), [("no-such-host.invalid", "name an address"), ("192.0.2.1", "name an address")]
)
def test_an_address_that_is_not_this_machines_is_told(host: str, reason: str) -> None:
    with pytest.raises(BadAddress, match=reason):
        bind_page(host, 0)
