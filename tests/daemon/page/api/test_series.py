"""Series as the page asks for them: of one job, of several, and of an earlier attempt."""

from __future__ import annotations

import json
import random
import time

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.page_api import asking

STEPS = 100_000
KEYS = [
    "loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected", "logps/chosen",
    "logps/rejected", "grad_norm", "learning_rate", "tokens_per_second", "peak_memory_gb", "spread",
]  # fmt: skip


def test_a_job_and_several_are_told_as_they_are_asked_for(ready_home: Home) -> None:
    homes.add_done(ready_home)
    homes.add_running(ready_home, name="other")
    with asking(ready_home) as http:
        one = http.get("/v1/jobs/1/series").json()
        assert (one["job"], one["attempt"], one["rows"], one["bucket"]) == (1, 1, 12, 1)
        assert one["step"] == list(range(1, 13))
        assert one["metrics"]["loss"] == {
            "mean": [round(0.6931 - 0.025 * step, 6) for step in range(1, 13)],
            "min": None,
            "max": None,
        }
        assert one["eval"]["step"] == [6, 12]
        assert one["eval"]["metrics"]["eval_rewards/margins"]["mean"] == [0.3, 0.6]
        few = http.get("/v1/jobs/1/series?points=3&from=2&to=9&keys=loss,eval_loss&keys=grad_norm").json()
        assert (few["step"], few["rows"], few["metrics"].keys()) == ([2, 5, 8], 8, {"loss", "grad_norm"})
        assert few["metrics"]["loss"]["max"][0] == round(0.6931 - 0.05, 6)
        assert few["eval"]["metrics"].keys() == {"eval_loss"}
        both = http.get("/v1/series?ids=2,1&points=4").json()["series"]
        assert [(each["job"], each["rows"]) for each in both] == [(2, 4), (1, 12)]
        for url, status, reason in (
            ("/v1/jobs/9/series", 404, "there is no job 9"),
            ("/v1/series?ids=1&ids=9", 404, "there is no job 9"),
            ("/v1/series", 422, "ids: Field required"),
            ("/v1/jobs/1/series?points=0", 422, "points: "),
            ("/v1/jobs/1/series?from=-1", 422, "from: "),
            ("/v1/jobs/1/series?attempt=2", 404, "job 1 has no files of attempt 2; it has those of 1"),
        ):
            reply = http.get(url)
            assert reply.status_code == status, url
            assert reason in reply.json()["error"]


def test_an_attempt_that_was_set_aside_can_still_be_looked_at(ready_home: Home) -> None:
    from prefd.daemon.jobs.table import JobTable

    job = homes.add_done(ready_home)
    with JobTable.open(ready_home.database) as table:
        table.retry(job.id, fresh=True)
    run = RunDir(ready_home.job(job.id))
    run.set_aside(1)
    with asking(ready_home) as http:
        assert http.get("/v1/jobs/1/series").json()["rows"] == 0
        before = http.get("/v1/jobs/1/series?attempt=1").json()
        assert (before["attempt"], before["rows"]) == (1, 12)
        error = http.get("/v1/jobs/1/series?attempt=3").json()["error"]
        assert error == "job 1 has no files of attempt 3; it has those of 1, 2"


def test_a_hundred_thousand_steps_are_less_than_300_kb_with_every_spike_and_bad_step(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    draw = random.Random(17)
    bodies = [{key: draw.gauss(0, 1) * 10 ** draw.randint(-5, 3) for key in KEYS} for _ in range(997)]
    lines = [json.dumps(body | {"loss": draw.random()})[1:] for body in bodies]
    special = {43_210: 9999.0, 60_000: None, 60_001: None, 87_654: 9999.0}
    with RunDir(ready_home.job(job.id)).metrics.open("w") as file:
        for step in range(1, STEPS + 1):
            line = json.dumps(bodies[0] | {"loss": special[step]})[1:] if step in special else lines[step % len(lines)]
            file.write(f'{{"step": {step}, "epoch": {step / 1000}, "time": {1763794998 + step}, {line}\n')
    with asking(ready_home) as http:
        reply = http.get("/v1/jobs/1/series?points=800")
        began = time.monotonic()
        http.get("/v1/jobs/1/series?points=800")
        took = time.monotonic() - began
    assert len(reply.content) < 300_000
    assert took < 5  # 0.1 s on a machine that does nothing else
    series = reply.json()
    points = zip(series["step"], series["metrics"]["loss"]["max"])
    assert [step for step, high in points if high == 9999.0] == [43_126, 87_626]
    assert series["bad"] == {"loss": [60_000, 60_001]}
