"""What `prefd doctor` tells of the machines that ranks may run on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.health.host_checks import check_hosts
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.timing import USUAL, Timing
from support import fake_ssh

HOSTS = '[distributed]\nhosts = [{ssh = "mac", ips = ["127.0.0.1"]}, {ssh = "studio-2", ips = ["127.0.0.1"]}]\n'


@pytest.fixture
def there(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    ready_home.config.write_text(HOSTS)
    return ready_home


def find(home: Home, timing: Timing = USUAL, worker: tuple[str, ...] = WORKER) -> list[HealthFinding]:
    return list(check_hosts(home, timing, worker))


def add_job(jobs: JobTable, model: Path, ranks: int) -> None:
    spec = {"model": str(model), "data": {"path": "/d.jsonl"}, "ranks": ranks}
    jobs.add(JobSpec.model_validate(spec), f"{ranks}-{model.name}")


def stand_in(tmp_path: Path, code: str) -> tuple[str, ...]:
    """The command of what tries the machine by this code, in the worker's place."""
    script = tmp_path / "worker.py"
    script.write_text(f"import sys, json, os, signal, time\nasked = json.load(sys.stdin)\n{code}\n")
    return (sys.executable, "-S", "-E", str(script))


def test_without_other_machines_there_is_nothing_to_tell(there: Home) -> None:
    there.config.write_text('[distributed]\nhosts = [{ssh = "mac"}, {ssh = "localhost"}]\n')
    assert find(there) == []
    there.config.write_text('[distributed]\nhosts = [{ssh = "mac"}, {ssh = "studio-2"}]\n')
    (finding,) = find(there)
    assert (finding.level, finding.subject) == ("fail", "hosts")
    assert "mac has no ips" in finding.detail


def test_each_thing_that_was_tried_is_told_with_the_machine(there: Home, tmp_path: Path) -> None:
    with JobTable.open(there.database) as jobs:
        for ranks, model in ((2, tmp_path), (1, there.root), (2, tmp_path / "none")):
            add_job(jobs, model, ranks)
    code = 'print(json.dumps({"level": "ok", "detail": f"{asked[\'host\'][\'ssh\']} {asked[\'models\']}"}))'
    assert find(there, worker=stand_in(tmp_path, code)) == [
        HealthFinding("ok", "host", f"studio-2: studio-2 ['{tmp_path}']")
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ('print("rank 1 (studio-2) was lost: no route", file=sys.stderr); sys.exit(1)', "was lost: no route"),
        ("sys.stdout.flush(); os.kill(os.getpid(), signal.SIGALRM)", "SIGALRM"),
        ("sys.stdout.flush(); time.sleep(600)", "no end within 0.5 s"),
    ],
)
def test_what_did_not_end_well_fails_beside_what_was_found_before(
    code: str, words: str, there: Home, tmp_path: Path
) -> None:
    worker = stand_in(tmp_path, f'print(json.dumps({{"level": "ok", "detail": "ssh works"}}))\n{code}')
    timing = Timing(host_check=0.5 if "sleep" in code else 60.0)
    *_, works, failure = find(there, timing, worker)
    assert (works.level, works.detail) == ("ok", "studio-2: ssh works")
    assert failure.level == "fail"
    assert failure.detail.startswith("studio-2: ")
    assert words in failure.detail
    assert failure.remedy == "try it: ssh -o BatchMode=yes studio-2 true"


@pytest.mark.thorough
def test_a_machine_is_tried_from_ssh_to_the_sum(
    there: Home, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = fake_ssh.put_on_path(tmp_path / "ssh", monkeypatch)
    with JobTable.open(there.database) as jobs:
        add_job(jobs, tiny_model, 2)
    findings = find(there)
    assert [each.level for each in findings] == ["ok"] * 4, findings
    for each, words in zip(findings, ("ssh works", "is the same there", "MB/s", "a sum of 10 MB takes"), strict=True):
        assert words in each.detail
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    there.config.write_text(HOSTS.replace("]}]", f'], folders = {{"{tiny_model}" = "{other}"}}}}]'))
    assert [each.level for each in find(there)] == ["ok", "fail", "ok", "ok"]
    ssh.refuse("studio-2")
    (failure,) = find(there)
    assert "Permission denied (publickey)" in failure.detail
