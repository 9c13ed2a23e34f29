"""A job is archived as `prefd archive` does it, and what the command refuses is told in its words."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.home.layout import Home
from support import homes
from support.page_api import asking


def test_a_job_that_has_ended_is_copied_once_and_stays(ready_home: Home) -> None:
    homes.add_done(ready_home, name="smol / ipo")
    (ready_home.job(1) / "fused").mkdir()
    with asking(ready_home) as page:
        answer = page.post("/v1/jobs/1/archive?fused=true").json()
        assert answer == {"job": 1, "archive": str(ready_home.archive / "1-smol-ipo"), "bytes": answer["bytes"]}
        assert {"fused", "report.txt", "spec.json"} <= {each.name for each in Path(answer["archive"]).iterdir()}
        again, gone = (page.post(f"/v1/jobs/{job}/archive") for job in (1, 2))
    assert ready_home.job(1).is_dir()
    assert (again.status_code, gone.status_code) == (409, 404)
    assert "is there already" in again.json()["error"]
