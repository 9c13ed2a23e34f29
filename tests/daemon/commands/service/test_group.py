"""`prefd service`, before stand-ins for launchd and systemd."""

import json
import re
import sys
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support.control_server import serving
from support.fake_managers import FakeAccount, make_account
from support.homes import invoke


@pytest.fixture(params=["darwin", "linux"])
def account(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    monkeypatch.setattr(sys, "platform", request.param)
    return make_account(tmp_path / "account", monkeypatch)


def test_a_service_is_installed_shown_and_taken_away(account: FakeAccount, home: Path) -> None:
    installed = invoke(Home(home), "service", "install")
    assert installed.exit_code == Exit.OK, installed.output
    assert home.is_dir(), "a home is made for it"
    file = Path(installed.stdout.strip())
    assert file.is_relative_to(account.folder)
    shown = invoke(Home(home), "service", "status", "--json")
    assert shown.exit_code == Exit.OK
    assert (json.loads(shown.stdout)["installed"], json.loads(shown.stdout)["loaded"]) == (True, True)
    removed = invoke(Home(home), "service", "uninstall")
    assert removed.exit_code == Exit.OK
    assert not file.exists()
    assert invoke(Home(home), "service", "status").exit_code == Exit.NOT_FOUND
    assert "there is no service" in invoke(Home(home), "service", "uninstall").stderr


def test_a_service_serves_the_page_where_it_is_asked_to(account: FakeAccount, ready_home: Home) -> None:
    installed = invoke(ready_home, "service", "install", "--web", "9000")
    assert installed.exit_code == Exit.OK, installed.output
    text = Path(installed.stdout.strip()).read_text()
    assert re.search(r"--web\W+(string>\W*<string>)?127\.0\.0\.1:9000", text)
    assert "`prefd web --show-url`" in installed.stderr


def test_a_token_is_not_written_down_and_that_is_told(
    account: FakeAccount, ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    installed = invoke(ready_home, "service", "install")
    assert "HF_TOKEN is not written" in installed.stderr
    assert "hf_secret" not in Path(installed.stdout.strip()).read_text()


def test_beside_a_daemon_that_was_started_by_hand_none_is_installed(account: FakeAccount, ready_home: Home) -> None:
    with serving(ready_home):
        refused = invoke(ready_home, "service", "install")
    assert refused.exit_code == Exit.FAILED
    assert "`prefd stop` it first" in refused.stderr
