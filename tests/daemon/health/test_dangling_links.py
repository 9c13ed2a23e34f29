"""What `prefd doctor` says of a home whose folders are links that lead to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.health.home_checks import check_home
from prefd.daemon.home.layout import Home, HomeUnusable


@pytest.mark.parametrize("name", ["jobs/accepted", "runs", "cache"])
def test_a_link_to_a_drive_that_is_not_mounted_is_told_with_its_remedy(ready_home: Home, name: str) -> None:
    (ready_home.root / name).rmdir()
    (ready_home.root / name).symlink_to("/unplugged/there")
    (finding,) = check_home(ready_home)
    assert finding.level == "fail"
    assert "is a link to /unplugged/there, which is not there: mount the drive that it is on" in finding.detail
    assert "init" not in f"{finding.detail} {finding.remedy}"


def test_a_link_to_itself_is_told(ready_home: Home) -> None:
    ready_home.runs.rmdir()
    ready_home.runs.symlink_to(Path("runs"))
    (finding,) = check_home(ready_home)
    assert "is a link to runs, which leads back to itself: remove it" in finding.detail


def test_a_home_behind_links_that_lead_in_a_circle_is_told_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(HomeUnusable, match="one is a link to two, which leads back to itself: remove it"):
        Home.locate(tmp_path / "one" / "home")
