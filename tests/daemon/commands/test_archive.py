"""`prefd archive`: a folder that can be read by itself, whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs import archive
from support import homes
from support.homes import invoke


@pytest.fixture
def done(ready_home: Home) -> Home:
    homes.add_done(ready_home, name="smol / ipo")
    for name in ("adapter", "checkpoints/step-00000012", "fused", "live/sampler_weights/first", "live/weights/first"):
        (ready_home.job(1) / name).mkdir(parents=True, exist_ok=True)
        (ready_home.job(1) / name / "adapters.safetensors").write_bytes(b"weights")
    (ready_home.job(1) / "samples.jsonl").write_text("{}\n")
    return ready_home


def test_it_holds_what_is_worth_keeping_and_is_read_without_the_home(done: Home, tmp_path: Path) -> None:
    result = invoke(done, "archive", 1)
    folder = Path(result.stdout.strip())
    assert (result.exit_code, folder) == (Exit.OK, done.archive / "1-smol-ipo")
    moved = shutil.move(folder, tmp_path / "elsewhere")
    shown = invoke(done, "show", 1).stdout
    shutil.rmtree(done.root)
    files = {path.relative_to(moved).as_posix() for path in Path(moved).rglob("*") if path.is_file()}
    assert files == {
        "adapter/adapters.safetensors", "live/sampler_weights/first/adapters.safetensors", "frozen.json", "job.json",
        "metrics.jsonl", "report.txt", "samples.jsonl", "spec.json", "worker.log",
    }  # fmt: skip
    report = (Path(moved) / "report.txt").read_text(encoding="utf-8")
    assert "smol / ipo" in report
    assert [line.split()[0] for line in report.splitlines() if line[0] != " "] == [
        line.split()[0] for line in shown.splitlines() if line[0] != " "
    ]
    spec = json.loads((Path(moved) / "spec.json").read_text())
    assert spec["loss"] == {"name": "ipo", "beta": 0.1}, "it can be handed in again"
    assert json.loads((Path(moved) / "job.json").read_text())["job"]["state"] == "done"


def test_the_fused_model_comes_along_where_it_is_asked_for_and_the_place_can_be_named(
    done: Home, tmp_path: Path
) -> None:
    document = json.loads(invoke(done, "archive", 1, "--fused", "--to", tmp_path / "mine", "--json").stdout)
    assert document["archive"] == str(tmp_path / "mine" / "1-smol-ipo")
    assert (tmp_path / "mine" / "1-smol-ipo" / "fused" / "adapters.safetensors").exists()
    again = invoke(done, "archive", 1, "--to", tmp_path / "mine")
    assert again.exit_code == Exit.FAILED
    assert f"{tmp_path / 'mine' / '1-smol-ipo'}: is there already" in again.stderr


def test_what_cannot_be_archived_is_told(done: Home) -> None:
    homes.add_queued(done, name="waits")
    assert "job 2 is queued: only a job that has ended can be archived" in invoke(done, "archive", 2).stderr
    shutil.rmtree(done.job(1))
    result = invoke(done, "archive", 1)
    assert result.exit_code == Exit.NOT_FOUND
    assert f"its folder {done.job(1)} is gone" in result.stderr


@pytest.mark.parametrize("point", ["flush_tree", "_write_json"])
def test_an_archive_that_is_killed_leaves_nothing_that_stays(
    done: Home, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies where `point` is; nothing of it runs on, not even what tidies up after an error."""

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(archive, point, die)
        patched.setattr(archive.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            invoke(done, "archive", 1)
    assert [path.name for path in done.archive.iterdir()] == [".1-smol-ipo.partial"]
    archive.delete_partial_archives(done.archive)
    assert list(done.archive.iterdir()) == []
    assert invoke(done, "archive", 1).exit_code == Exit.OK


def test_an_archive_that_is_being_made_is_left_alone(done: Home) -> None:
    partial = done.archive / ".9-other.partial"
    partial.mkdir(parents=True)
    with archive._Lock(partial):
        archive.delete_partial_archives(done.archive)
        assert partial.exists()
    archive.delete_partial_archives(done.archive)
    assert not partial.exists()


def test_a_job_that_is_run_again_while_it_is_copied_is_not_archived(
    done: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archive._write_json

    def retry_meanwhile(*arguments: object) -> None:
        with JobTable.open(done.database) as table:
            if table.get(1).ended:
                table.retry(1, fresh=True)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "_write_json", retry_meanwhile)
    result = invoke(done, "archive", 1)
    assert result.exit_code == Exit.FAILED
    assert "job 1 was run again while it was copied" in result.stderr
    assert list(done.archive.iterdir()) == []
