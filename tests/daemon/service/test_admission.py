"""A file becomes jobs or is refused, with no loop around: the life of a spec file in single steps."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claims import Claimed, Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.service.admission import Admission
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.losses import Losses
from prefd.daemon.specs.reading import SpecError
from support import fake_worker

Act = Callable[[Admission], Coroutine[Any, Any, Any]]


def admitting(home: Home, folder: Path, act: Act, worker: tuple[str, ...] | None = None) -> tuple[Any, bool]:
    """What `act` gives of an admission to `home`, and whether it told of jobs that may start."""

    async def run() -> tuple[Any, bool]:
        queued = asyncio.Event()
        with JobTable.open(home.database) as table:
            losses = Losses(home, worker or fake_worker.make_worker(folder))
            calls = FolderCalls(home.jobs, Stop())
            admission = Admission(home, table, losses, Inbox(home, 0), calls, queued)
            return await act(admission), queued.is_set()

    return asyncio.run(run())


def claim(home: Home, text: str, name: str = "a.yaml") -> Claimed:
    (home.jobs / name).write_text(text)
    claimed = Inbox(home, 0).claim(name)
    assert claimed is not None
    return claimed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(home: Home) -> list[tuple[int, str, str, str]]:
    with JobTable.open_readonly(home.database) as table:
        return [(job.id, job.name, job.source, job.reason) for job in table.list()]


def test_a_claimed_spec_becomes_a_job_with_its_frozen_spec(made: Home, tmp_path: Path) -> None:
    claimed = claim(made, fake_worker.spec_text(tmp_path, "mine"))
    _, queued = admitting(made, tmp_path, lambda admission: admission.admit(claimed))
    assert queued
    assert rows(made) == [(1, "mine", claimed.source, "")]
    assert (made.job(1) / "spec.json").is_file()
    assert names(made.accepted) == [claimed.source]


def test_a_claimed_file_that_is_handed_over_again_is_no_second_job(made: Home, tmp_path: Path) -> None:
    claimed = claim(made, fake_worker.spec_text(tmp_path))

    async def twice(admission: Admission) -> set[str]:
        await admission.admit(claimed)
        await admission.admit(claimed)
        return admission.admitted()

    admitted, _ = admitting(made, tmp_path, twice)
    assert admitted == {claimed.source}
    assert len(rows(made)) == 1


@pytest.mark.parametrize(
    ("more", "reason"), [({"nonsense": 1}, "nonsense: unknown key"), ({"after": [7]}, "after: there is no job 7")]
)
def test_a_claimed_file_that_cannot_be_a_job_is_rejected_with_the_reason(
    made: Home, tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    claimed = claim(made, fake_worker.spec_text(tmp_path, **more))
    _, queued = admitting(made, tmp_path, lambda admission: admission.admit(claimed))
    assert not queued
    assert (names(made.accepted), names(made.rejected)) == ([], ["a.yaml", "a.yaml.error.txt"])
    assert reason in (made.rejected / "a.yaml.error.txt").read_text()
    assert rows(made) == []


def test_losses_that_cannot_be_listed_reject_a_file_and_a_worker_that_cannot_be_run_keeps_it(
    made: Home, tmp_path: Path
) -> None:
    claimed = claim(made, fake_worker.spec_text(tmp_path))
    with pytest.raises(CatalogError, match="cannot run /no/such/python"):
        admitting(made, tmp_path, lambda admission: admission.admit(claimed), ("/no/such/python",))
    assert claimed.source in names(made.accepted), "the machine's trouble, not the spec's"
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text("!no module named mlx")
    admitting(made, tmp_path, lambda admission: admission.admit(claimed), worker)
    assert "the losses cannot be listed" in (made.rejected / "a.yaml.error.txt").read_text()


def test_a_posted_spec_that_is_refused_leaves_nothing(made: Home, tmp_path: Path) -> None:
    data = fake_worker.spec_text(tmp_path, nonsense=1).encode()
    with pytest.raises(SpecError, match="nonsense: unknown key"):
        admitting(made, tmp_path, lambda admission: admission.submit(data, "posted.json"))
    assert (names(made.accepted), names(made.rejected), rows(made)) == ([], [], [])


def test_a_spec_that_was_there_before_names_the_last_job_with_it(made: Home, tmp_path: Path) -> None:
    first, other = fake_worker.spec_text(tmp_path, "a"), fake_worker.spec_text(tmp_path, "b", loss={"name": "cpo"})

    async def submit(admission: Admission) -> list[str]:
        jobs = [await admission.submit(text.encode(), "posted.json") for text in (first, other, first)]
        return [job.reason for (job,) in jobs]

    assert admitting(made, tmp_path, submit)[0] == ["", "", "the same spec as job 1"]
    assert admitting(made, tmp_path, submit)[0] == [
        "the same spec as job 3",
        "the same spec as job 2",
        "the same spec as job 4",
    ]
