import csv
import io
import json
import sqlite3
import time
from contextlib import closing

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.availability import FolderUnusable, WatchedFolder
from prefd.daemon.text.parsed import MAX_BYTES
from support import fake_worker, homes
from support.control_server import serving, talking
from support.running_daemon import Place


def test_jobs_are_listed_by_state_and_group_a_page_at_a_time(ready_home: Home) -> None:
    for number in range(1, 6):
        homes.add_queued(ready_home, name=f"job-{number}", group="even" if number % 2 == 0 else "odd")
    homes.add_done(ready_home, name="job-6")
    with serving(ready_home), talking(ready_home) as http:

        def ids(query: str) -> tuple[list[int], bool]:
            page = http.get(f"/v1/jobs?{query}").json()
            return [job["id"] for job in page["jobs"]], page["more"]

        assert ids("") == ([1, 2, 3, 4, 5, 6], False)
        assert ids("limit=2") == ([5, 6], True)
        assert ids("limit=4&before=5") == ([1, 2, 3, 4], False)
        assert ids("group=even") == ([2, 4], False)
        assert ids("state=done&state=failed") == ([6], False)
        assert ids("state=failed") == ([], False)
        for wrong in ("state=lost", "limit=0", "limit=10001", "before=x", "colour=red", "limit=1&limit=2"):
            reply = http.get(f"/v1/jobs?{wrong}")
            assert reply.status_code == 422
            assert reply.json()["lines"][0].startswith(wrong.partition("=")[0])


def test_a_list_with_summaries_is_the_list_with_more(ready_home: Home) -> None:
    homes.add_done(ready_home, name="done")
    homes.add_queued(ready_home, name="waits")
    with serving(ready_home), talking(ready_home) as http:
        plain = http.get("/v1/jobs").json()["jobs"]
        summarized = http.get("/v1/jobs?with=summary&state=done&state=queued").json()["jobs"]
        assert [{key: job[key] for key in job if key != "summary"} for job in summarized] == plain
        assert [job["summary"]["place"] for job in summarized] == [None, 1]
        assert summarized[0]["summary"]["eval"]["step"] == 12
        assert [job["id"] for job in http.get("/v1/jobs?ids=2,77&with=summary").json()["jobs"]] == [2]
        assert http.get("/v1/jobs?with=everything").status_code == 422


def test_a_job_is_all_that_show_prints(ready_home: Home) -> None:
    homes.add_done(ready_home)
    with serving(ready_home), talking(ready_home) as http:
        shown = json.loads(homes.invoke(ready_home, "show", 1, "--json").stdout)
        assert shown.pop("unattended") == "", "whether a daemon works on it is for those who ask none"
        assert {"schema": 1, **http.get("/v1/jobs/1").json()} == shown
        metrics = json.loads(homes.invoke(ready_home, "metrics", 1, "--last", 3, "--json").stdout)
        assert {"schema": 1, **http.get("/v1/jobs/1/metrics?last=3").json()} == metrics


def test_the_end_of_a_long_log_is_enough(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    log = ready_home.job(job.id) / "worker.log"
    with serving(ready_home), talking(ready_home) as http:
        last = http.get("/v1/jobs/1/log?last=2").json()
        assert (last["lines"], last["earlier"]) == (["scoring 212 completions", "done"], True)
        assert not http.get("/v1/jobs/1/log").json()["earlier"]
        log.write_bytes(b"".join(b"line %06d \xff\n" % number for number in range(100_000)))
        lines = http.get("/v1/jobs/1/log").json()["lines"]
        assert lines[-1] == "line 099999 �"
        assert len(lines) == 1000
        everything = http.get("/v1/jobs/1/log?last=100000").json()["lines"]
        assert 60_000 < len(everything) < 100_000
        log.unlink()
        assert http.get("/v1/jobs/1/log").json()["lines"] == []


def test_a_log_is_followed_byte_by_byte_and_no_line_is_told_in_halves(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    log = ready_home.job(job.id) / "worker.log"
    with serving(ready_home), talking(ready_home) as http:

        def read(query: str) -> tuple[list[str], int, bool]:
            answer = http.get(f"/v1/jobs/1/log?{query}").json()
            return answer["lines"], answer["next"], answer["more"]

        log.write_text("one\ntwo\nthr")
        assert read("last=1") == (["two"], 8, False)
        assert read("after=8") == ([], 8, False)
        with log.open("a") as file:
            file.write("ee\n\nfive\n")
        assert read("after=8") == (["three", "", "five"], 20, False)
        log.write_text("it goes on here\n")
        assert read("after=20") == (["it goes on here"], 16, False)
        log.write_text("x" * 999_998 + "\n" + "y" * 1_500_000 + "\nlast\n")
        lengths, position, more = [], 0, True
        while more:
            lines, position, more = read(f"after={position}")
            lengths += [len(line) for line in lines]
        assert lengths == [999_998, 1_000_000, 500_000, 4]  # a line that is longer than what is read comes in pieces
        assert http.get("/v1/jobs/1/log?after=-1").status_code == 422


def test_what_lies_in_a_jobs_folder_is_told(ready_home: Home) -> None:
    homes.add_done(ready_home)
    with serving(ready_home), talking(ready_home) as http:
        files = http.get("/v1/jobs/1/files").json()
        assert files["adapter"]["path"] == str(ready_home.job(1) / "adapter")
        assert http.get("/v1/jobs/1/spec").json()["spec"]["loss"] == {"name": "ipo", "beta": 0.1}
        history = http.get("/v1/jobs/1/history").json()
        assert [line["state"] for line in history["history"]] == ["queued", "precomputing", "training", "done"]
        assert history["phase_seconds"] == {"precompute": 31.6, "training": 48.2}
        for name in ("files", "spec", "history", "metrics.csv"):
            assert http.get(f"/v1/jobs/9/{name}").json()["error"] == "there is no job 9"


def test_metrics_as_csv_have_every_line_and_every_column(ready_home: Home) -> None:
    job = homes.add_done(ready_home)
    with (ready_home.job(job.id) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "loss": NaN, "odd, one": null}\nbroken\n')
    with serving(ready_home), talking(ready_home) as http:
        reply = http.get("/v1/jobs/1/metrics.csv")
        assert reply.headers["content-disposition"] == 'attachment; filename="metrics-1.csv"'
        rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert len(rows) == 12 + 2 + 1
    assert (rows[0]["step"], float(rows[0]["loss"]), rows[0]["eval_loss"]) == ("1", 0.6931 - 0.025, "")
    assert (rows[-1]["step"], rows[-1]["loss"], rows[-1]["odd, one"]) == ("13", "", "")


def test_ten_thousand_jobs_are_listed_while_others_are_answered(ready_home: Home) -> None:
    homes.add_queued(ready_home)
    multiply_job(ready_home, 10_000)
    with serving(ready_home), talking(ready_home) as http:
        began = time.monotonic()
        assert len(http.get("/v1/jobs?limit=10000").json()["jobs"]) == 10_000
        assert time.monotonic() - began < 5


def multiply_job(home: Home, count: int) -> None:
    """Copy job 1 of a home until it has `count` jobs, in one statement of SQL."""
    with closing(sqlite3.connect(home.database)) as database, database:
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(jobs)")]
        own = {
            "id": "number",
            "part": "number",
            "name": "'job-' || number",
            "ulid": "substr(ulid, 1, 20) || printf('%06d', number)",
        }
        database.execute(
            "WITH RECURSIVE numbers(number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?) "
            f"INSERT INTO jobs ({', '.join(columns)}) "
            f"SELECT {', '.join(own.get(name, name) for name in columns)} FROM jobs, numbers WHERE id = 1",
            (count,),
        )


def test_a_posted_spec_is_a_job_at_once_and_runs(place: Place) -> None:
    with place.daemon() as client:
        (job,) = client.submit(fake_worker.spec_text(place.folder).encode(), "mine")
        assert (job.state, job.name) == ("queued", "ok")
        assert (place.home.accepted / job.source).read_text() == fake_worker.spec_text(place.folder)
        place.wait_for("done")
        yaml = f"model: {place.folder}/model\ndata: {{path: {place.folder}/pairs.jsonl}}\nsweep: {{loss.beta: [0.1, 0.2]}}\n"
        sweep = client.submit((yaml + "loss: {name: sigmoid}\n").encode(), "both", "application/yaml")
        assert [job.name for job in sweep] == ["both-1", "both-2"]
        place.wait_for("done", "done", "done")
    assert [path.name for path in place.home.accepted.iterdir() if path.name.startswith(".")] == []


def test_a_posted_spec_is_not_put_under_a_mount_that_is_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def require_mount(self: WatchedFolder) -> None:
        raise FolderUnusable("/mnt is not mounted")

    with place.daemon() as client, talking(place.home) as http:
        monkeypatch.setattr(WatchedFolder, "require_mount", require_mount)
        reply = http.post("/v1/jobs", content=fake_worker.spec_text(place.folder))
        assert (reply.status_code, reply.json()["error"]) == (503, "/mnt is not mounted")
        assert not list(place.home.accepted.iterdir())
        assert sum(client.status().jobs.values()) == 0


def test_a_posted_spec_that_is_none_is_refused_as_a_dropped_one_and_leaves_nothing(place: Place) -> None:
    with place.daemon() as client, talking(place.home) as http:
        bad = fake_worker.spec_text(place.folder, loss={"name": "sigmoidd"}, training={"iters": 0})
        place.drop("posted.json", bad)
        fake_worker.wait_for(lambda: bool(place.rejected()))
        lines = (place.home.rejected / "posted.json.error.txt").read_text().splitlines()
        reply = http.post("/v1/jobs", content=bad)
        assert reply.status_code == 422
        assert reply.json()["lines"] == lines
        for content, media, status, what in (
            ("{", "application/json", 422, "posted.json: line 1"),
            ("a: &a [1]\nb: *a", "application/yaml", 422, "posted.yaml: "),
            ("x" * (MAX_BYTES + 1), "application/json", 413, "a spec has at most 256 KiB"),
            ("<spec/>", "text/xml", 415, "not as 'text/xml'"),
            (fake_worker.spec_text(place.folder, after=[77]), "application/json", 422, "there is no job 77"),
        ):
            reply = http.post("/v1/jobs", content=content, headers={"Content-Type": media})
            assert reply.status_code == status
            assert what in reply.json()["error"]
        assert http.post("/v1/jobs?name=../../x", content=bad).status_code == 422
        with pytest.raises(ControlError, match="no loss is called 'sigmoidd'"):
            client.submit(bad.encode(), "mine")
    assert place.jobs() == []
    assert list(place.home.accepted.iterdir()) == []


def test_a_client_knows_no_such_daemon_call_twice(ready_home: Home) -> None:
    homes.add_queued(ready_home)
    with serving(ready_home) as daemon:
        Client(ready_home).submit(b"{}", "x", "application/toml")
        assert daemon.posted_specs == [(b"{}", "x.toml")]
