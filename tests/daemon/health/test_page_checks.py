"""What `prefd doctor` says of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.health.page_checks import check_page
from prefd.daemon.home import page_files
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import hold_lock
from prefd.daemon.home.page_record import hold_page, write_page_record


def test_a_page_is_missing_not_served_wanted_or_served(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page_files.read_shell, "__defaults__", (tmp_path,))
    (missing,) = check_page(ready_home)
    assert missing.level == "warn"
    assert "without its page" in missing.detail
    assert "`make page`" in missing.remedy
    (tmp_path / "index.html").touch()
    (idle,) = check_page(ready_home)
    assert (idle.level, idle.detail) == ("ok", "not served now: `prefd web --open`")
    ready_home.config.write_text("[web]\nenabled = true\n")
    with hold_lock(ready_home):
        (wanted,) = check_page(ready_home)
    assert (wanted.level, wanted.remedy) == ("warn", "`prefd status` says why")
    write_page_record(ready_home, "127.0.0.1", 8377)
    with hold_page(ready_home):
        (served,) = check_page(ready_home)
    assert served.level == "ok"
    assert "http://127.0.0.1:8377/" in served.detail
