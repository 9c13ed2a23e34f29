"""A session's worker that is killed at any request goes on to the same bits; one that is asked to stop has saved all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.live_folder import SNAPSHOT
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.timing import Timing
from prefd.daemon.worker.live.request_files import RequestFiles
from prefd.daemon.worker.training.checkpoint import Checkpoints, load_tensors
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    ComputeLogprobsRequest,
    ForwardBackwardRequest,
    ForwardRequest,
    LiveResult,
    LoadStateRequest,
    OptimStepRequest,
    SampleRequest,
    SamplingParams,
    SaveSamplerRequest,
    SaveStateRequest,
)
from support.live_sessions import LiveFolderOnDisk, make_datum, make_session

IDS = [5, 6, 7, 8, 9, 10, 11]


class Killed(BaseException):
    """What a kill is to a process that a test shares with it: nothing after it is done."""


def ask_one_of_each_kind(session: LiveFolderOnDisk) -> None:
    step, data = AdamParams(learning_rate=1e-2), [make_datum(IDS)]
    live = session.job.run.live
    session.ask(ForwardBackwardRequest, data=data)
    session.ask(OptimStepRequest, adam_params=step)
    session.ask(SaveStateRequest, name="one")
    session.ask(ForwardBackwardRequest, data=data)
    session.ask(ForwardBackwardRequest, data=[make_datum(IDS[::-1])])
    session.ask(SaveSamplerRequest, name="one")
    session.ask(ForwardRequest, data=data)
    session.ask(OptimStepRequest, adam_params=step)
    path = str(live.sampler_weights / "one")
    session.ask(SampleRequest, tokens=IDS, num_samples=2, params=SamplingParams(max_tokens=4, seed=1), path=path)
    session.ask(ComputeLogprobsRequest, tokens=IDS, path=path)
    session.ask(ForwardBackwardRequest, data=data)
    session.ask(LoadStateRequest, path=str(live.weights / "one"), with_optimizer=True)
    session.ask(ForwardBackwardRequest, data=data)
    session.ask(OptimStepRequest, adam_params=step)
    session.ask(OptimStepRequest, adam_params=step)
    session.ask(ForwardBackwardRequest, data=data)


def list_content(session: LiveFolderOnDisk) -> dict[str, Any]:
    """All that the session has come to: results, saved weights, and the state, its accumulated gradient too."""
    live = session.job.run.live
    newest = max(live.state.glob("step-*"))
    folders = [newest, *live.weights.iterdir(), *live.sampler_weights.iterdir()]
    arrays = {
        f"{folder.parent.name}/{path.name}/{name}": np.array(array).tobytes()
        for folder in folders
        for path in folder.glob("*.safetensors")
        for name, array in load_tensors(path).items()
    }
    root = str(session.job.run.root)
    results = [
        {
            key: value.replace(root, "") if isinstance(value, str) else value
            for key, value in each.items()
            if key[:3] != "ref"
        }
        for each in session.results()
    ]
    steps = [{key: line[key] for key in ("step", "loss", "grad_norm")} for line in session.job.run.read_metrics()]
    return arrays | {"results": results, "steps": steps}


@pytest.mark.parametrize(
    ("saves_every_s", "deaths"),
    [
        pytest.param(0.0, (1, 2, 3, 5, 6, 7, 9, 10, 12, 15), id="saves at every request"),
        pytest.param(1e9, (8, 13), id="never saves", marks=pytest.mark.thorough),  # the other goes on from requests too
    ],
)
def test_killed_at_one_request_after_another_it_ends_to_the_same_bits(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, saves_every_s: float, deaths: tuple[int, ...]
) -> None:
    """Killed at each kind: at odd numbers before the result is written, at even ones behind it."""
    unbroken = make_session(home, tiny_model, job_id=1)
    broken = make_session(home, tiny_model, job_id=2)
    for session in (unbroken, broken):
        ask_one_of_each_kind(session)
    unbroken.serve()
    broken.timing = Timing(session_save=saves_every_s, session_saving_share=1e9)
    finish = RequestFiles.finish
    for deadly in deaths:

        def die_at_it(files: RequestFiles, result: LiveResult, deadly: int = deadly) -> None:
            if result.n == deadly and deadly % 2:
                raise Killed
            finish(files, result)
            if result.n == deadly:
                raise Killed

        monkeypatch.setattr(RequestFiles, "finish", die_at_it)
        with pytest.raises(Killed):
            broken.serve()
    monkeypatch.setattr(RequestFiles, "finish", finish)
    broken.serve()
    assert list_content(broken) == list_content(unbroken)
    assert [result["ok"] for result in broken.results()] == [True] * 14 + [False, True]
    outcome = broken.serve(to_the_end=True)
    assert outcome is not None
    assert (outcome.ok, outcome.summary.steps, outcome.summary.requests) == (True, 3, 16)
    assert (outcome.summary.ref_hits, outcome.summary.ref_scored) == (1, 0)
    assert outcome.reason == "16 requests, 3 steps; references: 1 from the cache, 0 scored; finished"


def test_asked_to_stop_it_saves_what_it_has_done_and_the_next_worker_does_nothing_again(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(home, tiny_model)
    ask_one_of_each_kind(session)
    session.serve()
    live = session.job.run.live
    assert live.read_applied() == session.last_request
    for n in range(1, session.last_request + 1):  # as the server does with what was fetched
        live.request(n).unlink()
        live.result(n).unlink()
    session.ask(OptimStepRequest)
    session.serve()
    assert session.result(session.last_request)["metrics"]["optim/step:last"] == 3.0


def test_what_was_counted_of_references_goes_on_over_workers_and_crashes(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(home, tiny_model)
    session.ask(ComputeLogprobsRequest, tokens=IDS)
    session.serve()
    session.ask(ForwardBackwardRequest, data=[make_datum(IDS)])
    session.ask(OptimStepRequest)
    session.ask(ComputeLogprobsRequest, tokens=IDS)
    session.ask(ComputeLogprobsRequest, tokens=IDS[::-1])
    monkeypatch.setattr(RequestFiles, "flush", lambda _: (_ for _ in ()).throw(Killed))  # nothing more is saved
    with pytest.raises(Killed):
        session.serve()
    monkeypatch.undo()
    session.ask(ForwardBackwardRequest, data=[make_datum(IDS)])
    session.ask(OptimStepRequest)
    session.serve()
    lines = [(line["ref_hits"], line["ref_scored"]) for line in session.job.run.read_metrics()]
    assert lines == [(0, 1), (1, 1)]
    progress = session.job.run.progress()
    assert progress is not None
    assert progress.metrics == {"ref_hits": 1, "ref_scored": 2}
    assert (progress.describe_count(), progress.note) == ("2 steps", "references: 1 from the cache, 2 scored")


def test_at_the_end_only_what_the_client_named_stays(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    session.ask(SaveStateRequest, name="one")
    session.ask(SaveSamplerRequest, name="two")
    session.ask(SaveSamplerRequest, name=f"{SNAPSHOT}3")
    session.serve()
    live = session.job.run.live
    live.promises.touch()
    assert (live.state / "applied.json").exists()
    session.serve(to_the_end=True)
    folders = sorted(str(path.relative_to(live.root)) for path in live.root.glob("*/*") if path.is_dir())
    assert folders == ["sampler_weights/two", "weights/one"]
    assert sorted(path.name for path in live.root.glob("*.*")) == ["closed.json", "session.json"]


def test_a_damaged_state_is_made_again_from_the_one_before_or_said(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    for _ in range(2):
        session.ask(ForwardBackwardRequest, data=[make_datum(IDS)])
        session.ask(OptimStepRequest)
        session.serve()
    live = session.job.run.live
    newest = Checkpoints(live.state, 2).path(4)
    (newest / "optimizer.safetensors").write_bytes(b"none")
    session.ask(ForwardRequest, data=[make_datum(IDS)])
    session.serve()
    assert session.result(5)["ok"]
    assert live.read_applied() == 5
    for folder in live.state.glob("step-*"):
        (folder / "optimizer.safetensors").write_bytes(b"none")
    live.request(1).unlink()
    with pytest.raises(Exception, match="the newest that is whole is that of request 0, and request 1 is not there"):
        session.serve()


@pytest.mark.slow
@pytest.mark.thorough  # the test below dies in this process
def test_a_worker_process_that_is_killed_leaves_all_to_the_next(home: Path, tiny_model: Path) -> None:
    unbroken, broken = (make_session(home, tiny_model, job_id=number) for number in (1, 2))
    for session in (unbroken, broken):
        ask_one_of_each_kind(session)
    unbroken.serve()
    command = [sys.executable, "-m", "prefd.daemon.worker", "live", "--home", str(home), "--job", "2"]
    live = broken.job.run.live
    with broken.job.run.log.open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as worker:
        while not live.result(2).exists():
            assert worker.poll() is None, broken.job.run.log.read_text()
            os.sched_yield()
        worker.send_signal(signal.SIGKILL)
    broken.serve()
    assert list_content(broken) == list_content(unbroken)
    write_json(live.closed, {"reason": "finished", "at": 0})
    with broken.job.run.log.open("ab") as log:
        assert subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0
    outcome = RunDir(broken.job.run.root).outcome("live")
    assert outcome is not None
    assert outcome.ok
