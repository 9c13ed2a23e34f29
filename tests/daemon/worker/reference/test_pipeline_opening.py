"""When a reference's layers are spread over the ranks, and a pass that runs so: the entries of one process, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.reference import precompute, scoring_pass, window_choice
from prefd.daemon.worker.reference.pipeline_opening import open_pipeline
from prefd.daemon.worker.scoring.choose import NoWindows
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute
from support.stage_mates import make_crew

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_llama(tmp_path_factory.mktemp("models") / "five", num_hidden_layers=5)


def make(home: Path, model: Path, pairs: Path, **more: Any) -> RunningJob:
    return make_job(home, model=str(model), data={"path": str(pairs)}, **more)


def spread_over(job: RunningJob, ranks: int) -> Any:
    return make_crew(ranks, lambda: loading.load_lazily(job.reference).freeze())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)
    monkeypatch.setattr(window_choice, "BATCH_STATES", 0)
    return lambda total: monkeypatch.setattr(memory, "machine", lambda: (int(total), int(total)))


def test_layers_are_spread_where_no_rank_holds_all_or_where_the_spec_wants_it(
    home: Path, model: Path, pairs_file: Path, machine: Any, subtests: pytest.Subtests
) -> None:
    weights = memory.count_bytes(loading.load_lazily(make(home, model, pairs_file).reference).parameters())
    for spec, total, expected in (
        ({}, 2 * weights, None),
        ({}, 1.9 * weights, [(0, 3), (3, 5)]),
        ({"pipeline": True}, 9 * weights, [(0, 3), (3, 5)]),
        ({"pipeline": False}, weights, None),
        ({"window": 1}, weights, None),
        ({}, 0.5 * weights, None),
    ):
        with subtests.test(spec=spec, total=total):
            machine(total)
            job = make(home, model, pairs_file, ranks=2, **({"reference": spec} if spec else {}))
            warnings: list[str] = []
            opened = open_pipeline(job, spread_over(job, 2), warnings)
            stages = None if opened is None else opened.scorer.summary.stages  # type: ignore[union-attr]
            assert expected == (None if stages is None else [(each.begin, each.end) for each in stages])
            assert warnings == []


def test_what_cannot_be_spread_is_refused_or_told(
    home: Path, model: Path, pairs_file: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(home, model, pairs_file, ranks=7, reference={"pipeline": True})
    machine(1000)
    with pytest.raises(JobError, match=r"^reference\.pipeline: the weights of .* have too little memory"):
        open_pipeline(job, spread_over(job, 2), [])
    crew = spread_over(job, 3)
    crew.drop(crew.mates[0])
    with pytest.raises(LostRank, match=r"^a rank is missing, .*rank 2 \(this machine\) 0\.0 GiB; name a smaller"):
        open_pipeline(job, crew, [])
    machine(10**9)
    crew = spread_over(job, 7)
    warnings: list[str] = []
    opened = open_pipeline(job, crew, warnings)
    assert opened is not None
    assert [line.partition(":")[0] for line in warnings] == ["rank 5 has scored nothing", "rank 6 has scored nothing"]
    assert len(crew.mates) == 4

    def refuse(*_: object) -> None:
        raise NoWindows("its layers cannot be run apart")

    monkeypatch.setattr("prefd.daemon.worker.reference.pipeline_opening.choose_apart", refuse)
    warnings.clear()
    assert open_pipeline(job, spread_over(job, 2), warnings) is None
    assert warnings == [f"the layers of {model} are not spread over the ranks: its layers cannot be run apart"]


def test_a_rank_that_cannot_begin_fails_the_job_with_its_words(home: Path, model: Path, pairs_file: Path) -> None:
    job = make(home, model, pairs_file, ranks=2, reference={"pipeline": True})
    crew = spread_over(job, 2)
    crew.mates[0].dies_after, crew.mates[0].words = 0, "model m cannot be loaded: it is not there"
    with pytest.raises(JobError, match=r"^rank 1 failed: model m cannot be loaded: it is not there$"):
        open_pipeline(job, crew, [])
    crew.mates[0].words = ""
    with pytest.raises(LostRank, match="died of SIGKILL"):
        open_pipeline(job, crew, [])


@pytest.fixture
def three_ranks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Has jobs three ranks, without processes; gives their crews."""
    crews: list[Any] = []

    @contextmanager
    def open_crew(job: RunningJob, _: list[str]) -> Iterator[Any]:
        crews.append(spread_over(job, 3))
        yield crews[-1]

    monkeypatch.setattr(precompute, "read_ranks", lambda: 3)
    monkeypatch.setattr(precompute, "check_ranks", lambda *_: None)
    monkeypatch.setattr(precompute, "open_crew", open_crew)
    return crews


def test_a_pass_over_ranks_leaves_the_same_entries_and_says_who_had_what(
    home: Path, model: Path, pairs_file: Path, three_ranks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scoring_pass.BATCH_TOKENS, find_tier(), 64)  # the same batches, whoever shares them
    whole = make(home.with_name("whole"), model, pairs_file)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precompute, "read_ranks", lambda: 1)
        assert run_precompute(whole).summary.pipeline is None
    job = make(home, model, pairs_file, ranks=3, reference={"pipeline": True})
    assert job.fingerprint.sha256 == whole.fingerprint.sha256
    outcome = run_precompute(job)
    keys = [job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]
    for mine, theirs in zip(job.store.get(keys), whole.store.get(keys)):
        np.testing.assert_array_equal(mine, theirs)
    pipeline = outcome.summary.pipeline
    assert pipeline is not None
    assert [(each.begin, each.end) for each in pipeline.stages] == [(0, 2), (2, 4), (4, 5)]
    assert all(each.peak_bytes for each in pipeline.stages)
    tokens_and_padding = [each.sent_bytes / (4 * 32) for each in pipeline.stages[1:]]
    assert min(tokens_and_padding) >= outcome.summary.tokens_run
    assert "its 5 layers over 3 ranks: 1-2 on this machine (" in outcome.reason
    assert outcome.summary.warnings == []


def test_what_was_scored_before_a_rank_was_lost_is_kept(
    home: Path, model: Path, pairs_file: Path, three_ranks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(home, model, pairs_file, ranks=3, reference={"pipeline": True})
    opened = precompute.open_pipeline

    def open_and_doom(*args: Any) -> Any:
        reference = opened(*args)
        three_ranks[-1].mates[1].dies_after = 3
        return reference

    monkeypatch.setattr(precompute, "open_pipeline", open_and_doom)
    with pytest.raises(LostRank, match=r"^rank 2 died of SIGKILL$"):
        run_precompute(job)
    monkeypatch.setattr(precompute, "open_pipeline", opened)
    rest = run_precompute(make(home, model, pairs_file, ranks=3, reference={"pipeline": True})).summary
    assert rest.cached > 0
    assert rest.cached + rest.scored == rest.completions


def test_ranks_leave_the_memory_to_the_one_that_reads_windows(
    home: Path, model: Path, pairs_file: Path, three_ranks: list[Any]
) -> None:
    summary = run_precompute(make(home, model, pairs_file, ranks=3, reference={"window": 2})).summary
    assert summary.warnings == ["the reference is scored in windows of its layers, by one rank"]
    assert three_ranks[-1].mates == []


def test_one_rank_that_is_to_be_a_pipeline_is_told(home: Path, model: Path, pairs_file: Path) -> None:
    job = make(home, model, pairs_file, ranks="all", reference={"pipeline": True})
    assert run_precompute(job).summary.warnings == [
        "reference.pipeline is true, and there is one rank, which has all layers"
    ]
