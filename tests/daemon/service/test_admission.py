"""A file becomes jobs or is refused, with no loop around: the life of a spec file in single steps."""

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.service.admission import Admission
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.losses import Losses
from prefd.daemon.specs.spec_error import SpecError
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


def test_a_claimed_spec_becomes_a_job_with_its_frozen_spec(ready_home: Home, tmp_path: Path) -> None:
    claimed = claim(ready_home, fake_worker.spec_text(tmp_path, "mine"))
    _, queued = admitting(ready_home, tmp_path, lambda admission: admission.admit(claimed))
    assert queued
    assert rows(ready_home) == [(1, "mine", claimed.source, "")]
    assert (ready_home.job(1) / "spec.json").is_file()
    assert names(ready_home.accepted) == [claimed.source]


def test_a_claimed_file_that_is_handed_over_again_is_no_second_job(ready_home: Home, tmp_path: Path) -> None:
    claimed = claim(ready_home, fake_worker.spec_text(tmp_path))

    async def twice(admission: Admission) -> set[str]:
        await admission.admit(claimed)
        await admission.admit(claimed)
        return admission.admitted()

    admitted, _ = admitting(ready_home, tmp_path, twice)
    assert admitted == {claimed.source}
    assert len(rows(ready_home)) == 1


@pytest.mark.parametrize(
    ("more", "reason"), [({"nonsense": 1}, "nonsense: unknown key"), ({"after": [7]}, "after: there is no job 7")]
)
def test_a_claimed_file_that_cannot_be_a_job_is_rejected_with_the_reason(
    ready_home: Home, tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    claimed = claim(ready_home, fake_worker.spec_text(tmp_path, **more))
    _, queued = admitting(ready_home, tmp_path, lambda admission: admission.admit(claimed))
    assert not queued
    assert (names(ready_home.accepted), names(ready_home.rejected)) == ([], ["a.yaml", "a.yaml.error.txt"])
    assert reason in (ready_home.rejected / "a.yaml.error.txt").read_text()
    assert rows(ready_home) == []


def test_a_file_is_kept_while_the_losses_cannot_be_listed_or_no_worker_can_be_run(
    ready_home: Home, tmp_path: Path
) -> None:
    claimed = claim(ready_home, fake_worker.spec_text(tmp_path))
    with pytest.raises(CatalogError, match="cannot run /no/such/python"):
        admitting(ready_home, tmp_path, lambda admission: admission.admit(claimed), ("/no/such/python",))
    assert claimed.source in names(ready_home.accepted), "the machine's trouble, not the spec's"
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text("!no module named mlx")
    with pytest.raises(CatalogError, match="no module named mlx"):
        admitting(ready_home, tmp_path, lambda admission: admission.admit(claimed), worker)
    assert claimed.source in names(ready_home.accepted)
    assert names(ready_home.rejected) == []


@pytest.mark.parametrize("is_listed", [True, False], ids=["a plugin fails", "nothing can be listed"])
def test_a_loss_that_may_be_there_again_keeps_its_file_and_what_is_wrong_in_any_case_rejects_it(
    ready_home: Home, tmp_path: Path, is_listed: bool
) -> None:
    """The losses were listed before. What is kept is handed over again by the intake."""
    mine = {"name": "mine", "version": None, "source": "/mine.py", "losses": ["mine"], "formats": [], "error": None}
    good = fake_worker.CATALOG | {"plugins": [*fake_worker.CATALOG["plugins"], mine]}
    good["losses"] = good["losses"] | {"mine": fake_worker.loss()}
    failing = fake_worker.CATALOG | {"plugins": [*fake_worker.CATALOG["plugins"], mine | {"error": "SyntaxError"}]}
    worker = fake_worker.make_worker(tmp_path)

    async def admit(admission: Admission) -> None:
        (tmp_path / "catalog.json").write_text(json.dumps(good | {"files": [str(tmp_path / "catalog.json")]}))
        await admission.losses.now()
        (tmp_path / "catalog.json").write_text(json.dumps(failing) if is_listed else "!no module named mlx")
        text = fake_worker.spec_text(tmp_path, "a", loss={"name": "mine" if is_listed else "other"})
        with pytest.raises(CatalogError, match="SyntaxError" if is_listed else "no module named mlx"):
            await admission.admit(claim(ready_home, text))
        await admission.admit(claim(ready_home, fake_worker.spec_text(tmp_path, "b", nonsense=1)))
        if is_listed:
            await admission.admit(claim(ready_home, fake_worker.spec_text(tmp_path, "c", loss={"name": "never"})))

    admitting(ready_home, tmp_path, admit, worker)
    assert len([name for name in names(ready_home.accepted) if name.endswith(".yaml")]) == 1
    assert len([name for name in names(ready_home.rejected) if name.endswith(".error.txt")]) == (2 if is_listed else 1)


def test_a_posted_spec_that_is_refused_leaves_nothing(ready_home: Home, tmp_path: Path) -> None:
    data = fake_worker.spec_text(tmp_path, nonsense=1).encode()
    with pytest.raises(SpecError, match="nonsense: unknown key"):
        admitting(ready_home, tmp_path, lambda admission: admission.submit(data, "posted.json"))
    assert (names(ready_home.accepted), names(ready_home.rejected), rows(ready_home)) == ([], [], [])


def test_a_spec_that_was_there_before_names_the_last_job_with_it(ready_home: Home, tmp_path: Path) -> None:
    first, other = fake_worker.spec_text(tmp_path, "a"), fake_worker.spec_text(tmp_path, "b", loss={"name": "cpo"})

    async def submit(admission: Admission) -> list[str]:
        jobs = [await admission.submit(text.encode(), "posted.json") for text in (first, other, first)]
        return [job.reason for (job,) in jobs]

    assert admitting(ready_home, tmp_path, submit)[0] == ["", "", "the same spec as job 1"]
    assert admitting(ready_home, tmp_path, submit)[0] == [
        "the same spec as job 3",
        "the same spec as job 2",
        "the same spec as job 4",
    ]


@pytest.mark.parametrize("text", [None, "model: [\n"])
def test_a_claim_of_a_home_that_was_moved_is_not_taken_from_the_copy_that_lies_there_now(
    ready_home: Home, tmp_path: Path, text: str | None
) -> None:
    """A file of the copy is another one, which was not copied for all that is known: its job would not be held."""
    claimed = claim(ready_home, text or fake_worker.spec_text(tmp_path))
    moved = Home(tmp_path / "moved")

    async def admit_late(admission: Admission) -> None:
        ready_home.root.rename(moved.root)
        shutil.copytree(moved.root, ready_home.root)
        with pytest.raises(HomeUnusable, match="is another folder now"):
            await admission.admit(claimed)

    admitting(ready_home, tmp_path, admit_late)
    assert rows(moved) == []
    assert names(ready_home.accepted) == names(moved.accepted), (
        "the mark of the claim is there, which the next daemon finds"
    )
    assert names(ready_home.rejected) == []
