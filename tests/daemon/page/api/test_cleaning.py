"""What a cleaning would delete is what `prefd clean --dry-run` says, and nothing is deleted."""

from __future__ import annotations

import json

from prefd.daemon.home.layout import Home
from support import homes
from support.page_api import asking


def test_a_plan_is_that_of_the_command(ready_home: Home) -> None:
    homes.add_done(ready_home, name="old")
    failed = homes.add_failed(ready_home, name="bad", group="sweep")
    homes.add_queued(ready_home, name="waits", after=[failed.id])
    (ready_home.job(1) / "checkpoints" / "step-1").mkdir(parents=True)
    (ready_home.job(1) / "checkpoints" / "step-1" / "adapters.safetensors").write_bytes(b"x" * 10_000)
    with asking(ready_home) as http:

        def plan(query: str) -> dict[str, object]:
            answer: dict[str, object] = http.get(f"/v1/cleaning?{query}").json()
            return answer

        for query, options in (
            ("keep=0", ("--keep", 0)),
            ("part=checkpoints&part=fused", ("--checkpoints", "--fused")),
            ("older_than_s=3600", ("--older-than", "1h")),
            ("keep=0&group=sweep&state=failed", ("--keep", 0, "--group", "sweep", "--state", "failed")),
        ):
            printed = json.loads(homes.invoke(ready_home, "clean", *options, "--dry-run", "--json").stdout)
            assert plan(query) == {key: printed[key] for key in ("deleted", "bytes", "kept")}
        assert plan("ids=2")["kept"] == [{"job": 2, "reason": "job 3 is to run after it"}]
        refusal = "state: a job that is queued has not ended, and is never deleted"
        assert http.get("/v1/cleaning?keep=0&state=queued").json()["error"] == refusal
        assert http.get("/v1/cleaning").json()["error"] == "say what: ids, older_than_s, keep or part"
    assert (ready_home.job(1) / "checkpoints").is_dir()
