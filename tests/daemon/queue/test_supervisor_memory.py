"""A job whose worker runs out of memory, or whose GPU ends its passes, goes on with smaller batches; in vain, it fails saying what to change."""

import asyncio
import re
from dataclasses import replace

import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.queue import memory_watch, phase_runner
from support.quick_timing import QUICK_TIMING
from support.supervisor_harness import Bench

HALVED = ["precompute"] * 4
"""A job's starts whose batches were halved three times, in vain."""
IN_VAIN = "though its batches were halved 3 times, "


def test_memory_that_ran_out_halves_the_batches_and_the_job_goes_on(bench: Bench) -> None:
    job = bench.add("short_of_memory@training")
    done = bench.run(job)
    assert done.state == "done"
    assert bench.starts(job) == ["precompute", "training", "precompute", "training", "precompute", "training"]
    assert bench.batches(job).halvings == 2
    reasons = [event.reason for event in bench.table.history(job.id) if "half the batch" in event.reason]
    assert len(reasons) == 2
    assert "with half the batch (2 of 3): the worker ran out of memory (Insufficient Memory)" in reasons[1]


def test_a_gpu_that_ends_passes_costs_no_job_and_passes_become_shorter(bench: Bench) -> None:
    display = bench.home.root / "display"
    display.touch()
    job = bench.add("interrupted")

    async def during() -> None:
        while bench.batches(job).halvings < 2:
            await asyncio.sleep(0.01)
        display.unlink()

    done = bench.run(job, during=during)
    assert done.state == "done"
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any("the GPU failed, which passes by itself: RuntimeError: [METAL] " in reason for reason in reasons)
    assert any("tried again in 0.02 s with shorter passes" in reason for reason in reasons), reasons


def test_a_gpu_that_failed_again_and_again_is_no_crash_of_the_job(bench: Bench) -> None:
    job = bench.add("unlucky")
    troubles: list[str] = []
    for _ in range(2):
        assert bench.run(job, on_device_trouble=troubles.append).state == "queued"
    done = bench.run(job, on_device_trouble=troubles.append)
    assert done.state == "done", done.reason  # though it crashed, once, after the GPU had failed four times
    assert len(troubles) == 2
    assert bench.batches(job).count_halvings("device") == 2


def test_a_job_that_only_tries_whether_the_gpu_still_fails_keeps_its_batches(bench: Bench) -> None:
    (bench.home.root / "display").touch()
    job = bench.add("interrupted")
    troubles: list[str] = []
    back = bench.run(job, on_device_trouble=troubles.append, tries_device=lambda: True)
    assert (back.state, len(troubles), bench.starts(job)) == ("queued", 1, ["precompute"])
    assert bench.batches(job).halvings == 0


def test_batches_that_the_gpu_has_halved_are_halved_as_often_again_for_memory(bench: Bench) -> None:
    job = bench.add("short_of_memory@training")
    for _ in range(3):
        bench.batches(job).add_halving("device")
    assert bench.run(job).state == "done"
    assert (bench.batches(job).count_halvings("memory"), bench.batches(job).halvings) == (2, 5)


def test_a_worker_that_says_it_has_no_memory_is_believed_though_the_gpu_then_refused_to_save(bench: Bench) -> None:
    job = bench.add("refused_when_short")
    done = bench.run(job)
    assert done.state == "done"
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any("with half the batch (1 of 3): the worker ran out of memory" in reason for reason in reasons), reasons
    assert bench.batches(job).count_halvings("device") == 0


def test_a_worker_that_the_gpu_aborts_is_known_by_its_last_words(bench: Bench) -> None:
    job = bench.add("aborted")
    assert bench.run(job).state == "done"
    assert (bench.batches(job).count_halvings("device"), bench.table.get(job.id).crashes) == (1, 1)
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any(reason.startswith("the GPU failed, which passes by itself: libc++abi: ") for reason in reasons), reasons


def test_a_worker_that_takes_more_than_it_may_is_stopped_and_told_what_to_change(
    bench: Bench,
) -> None:
    job = bench.add("greedy")
    attentive = replace(QUICK_TIMING, memory_look=0.0)
    failed = bench.run(job, limits=WorkerLimits(memory="100MB"), timing=attentive)
    assert failed.state == "failed"
    message = r"though its batches were halved 3 times, its worker took [\d.]+ MB, and worker\.memory allows 100MB\. Make the job smaller and submit it again: "
    assert re.match(message + r"training\.grad_checkpoint: true .*; or a larger worker\.memory in ", failed.reason)
    assert bench.starts(job) == HALVED
    assert bench.run(bench.add("ok"), limits=WorkerLimits(memory="100MB")).state == "done"


def test_an_allocation_that_failed_is_named_and_tried_again_with_less(bench: Bench) -> None:
    job = bench.add("starved")
    failed = bench.run(job)
    assert failed.state == "failed"
    assert failed.reason.startswith(f"{IN_VAIN}the worker ran out of memory (std::bad_alloc); it took ")
    assert bench.starts(job) == HALVED


def test_a_retry_keeps_the_smaller_batches_and_may_halve_them_three_times_more(bench: Bench) -> None:
    """They are what fits; to begin with whole ones again would run out of memory three times first."""
    job = bench.add("starved")
    for attempt in (1, 2):
        assert bench.run(job).reason.startswith(IN_VAIN)
        assert bench.batches(job).count_halvings("memory") == 3 * attempt
        assert bench.starts(job) == HALVED * attempt
        reasons = [event.reason for event in bench.table.history(job.id) if "half the batch (3 of 3)" in event.reason]
        assert len(reasons) == attempt
        bench.table.retry(job.id)


def test_memory_that_runs_out_for_the_outputs_halves_nothing_and_names_the_adapter(bench: Bench) -> None:
    job = bench.add("too_large_to_fuse@training")
    failed = bench.run(job)
    assert (failed.state, bench.batches(job).halvings) == ("failed", 0)
    assert failed.reason.startswith(
        "crashed 3 times without getting any further: while the outputs were written, the worker ran"
    )
    assert f"What was trained is whole in {bench.home.job(job.id) / 'adapter'}" in failed.reason
    assert "grad_checkpoint" not in failed.reason


def test_a_kill_that_the_system_counted_is_named_and_tried_again_with_less(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase_runner, "count_kills", lambda: 4)  # before the worker starts
    monkeypatch.setattr(memory_watch, "count_kills", lambda: 5)
    job = bench.add("killed")
    failed = bench.run(job)
    assert failed.reason.startswith(f"{IN_VAIN}the system ran out of memory and killed the worker; it took ")
    assert "training.grad_checkpoint: true" in failed.reason
    assert bench.starts(job) == HALVED
