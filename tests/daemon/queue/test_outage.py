"""Which jobs wait while the hub cannot be reached, and which of them tries."""

from __future__ import annotations

from prefd.daemon.queue.outage import Outage, list_hub_names
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.timing import Timing

MODEL, OTHER = frozenset({"org/model"}), frozenset({"org/other"})


def outage(seconds: float) -> Outage:
    return Outage(Timing(first_outage_retry=seconds, last_outage_retry=seconds))


def test_only_jobs_that_need_what_is_away_wait() -> None:
    away = outage(60)
    assert away.let_try(1, MODEL) is None
    away.note(1, MODEL, "the hub cannot be reached: no route")
    assert str(away.let_try(1, MODEL)).startswith("the hub cannot be reached: no route; tried again at ")
    assert away.let_try(2, MODEL | OTHER) is not None
    assert away.let_try(3, OTHER) is None
    assert away.let_try(4, frozenset()) is None


def test_one_tries_when_it_is_time_and_the_others_wait_for_what_it_finds() -> None:
    away = outage(0)
    away.note(1, MODEL, "no route")
    assert away.let_try(1, MODEL) is None
    assert away.let_try(2, MODEL) == "no route; job 1 tries whether that is over"
    away.note(1, MODEL, "no route")
    assert away.let_try(1, MODEL) is None
    away.note_reached(2)
    assert away.reason is not None
    away.note_reached(1)
    assert away.reason is None
    assert away.let_try(2, MODEL) is None


def test_a_job_that_was_to_try_and_was_cancelled_holds_nobody_up() -> None:
    away = outage(0)
    away.note(1, MODEL, "no route")
    assert away.let_try(1, MODEL) is None
    away.forget_trier([2, 3])
    assert away.let_try(2, MODEL) is None


def test_what_a_job_takes_from_the_hub_is_read_off_its_spec() -> None:
    spec = {
        "model": "org/model",
        "reference": {"model": "/models/mine"},
        "data": {"path": "org/pairs", "validation": 0.0},
    }
    assert list_hub_names(JobSpec.model_validate(spec)) == {"org/model", "org/pairs"}
    local = {"model": "/models/mine", "data": {"path": "/data/pairs.jsonl"}}
    assert list_hub_names(JobSpec.model_validate(local)) == frozenset()


def test_where_a_job_itself_may_be_what_fails_another_tries_next() -> None:
    failing = Outage(Timing(first_outage_retry=0, last_outage_retry=0), by_turns=True)
    failing.note(1, MODEL, "the GPU failed")
    assert failing.let_try(1, MODEL) == "the GPU failed; another job tries first whether that is over"
    assert failing.has_passed_over
    assert failing.let_try(2, MODEL) is None
    failing.note(2, MODEL, "the GPU failed")
    assert all(failing.let_try(job_id, MODEL) for job_id in (1, 2))  # both have tried: the next look lets one of them
    assert failing.let_try(1, MODEL) is None
    failing.note(1, MODEL, "the GPU failed")
    assert failing.let_try(1, MODEL) is not None
    assert failing.let_try(2, MODEL) is None
    failing.note_reached(2)
    assert failing.let_try(1, MODEL) is None


def test_a_job_that_is_alone_tries_again_at_the_next_look() -> None:
    failing = Outage(Timing(first_outage_retry=0, last_outage_retry=0), by_turns=True)
    failing.note(1, MODEL, "the GPU failed")
    assert failing.let_try(1, MODEL) is not None
    assert failing.let_try(1, MODEL) is None
    assert failing.trier == 1
