import math
import os
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from prefd.daemon.control.api.prometheus import read_last_report
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import STATES
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.control_server import serving, talking

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(home: Home) -> tuple[Samples, dict[str, tuple[str, str]]]:
    """What Prometheus would read: samples by name and labels; type and help by family."""
    with serving(home), talking(home) as http:
        reply = http.get("/v1/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(reply.text))
    assert len({family.name for family in families}) == len(families)
    samples = {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
    return samples, {family.name: (family.type, family.documentation) for family in families}


def read_sample(samples: Samples, family: str, **labels: str) -> float:
    return samples[family, frozenset(labels.items())]


def test_jobs_by_state_queue_watcher_and_process(ready_home: Home) -> None:
    homes.add_done(ready_home, name="one")
    homes.add_failed(ready_home, name="two")
    homes.invoke(ready_home, "pause")
    samples, families = scrape(ready_home)
    counts = {state: read_sample(samples, "prefd_jobs", state=state) for state in STATES}
    assert counts == {state: float(state in ("done", "failed")) for state in STATES}
    assert read_sample(samples, "prefd_queue_paused") == 1
    assert read_sample(samples, "prefd_info", version="0.1.0") == 1
    assert read_sample(samples, "prefd_watcher_last_rescan_timestamp_seconds") == 1763795000.25
    assert ("prefd_watcher_last_event_timestamp_seconds", frozenset()) not in samples, "there was none"
    assert read_sample(samples, "process_start_time_seconds") == pytest.approx(
        psutil.Process(os.getpid()).create_time()
    )
    assert 10e6 < read_sample(samples, "process_resident_memory_bytes") < 10e9
    assert families["process_cpu_seconds"][0] == "counter"
    assert all(kind in ("gauge", "counter") and says for kind, says in families.values())


def test_a_training_job_has_its_newest_numbers(ready_home: Home) -> None:
    homes.add_running(ready_home, name="smol")
    samples, _ = scrape(ready_home)
    job = {"job": "1", "name": "smol"}
    row = homes.metric_rows()[3]
    assert read_sample(samples, "prefd_job_running", **job, state="training") == 1
    assert read_sample(samples, "prefd_job_done", **job, phase="training", unit="steps") == 4
    assert read_sample(samples, "prefd_job_total", **job, phase="training", unit="steps") == homes.STEPS
    assert read_sample(samples, "prefd_job_step", **job) == 4
    assert read_sample(samples, "prefd_job_loss", **job) == row["loss"]
    assert read_sample(samples, "prefd_job_reward_margin", **job) == row["rewards/margins"]
    assert read_sample(samples, "prefd_job_tokens_per_second", **job) == row["tokens_per_second"]


def test_a_name_is_escaped_and_not_a_number_stays_one(ready_home: Home) -> None:
    name = 'a "quoted" \\ back\\nslash {x="y"} é'
    job = homes.add_running(ready_home, name=name)
    RunDir(ready_home.job(job.id)).metrics.write_text('{"step": 1, "loss": NaN}\n{"step": 2, "eval_loss": 1.0}\n{"ste')
    samples, _ = scrape(ready_home)
    assert math.isnan(read_sample(samples, "prefd_job_loss", job="1", name=name))
    assert read_sample(samples, "prefd_job_step", job="1", name=name) == 1


def test_the_last_report_is_found_at_the_end_of_a_long_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_last_report(run) == {}
    homes.write_metrics(run, [{"step": step, "loss": 1.0, "pad": "x" * 100} for step in range(5_000)])
    assert read_last_report(run) == {"step": 4999, "loss": 1.0}
