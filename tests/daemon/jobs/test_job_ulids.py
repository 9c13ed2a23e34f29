"""The identity of a job beside its number."""

from __future__ import annotations

from prefd.daemon.jobs.job_ulids import make_job_ulid

CLAIM = "01M8JM63F7P708G3B0PN9VRKRM"


def test_a_claim_that_is_tried_again_makes_the_same_jobs() -> None:
    ulids = [make_job_ulid(f"{CLAIM}-sweep.yaml", part) for part in range(40)]
    assert ulids[0] == CLAIM
    assert ulids == [make_job_ulid(f"{CLAIM}-other name.yaml", part) for part in range(40)]
    assert len({*ulids}) == 40, "each job of a sweep has its own"


def test_what_was_not_claimed_gets_a_new_one_each_time() -> None:
    for source in ("/home/mia/ipo.yaml", "", "a", f"{CLAIM}", "01M8JM63F7P708G3B0PN9VRKRU-u-is-no-digit.yaml"):
        assert make_job_ulid(source) != make_job_ulid(source)
    assert len(make_job_ulid("ZZZZZZZZZZZZZZZZZZZZZZZZZZ-past the last.yaml", 1)) == 26
