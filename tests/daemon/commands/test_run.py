"""`prefd run`: the whole path on a tiny model, in real worker processes, with no daemon."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefd.cache.store import ReferenceCache
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.notebook import ReferenceLogprobs
from prefd.daemon.queue import foreground
from prefd.daemon.queue.worker_ahead import WorkerAhead
from support import fake_worker, homes
from support.homes import invoke

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("answers_in_process")]  # the phases are processes


@pytest.fixture
def there(home: Path) -> Home:
    return Home(home)


def test_run_fills_the_cache_and_trains_from_it_in_plain_lines(
    there: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)
    filled = invoke(there, "run", spec, "--json", "--precompute-only")
    assert filled.exit_code == Exit.OK, filled.output
    document = json.loads(filled.stdout)
    assert document["job"]["id"] == 1
    assert document["precompute"]["summary"]["line"] == "reference: 16 of 16 completions scored"
    assert "reference: 16 of 16" in filled.stderr, "progress goes to stderr then"
    assert "made a home" in filled.stderr
    assert not (there.job(1) / "adapter").exists()
    (reference,) = json.loads(invoke(there, "cache", "ls", "--json").stdout)["references"]
    assert reference["entries"] == 16

    trained = invoke(there, "run", spec)
    assert trained.exit_code == Exit.OK, trained.output
    assert "reference: 0 of 16 completions scored" in trained.stdout
    assert str(there.job(2) / "adapter") in trained.stdout
    assert (there.job(2) / "adapter" / "adapters.safetensors").exists()
    assert invoke(there, "cache", "ls").stdout.count("tiny") == 1
    assert len(json.loads(invoke(there, "metrics", 2, "--json").stdout)["train"]) == 4


@pytest.mark.thorough  # worker/test_preview.py compares both in one process
def test_the_job_reads_what_the_preview_showed(there: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    """Each previewed answer's very tokens have their numbers in the cache, and all commands tell of one report."""
    pairs_file.write_text(pairs_file.read_text() + '{"prompt": "q", "chosen": "", "rejected": "b"}\n')
    data = {"path": str(pairs_file), "max_length": 60, "validation": 0.25}
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file, data=data)
    shown = json.loads(invoke(there, "preview", spec, "--rows", 99, "--tokens", "--json").stdout)
    (checked,) = json.loads(invoke(there, "validate", spec, "--json").stdout)["specs"]
    invoke(there, "run", spec, "--precompute-only")
    job = json.loads(invoke(there, "show", 1, "--json").stdout)
    assert shown["data"] == checked["data"][0]["data"] == job["precompute"]["summary"]["data"]
    rows = [line.removeprefix("rows").strip() for line in invoke(there, "show", 1).stdout.splitlines()]
    assert shown["data"]["lines"] == [line for line in rows if line in shown["data"]["lines"]]
    assert len(shown["data"]["lines"]) == 4

    cache = ReferenceCache.open(there.cache)
    reference = ReferenceLogprobs(cache, cache.references()[0].fingerprint)
    sides = [(pair["prompt"], pair[side]) for pair in shown["pairs"] for side in ("chosen", "rejected")]
    assert len(sides) == 16
    for prompt, answer in sides:
        assert len(reference.of_tokens(prompt["ids"] + answer["ids"], prompt["tokens"])) == answer["counted"]


def test_a_job_that_fails_exits_with_5_and_its_reason(
    there: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stand_in = functools.partial(foreground.run_in_foreground, worker=fake_worker.make_worker(tmp_path))
    monkeypatch.setattr(foreground, "run_in_foreground", with_stand_in)
    monkeypatch.setattr(WorkerAhead, "start", lambda *_: None)
    result = invoke(there, "run", homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file, name="fail"))
    assert result.exit_code == Exit.JOB_FAILED
    assert "failed: data.path: no column called chosen" in result.stdout
    assert "Traceback" not in result.output


def test_a_bad_spec_fails_before_anything_is_made(there: Home, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    result = invoke(there, "run", tmp_path / "empty.yaml")
    assert result.exit_code == Exit.FAILED
    assert "empty.yaml" in result.stderr
    assert not there.root.exists()


@pytest.mark.thorough  # queue/test_interruption.py has the signal, worker/test_phases.py the worker's end
def test_ctrl_c_stops_the_worker_and_ends_the_job(
    there: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    long = {"iters": 100_000, "batch_size": 2}
    loss = {"name": "cpo"}  # one phase is enough
    spec = homes.write_spec(tmp_path / "long.json", tiny_model, pairs_file, training=long, loss=loss)
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(there.root), "run", str(spec)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = there.job(1) / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not metrics.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == Exit.JOB_FAILED, out + err
    assert "Traceback" not in out + err
    with JobTable.open_readonly(there.database) as jobs:
        assert jobs.get(1).state == "cancelled"
