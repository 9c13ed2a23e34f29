"""A time zone that is set and not known here is told, for the system takes it for UTC in silence."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.text.time_zone import explain_unknown_zone
from prefd.daemon.text.times import explain_moment
from support.homes import invoke

SetZone = Callable[[str | None], None]


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetZone]:
    """Sets $TZ as a shell does, for this process alone."""

    def set_it(zone: str | None) -> None:
        if zone is None:
            monkeypatch.delenv("TZ", raising=False)
        else:
            monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_it
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["", "UTC", ":UTC", "GMT0", "Etc/UTC", "UTC0", "<+00>0", "CET-1CEST", "EST5"])
def test_utc_and_zones_with_their_own_rule_are_known_everywhere(set_zone: SetZone, zone: str) -> None:
    set_zone(zone)
    assert explain_unknown_zone() is None


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Erewhon", "zones are written Europe/Berlin, or CET-1CEST"),
    ],
)
def test_a_zone_that_nobody_knows_is_told_with_what_was_meant(
    set_zone: SetZone, monkeypatch: pytest.MonkeyPatch, zone: str, remedy: str
) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", lambda: {"Europe/Berlin", "Asia/Tokyo"})
    set_zone(zone)
    assert explain_unknown_zone() == (
        f"$TZ is '{zone}', which is no time zone that this system knows: local time is UTC here, in what is read and in what is shown "
        f"({remedy})"
    )


def test_where_no_zones_are_installed_the_package_is_named(
    set_zone: SetZone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a slim container: the name is right, and its file is not there."""
    monkeypatch.setenv("TZDIR", str(tmp_path))
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    set_zone("Europe/Berlin")
    assert str(explain_unknown_zone()).endswith("(install tzdata, which has the time zones)")


def test_a_link_to_a_zone_that_is_not_there_is_told(set_zone: SetZone, tmp_path: Path) -> None:
    set_zone(None)
    if time.timezone or time.daylight:
        pytest.skip("this machine has a time zone of its own")
    link = tmp_path / "localtime"
    link.symlink_to("/nowhere/zoneinfo/Europe/Berlin")
    assert str(explain_unknown_zone(link)).startswith(
        f"{link} leads to /nowhere/zoneinfo/Europe/Berlin, which is not there: local time is UTC here"
    )
    assert explain_unknown_zone(tmp_path / "none") is None


def test_every_command_says_so_beside_its_data_and_a_moment_beside_its_offset(
    set_zone: SetZone, ready_home: Home
) -> None:
    set_zone("Europe/Berln")
    message = str(explain_unknown_zone())
    listed = invoke(ready_home, "jobs", "--json")
    assert (listed.stderr, listed.exit_code) == (f"warning: {message}\n", 0)
    assert "Europe" not in listed.stdout
    assert explain_moment("2999-01-01 02:00")[1:] == [message]
    assert explain_moment("2999-01-01 02:00Z") == []
