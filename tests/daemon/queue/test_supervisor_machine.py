"""What a supervisor does with ends of a worker that the machine explains, and with plugins that cannot be loaded any more."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.identity import FolderId, HomeFolder
from prefd.daemon.home.layout import HomeUnusable
from prefd.daemon.queue import supervisor
from prefd.daemon.queue.phase_end import PhaseEnd
from prefd.daemon.queue.supervisor import PluginMissing
from prefd.daemon.specs.file_stamps import take_stamp
from prefd.daemon.specs.job_spec import JobSpec
from support import fake_worker
from support.supervisor_harness import Bench


def listed(*losses: str, error: str | None = None) -> dict[str, Any]:
    """A catalogue with these losses and a plugin, which cannot be loaded where there is an `error`."""
    plugin = {"name": "mine", "version": None, "source": "/mine.py", "losses": [], "formats": [], "error": error}
    return {"losses": {name: fake_worker.loss() for name in losses}, "plugins": [plugin]}


async def machine(*answers: bool) -> bool:
    return answers[0]


@pytest.mark.parametrize("name", ["segfault", "replaced", "crash"])
def test_an_end_that_the_machine_explains_is_no_crash_of_the_job(bench: Bench, name: str) -> None:
    job = bench.add(name)
    back = bench.run(job, explain_crash=lambda: machine(True))
    assert (back.state, back.crashes) == ("queued", 0)
    assert back.reason.endswith("; it goes on when that is over")
    assert bench.starts(job) == ["precompute"]


def test_a_module_that_could_not_be_imported_for_a_moment_is_tried_again(bench: Bench) -> None:
    job = bench.add("replaced")
    assert bench.run(job, explain_crash=lambda: machine(False)).state == "done"
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any(
        "something that is installed cannot be imported: ImportError: cannot import name 'core'" in each
        for each in reasons
    )


def test_a_worker_that_cannot_be_started_waits_while_the_machine_explains_it(bench: Bench) -> None:
    bench.worker = ("/no/such/python",)
    back = bench.run(bench.add("ok"), explain_crash=lambda: machine(True))
    assert back.state == "queued"
    assert back.reason.startswith("cannot start a worker (/no/such/python): No such file or directory; it goes on")


@pytest.mark.parametrize(("in_a_queue", "state"), [(True, "queued"), (False, "failed")])
def test_a_gpu_that_the_settings_name_and_that_is_not_there_is_told_as_that(
    bench: Bench, in_a_queue: bool, state: str
) -> None:
    (bench.home.root / "no_gpu").touch()
    job = bench.add("without_gpu")
    ended = bench.run(job, explain_crash=(lambda: machine(True)) if in_a_queue else None)
    assert (ended.state, ended.crashes) == (state, 0)
    assert ended.reason.startswith('worker.device is "gpu" in config.toml, and MLX has no GPU here')
    assert bench.starts(job) == ["precompute"]


def test_without_a_queue_a_job_that_cannot_reach_the_hub_waits_by_itself(bench: Bench) -> None:
    offline = bench.home.root / "offline"
    offline.touch()
    job = bench.add("offline", model="org/name")

    async def during() -> None:
        while len([event for event in bench.table.history(job.id) if event.state == "queued"]) < 3:
            await asyncio.sleep(0.01)
        offline.unlink()

    assert bench.run(job, during=during).state == "done"
    reasons = [event.reason for event in bench.table.history(job.id) if event.state == "queued"][1:]
    assert reasons[0].startswith("the hub cannot be reached: model org/name")
    assert reasons[0].endswith("tried again in 0.05 s")
    assert reasons[1].endswith("tried again in 0.1 s")


def test_in_a_queue_it_is_handed_back_for_others_to_go_on(bench: Bench) -> None:
    (bench.home.root / "offline").touch()
    (bench.home.root / "evicted").touch()
    outages: list[PhaseEnd] = []
    assert bench.run(bench.add("offline"), on_outage=outages.append).state == "queued"
    assert bench.run(bench.add("in_cloud"), on_outage=outages.append).state == "queued"
    kinds = [(end.kind, end.reason) for end in outages]
    assert kinds == [
        ("no network", "no answer: model org/name: it could not be downloaded (no route to host)"),
        ("no file", "/iCloud/pairs.jsonl is in the cloud and not on this Mac"),
    ]


def test_a_loss_that_a_failing_plugin_may_bring_waits_and_one_that_none_brings_fails() -> None:
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": {"name": "mine"}})
    with pytest.raises(PluginMissing, match="loss mine is not there, and plugin mine cannot be loaded: SyntaxError"):
        supervisor.plan_phases(spec, fake_worker.catalog(listed("sigmoid", error="SyntaxError")))
    with pytest.raises(supervisor.SpecError, match="no loss is called 'mine'"):
        supervisor.plan_phases(spec, fake_worker.catalog(listed("sigmoid")))


def test_a_plugin_that_fails_between_two_phases_puts_the_job_back(bench: Bench) -> None:
    job = bench.add("gate", loss={"name": "mine"})
    good, bad = fake_worker.catalog(listed("mine")), fake_worker.catalog(listed(error="it hangs"))
    (bench.home.root / "gate").touch()
    with pytest.raises(PluginMissing):
        bench.run(job, catalogs=[good, bad])
    back = bench.table.get(job.id)
    assert (back.state, bench.starts(job)) == ("queued", ["precompute"])
    assert "plugin mine cannot be loaded: it hangs" in back.reason


def test_a_failure_with_a_plugin_that_was_edited_meanwhile_is_planned_anew_and_not_for_ever(
    bench: Bench, tmp_path: Path
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("beta = 1")
    listed_before = replace(fake_worker.catalog(), files=[str(plugin)], stamp=take_stamp([plugin]))
    job = bench.add("fail")
    plugin.write_text("beta = 1.0  # saved after the worker was planned")
    for _ in range(3):
        assert bench.run(job, listed_before).state == "queued"
    reason = bench.table.get(job.id).reason
    assert reason == "a plugin has changed since it began, so it is planned anew: data.path: no column called chosen"
    assert bench.run(job, listed_before).state == "failed", "a plugin that writes itself holds nothing up"
    bench.table.retry(job.id)
    assert bench.run(job, replace(listed_before, stamp=take_stamp([plugin]))).state == "failed", "nothing has changed"


def test_a_worker_is_given_the_settings_that_its_phase_was_planned_with(bench: Bench) -> None:
    job = bench.add("environment")
    bench.run(job)
    surroundings = json.loads((bench.home.job(job.id) / "told.json").read_text())
    assert {"PREFD_SETTINGS": surroundings["PREFD_SETTINGS"]} == HandedSettings().environment()
    assert json.loads(surroundings["PREFD_SETTINGS"])["plugins"] == []


def test_no_worker_is_started_where_the_home_is_another_folder_by_now(bench: Bench) -> None:
    """It was moved, and a copy lies at its path: what a worker did there would be done in the moved home once more."""
    job = bench.add("ok")
    with pytest.raises(HomeUnusable, match="is another folder now"):
        bench.run(job, folder=HomeFolder(bench.home.root, FolderId(0, 0)))
    assert not (bench.home.job(job.id) / "starts.txt").exists()


def test_what_ends_well_at_the_path_of_a_home_that_went_away_meanwhile_is_not_this_homes_end(bench: Bench) -> None:
    answers = chain([None], repeat("the home is another folder now"))

    class LostMeanwhile(HomeFolder):
        """The home's folder, which goes away after the first look."""

        def describe_loss(self) -> str | None:
            return next(answers)

    back = bench.run(bench.add("ok"), folder=LostMeanwhile(bench.home.root, None))
    assert back.state == "queued"
    assert [event.state for event in bench.table.history(back.id)] == ["queued", "precomputing", "queued"]
