"""What a job is claimed with, and what is said when it is no longer so."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs import hub_commits, snapshot
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import TrainingSummary
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import (
    DataState,
    Stock,
    describe_changes,
    examine_data,
    freeze,
    read_frozen_spec,
    read_stock,
    take_stock,
)
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker import phases
from prefd.daemon.worker.data import rows
from prefd.daemon.worker.job import RunningJob
from support import fake_worker, homes
from support.homes import invoke
from support.jobs_on_disk import make_job
from support.running_daemon import Place


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"chosen": "a", "rejected": "b"}\n')
    return path


def test_a_claimed_job_has_its_spec_versions_plugins_and_data_digest(place: Place) -> None:
    place.home.config.write_text('plugins = ["mine.py"]\n')
    (place.home.root / "mine.py").write_text("# mine\n")
    with place.daemon():
        place.drop("a.yaml", name="sleep")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        document = json.loads((place.home.job(1) / "spec.json").read_text())
    assert document["spec"]["name"] == "sleep"
    assert document["versions"] == {name: metadata.version(name) for name in ("prefd", "mlx", "mlx-lm")}
    assert document["plugins"][str(place.home.root / "mine.py")] == f"sha256:{sha256(b'# mine' + bytes([10]))}"
    data = place.folder / "pairs.jsonl"
    assert document["data"] == {str(data): {"bytes": 3, "sha256": sha256(data.read_bytes())}}


def test_a_spec_frozen_by_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    spec = homes.make_spec()
    run = RunDir(tmp_path)
    write_json(run.spec, spec.model_dump(mode="json", exclude_unset=True))
    assert read_frozen_spec(run) == spec
    assert read_stock(run) is None
    assert (run.read_frozen() or {})["spec"]["name"] == spec.name


def test_the_first_freezing_decides_until_the_job_begins_anew(tmp_path: Path, pairs: Path) -> None:
    home, spec = Home(tmp_path), homes.make_spec(data={"path": str(pairs)})
    first = read_stock(freeze(home, 1, spec))
    pairs.write_text("changed")
    assert read_stock(freeze(home, 1, spec)) == first
    assert read_stock(freeze(home, 1, spec, anew=True)) != first


def test_a_folder_is_known_by_each_of_its_data_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "more").mkdir()
    for name in ("train.jsonl", "more/b.csv", "README.md", ".hidden/c.json"):
        (folder / name).write_text(name)
    data_files = examine_data(homes.make_spec(data={"path": str(folder), "validation": 0.1}))
    assert data_files == {
        str(folder / name): DataState(bytes=len(name), sha256=sha256(name.encode()))
        for name in ("train.jsonl", "more/b.csv")
    }


def test_held_out_pairs_and_hub_datasets_are_known_too(pairs: Path) -> None:
    data_files = examine_data(homes.make_spec(data={"path": "org/pairs", "revision": "v2", "validation": str(pairs)}))
    assert data_files == {
        "org/pairs": DataState(revision="v2"),
        str(pairs): DataState(bytes=pairs.stat().st_size, sha256=sha256(pairs.read_bytes())),
    }


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine that knows org/pairs; the paths it was asked for."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            is_known = self.path.startswith("/api/datasets/org/pairs")
            text = json.dumps({"id": "org/pairs", "sha": "c0ffee" * 6 + "c0ff"} if is_known else {"error": "not here"})
            self.send_response(200 if is_known else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api = functools.partial(huggingface_hub.HfApi, endpoint=f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(huggingface_hub, "HfApi", api)
        monkeypatch.setattr(hub_commits, "_answers", {})
        monkeypatch.setattr(hub_commits, "_silent_until", 0.0)
        yield paths
        server.shutdown()
        thread.join()


def test_a_hub_dataset_is_known_by_its_commit_and_read_at_it(
    tmp_path: Path, tiny_model: Path, hub_server: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"path": "org/pairs", "validation": "org/other"}
    run = freeze(Home(tmp_path), 1, homes.make_spec(model=str(tiny_model), data=data))
    stock = read_stock(run)
    assert stock is not None
    commit = "c0ffee" * 6 + "c0ff"
    assert stock.data == {
        "org/pairs": DataState(revision="the newest", commit=commit),
        "org/other": DataState(revision="the newest"),
    }
    assert snapshot.describe_stock(stock)[0] == "org/pairs: revision the newest, commit c0ffeec0ffee"
    assert len(hub_server) == 2
    assert examine_data(read_frozen_spec(run)) == stock.data, "a minute later it would ask again"
    assert RunningJob.load(Home(tmp_path), 1).changes == []
    assert len(hub_server) == 2, "later runs do not ask: they read what was claimed"
    read: list[object] = []

    def read_rows(source: Source, called: str) -> rows.Rows:
        read.append((source.path, source.revision))
        return rows.Rows([{"prompt": "p", "chosen": "c", "rejected": "r"}], [rows.Place("org/pairs[train]", 1, "row")])

    monkeypatch.setattr("prefd.daemon.worker.data.pairs.read_rows", read_rows)
    job = RunningJob.load(Home(tmp_path), 1)
    assert len(job.data.train) == 1
    assert read == [("org/pairs", commit), ("org/other", None)]


def test_a_hub_that_cannot_be_reached_holds_up_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def unreachable(*_: object, **__: object) -> object:
        tried.append("")
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(hub_commits, "_answers", {})
    monkeypatch.setattr(hub_commits, "_silent_until", 0.0)
    spec = homes.make_spec(data={"path": "org/pairs"})
    assert examine_data(spec) == examine_data(spec) == {"org/pairs": DataState(revision="the newest")}
    assert len(tried) == 1, "it is left alone for a while"


def test_what_is_too_large_to_digest_is_known_by_size_and_time(pairs: Path) -> None:
    info = pairs.stat()
    assert examine_data(homes.make_spec(data={"path": str(pairs)}), budget=5) == {
        str(pairs): DataState(bytes=info.st_size, changed_ns=info.st_mtime_ns)
    }


def test_data_that_cannot_be_read_holds_up_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Path
) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(snapshot, "_digest", refuse)
    data_files = examine_data(homes.make_spec(data={"path": str(pairs)}))
    assert data_files == {str(pairs): DataState(error="Permission denied")}
    before = Stock(data={str(pairs): DataState(bytes=5, sha256="a" * 64)})
    assert describe_changes(before, Stock(data=data_files))[0].endswith(
        "(5 bytes, sha256 aaaaaaaaaaaa, now cannot be read: Permission denied)"
    )


def test_each_change_is_said_with_what_was_and_what_is() -> None:
    before = Stock(
        {"prefd": "1", "mlx": "0.32.4"},
        {"theirs": "1.0", "/mine.py": f"sha256:{'a' * 64}", "gone": "2"},
        {
            "/a": DataState(bytes=1000, sha256="a" * 64),
            "/b": DataState(bytes=1, changed_ns=1),
            "org/hub": DataState(revision="v1"),
        },
    )
    after = Stock(
        {"prefd": "1", "mlx": "0.32.5"},
        {"theirs": "1.1", "/mine.py": f"sha256:{'b' * 64}"},
        {
            "/a": DataState(bytes=1001, sha256="b" * 64),
            "/c": DataState(bytes=1),
            "org/hub": DataState(revision="v1"),
        },
    )
    assert describe_changes(before, before) == []
    assert describe_changes(before, after) == [
        f"data: /a has changed since the job was claimed (1,000 bytes, sha256 {'a' * 12}, now 1,001 bytes, sha256 {'b' * 12})",
        "data: /b was there when the job was claimed, and is gone",
        "data: /c was not there when the job was claimed",
        f"plugin /mine.py was sha256:{'a' * 12} when the job was claimed, and is sha256:{'b' * 12}",
        "plugin gone was 2 when the job was claimed, and is not installed",
        "plugin theirs was 1.0 when the job was claimed, and is 1.1",
        "mlx was 0.32.4 when the job was claimed, and is 0.32.5",
    ]


def test_a_change_since_the_claim_is_a_warning_in_the_jobs_report(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, model="m", data={"path": str(pairs)}, training={"iters": 1})
    freeze(job.home, 1, job.spec, anew=True)
    pairs.write_text('{"chosen": "c", "rejected": "d"}\n')
    another = TrainingOutcome(ok=True, reason="", summary=TrainingSummary(warnings=["another"]))
    monkeypatch.setattr(phases.stopping, "watch_signals", lambda: None)
    monkeypatch.setattr(phases.stopping, "watch_parent", lambda _: None)
    monkeypatch.setitem(phases.PHASES, "training", lambda *_: another)
    assert phases.run_phases("training", tmp_path, 1) == 0
    outcome = job.run.outcome("training")
    assert outcome is not None
    changed, last = outcome.summary.warnings
    assert changed.startswith(f"data: {pairs} has changed since the job was claimed (33 bytes, sha256 ")
    assert last == "another"


def test_show_prints_what_a_job_was_claimed_with(home: Path, pairs: Path) -> None:
    there = Home(home)
    job = homes.add_done(there, data={"path": str(pairs)})
    freeze(there, job.id, homes.make_spec(data={"path": str(pairs)}), anew=True)
    shown = " ".join(invoke(there, "show", job.id).stdout.split())
    assert "33 bytes, sha256 " in shown
    assert f"mlx {metadata.version('mlx')}" in shown
    assert json.loads(invoke(there, "show", job.id, "--json").stdout)["frozen"]["data"][str(pairs)]["bytes"] == 33


def test_the_digest_is_not_made_on_the_daemons_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looped: list[bool] = []
    real = snapshot.examine_data

    def data(spec: JobSpec, commits: Any) -> Any:
        looped.append(asyncio._get_running_loop() is not None)
        return real(spec, commits)

    monkeypatch.setattr(snapshot, "examine_data", data)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert looped
    assert not any(looped)


def test_nothing_heavy_is_imported_to_take_stock() -> None:
    import subprocess
    import sys

    code = "import sys; import prefd.daemon.runs.snapshot; print({'mlx', 'datasets', 'pluggy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_taking_stock_twice_reads_the_data_once(pairs: Path, tmp_path: Path) -> None:
    spec = homes.make_spec(data={"path": str(pairs)})
    snapshot._digest.cache_clear()
    assert take_stock(Home(tmp_path), spec) == take_stock(Home(tmp_path), spec)
    assert snapshot._digest.cache_info().misses == 1
