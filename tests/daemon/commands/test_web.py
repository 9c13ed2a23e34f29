"""`prefd web` and `--web`: what they say and open. That a page is served is shown with its server and its child."""

from __future__ import annotations

import json
import re
import stat
import webbrowser
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home import page_files
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import hold_page, write_page_record
from support.homes import invoke


def test_the_address_is_shown_of_a_page_that_is_served_alone(ready_home: Home) -> None:
    missing = invoke(ready_home, "web", "--show-url")
    assert missing.exit_code == Exit.NOT_FOUND
    assert "`prefd web` serves it, and `prefd start --detach --web`" in missing.stderr
    record = write_page_record(ready_home, "127.0.0.1", 8377)
    with hold_page(ready_home):
        assert invoke(ready_home, "web", "--show-url").stdout == f"{record.url}\n"
        document = json.loads(invoke(ready_home, "web", "--show-url", "--json").stdout)
        assert (document["url"], document["token"], document["pid"]) == (record.url, record.token, record.pid)
        again = invoke(ready_home, "web")
        assert again.exit_code == Exit.FAILED
        assert f"is served already by pid {record.pid}" in again.stderr or "without its page" in again.stderr
        assert "http://127.0.0.1:8377/ (pid" in invoke(ready_home, "status").stdout
        assert json.loads(invoke(ready_home, "status", "--json").stdout)["page"]["address"] == record.address


def test_a_browser_is_given_no_token_that_other_users_could_read(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    record = write_page_record(ready_home, "127.0.0.1", 8377)
    with hold_page(ready_home):
        assert invoke(ready_home, "web", "--open").exit_code == Exit.OK
    (url,) = opened
    assert record.token not in url
    file = Path(url.removeprefix("file://"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.findall(r'url=([^"]+)"', file.read_text()) == [record.url]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["web", "--allowed-host", "*"], "is no Host"),
        (["web", "--host", "no-such-host.invalid"], "name an address of this machine"),
        (["start", "--web", "box:port"], "is no address"),
        (["service", "install", "--web", "box:port"], "is no address"),
    ],
)
def test_a_bad_address_is_refused_in_words(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], reason: str
) -> None:
    monkeypatch.setattr(page_files.read_shell, "__defaults__", (tmp_path,))
    (tmp_path / "index.html").touch()
    done = invoke(ready_home, *words)
    assert done.exit_code == Exit.USAGE
    assert reason in done.stderr


def test_a_page_that_was_not_built_is_told_with_the_remedy(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page_files.read_shell, "__defaults__", (tmp_path,))
    done = invoke(ready_home, "web")
    assert done.exit_code == Exit.FAILED
    assert "in a checkout `make page` builds it" in done.stderr
