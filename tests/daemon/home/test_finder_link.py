"""The link by which Finder shows a home in ~/Library."""

import sys
from pathlib import Path

import pytest

from prefd.daemon.health.home_checks import check_home
from prefd.daemon.home import finder_link, layout
from prefd.daemon.home.layout import Home
from support.homes import invoke


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The default home of a Mac's user, not made yet."""
    user = tmp_path / "anna"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setattr(sys, "platform", "darwin")
    for module in (layout, finder_link):
        monkeypatch.setattr(module, "locate_default", lambda: user / "Library" / "Application Support" / "prefd")
    monkeypatch.delenv("PREFD_HOME", raising=False)
    return Home.locate()


def test_a_home_that_finder_hides_gets_a_link_that_finder_shows(hidden: Home) -> None:
    result = invoke(hidden, "init")
    link = Path.home() / "prefd"
    assert link.resolve() == hidden.root
    assert result.stdout.strip() == str(hidden.root), "the home itself is where it was"
    assert f"Finder shows it as {link}" in result.stderr
    assert Home.locate(link) == hidden
    assert f"Finder shows it as {link}" in [finding.detail for finding in check_home(hidden)]
    link.unlink()
    assert any("`prefd open` shows it" in finding.detail for finding in check_home(hidden))
    assert f"Finder shows it as {link}" in invoke(hidden, "init").stderr, "an older home gets one too"


def test_what_is_there_already_stays(hidden: Home) -> None:
    clone = Path.home() / "prefd"
    (clone / ".git").mkdir(parents=True)
    result = invoke(hidden, "init")
    assert "~/prefd is something else already: `prefd open` shows it" in result.stderr
    assert not clone.is_symlink()
    assert finder_link.find_link(hidden) is None


def test_a_home_of_another_place_gets_none(hidden: Home, tmp_path: Path) -> None:
    result = invoke(Home(tmp_path / "anna" / "tuning"), "init")
    assert "Finder" not in result.stderr
    assert not (Path.home() / "prefd").is_symlink()


def test_spotlight_is_kept_out_of_a_macs_home(hidden: Home) -> None:
    hidden.create()
    assert (hidden.root / ".metadata_never_index").exists()
