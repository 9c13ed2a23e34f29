"""What sync clients, editors, desktops and newcomers leave in `jobs/` is no job, and stays where it is."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.non_specs import DATA, choose_spec_name, explain_name, explain_start
from prefd.daemon.inbox.submit import submit
from prefd.daemon.timing import Timing
from support import fake_worker

SETTLE = 0.5

SILENT = [
    *("ipo.yaml.filepart", "ipo.yaml.download", "ipo.yaml.crdownload", "ipo.yaml.part", "ipo.yaml.opdownload", "ipo.yaml.!ut"),
    *("ipo.yaml.save", "ipo.yaml.save.1", "ipo.yaml___jb_tmp___", "ipo.yaml___jb_old___", "4913", "5036", "sedAbC1d2"),
    *("ipo.yaml.sb-1a2b3c4d-AbC9x_", ".notes.txt.icloud"),
    *(".#ipo.yaml", "#ipo.yaml#", "ipo.yaml~", "ipo.yaml~1~", "~$ipo.yaml", ".ipo.yaml.swp", "ipo.yaml.swo", "ipo.yaml.tmp.4711.1732"),
    *("desktop.ini", "Desktop.ini", "Thumbs.db", "ehthumbs.db", ".DS_Store", "._ipo.yaml", "Icon\r", ".directory"),
    *(".stfolder", ".stversions", "~syncthing~ipo.yaml.tmp", ".syncthing.ipo.yaml.tmp", ".dropbox", ".owncloudsync.log"),
    *("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX", ".Trash-1000"),
]  # fmt: skip
CONFLICTS = [
    "ipo.sync-conflict-20261128-101112-ABCDEFG.yaml",
    "ipo (Bob's conflicted copy 2026-11-28).yaml",
    "ipo (conflicted copy 2026-11-28 101112).yaml",
    "ipo (Kopie in Konflikt von Bob 2026-11-28).yaml",
    "ipo (Case Conflict).yaml",
    "ipo_conflict-20261128-101112.yaml",
    "ipo-DESKTOP-7H3K2L1.yaml",
    "ipo-LAPTOP-AB12CD34-2.json",
    "ipo (SFConflict bob@example.com 2026-11-28-10-11-12).toml",
    "ipo [Conflict].yaml",
    "ipo [conflicted].yaml",
    "ipo.conflict1.yaml",
    "ipo.conflict.yaml",
    "ipo_nas_Nov-28-101112-2026_Conflict.yaml",
    "ipo_LOCAL_4711.yaml",
]
TOLD = {
    "pairs.jsonl": "is data",
    "pairs.csv": "is data",
    "train-00000-of-00001.parquet": "is data",
    "pairs.jsonl.gz": "is data",
    "specs.zip": "is an archive",
    "model.safetensors": "is a model's",
    "README.md": "is no spec",
    "LICENSE": "is no spec",
    "ipo.yaml.txt": "call it ipo.yaml",
    "ipo.yaml ": "call it ipo.yaml",
    "ipo.toml?raw=true": "call it ipo.toml",
    "ipo.ymal": "a spec's ends in .yaml, .yml, .toml or .json",
    "squared.py": "is no spec by its name",
    ".ipo.yaml.icloud": "stands for a spec that is in the cloud and not on this Mac: open it once in Finder",
}
SPECS = ["ipo.yaml", "IPO.YML", "ipo-laptop-sigmoid.yaml", "notes.yaml", "conflict-data.yaml", "resolve_conflict.json", "ipo_local_1.toml", "ipo (1).yaml", "ipo 2.yaml", "ipo copy.yaml", "4913.yaml", "café ☕.yaml"]  # fmt: skip


@pytest.fixture
def inbox(ready_home: Home) -> Inbox:
    return Inbox(ready_home, SETTLE, Timing(late_notice=0.0))


def claim_all(inbox: Inbox, start: float = 0.0) -> list[str]:
    """Claim what is complete when nothing changes for as long as it takes; return the names."""
    inbox.list_complete(start)
    names = inbox.list_complete(start + SETTLE)
    return [name for name in names if inbox.claim(name) is not None]


def put(ready_home: Home, *names: str) -> None:
    for name in names:
        (ready_home.jobs / name).write_text("model: x")


def test_what_programs_leave_is_passed_over_in_silence(
    ready_home: Home, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    put(ready_home, *SILENT)
    assert claim_all(inbox) == []
    assert (inbox.left_alone, caplog.text, inbox.due_in()) == ({}, "", None)
    assert {path.name for path in ready_home.jobs.iterdir() if path.is_file()} == set(SILENT)


def test_folders_of_desktops_and_storage_are_passed_over_too(ready_home: Home, inbox: Inbox) -> None:
    for name in ("@eaDir", "lost+found", ".stversions", "ipo.yaml.download", "sweep"):
        (ready_home.jobs / name).mkdir()
    assert claim_all(inbox) == []
    assert list(inbox.left_alone) == ["'sweep'"]


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_copy_is_left_alone_and_told_once(
    ready_home: Home, inbox: Inbox, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    put(ready_home, name)
    with caplog.at_level(logging.WARNING):
        assert claim_all(inbox) == []
        assert claim_all(inbox, 10.0) == []
    assert (ready_home.jobs / name).exists()
    assert len(caplog.records) == 1
    assert "changed in two places" in caplog.text
    assert "rename it if it is to be a job" in next(iter(inbox.left_alone.values()))


@pytest.mark.parametrize(("name", "reason"), TOLD.items())
def test_what_a_person_puts_beside_a_spec_is_left_and_told(
    ready_home: Home, inbox: Inbox, name: str, reason: str
) -> None:
    put(ready_home, name, "ipo.yaml")
    assert claim_all(inbox) == ["ipo.yaml"]
    assert reason in inbox.left_alone[repr(name)]
    assert (ready_home.jobs / name).exists()


@pytest.mark.parametrize("name", SPECS)
def test_the_names_that_people_give_to_specs_are_taken(ready_home: Home, inbox: Inbox, name: str) -> None:
    put(ready_home, name)
    assert claim_all(inbox) == [name]


def test_a_name_is_told_as_it_is_and_without_what_cannot_be_printed(ready_home: Home, inbox: Inbox) -> None:
    put(ready_home, "Größe.txt", "a\x1b[31m.txt")
    assert claim_all(inbox) == []
    assert list(inbox.left_alone) in (["'Größe.txt'", "'a\\x1b[31m.txt'"], ["'a\\x1b[31m.txt'", "'Größe.txt'"])


@pytest.mark.parametrize("copy", ["ipo (1).yaml", "ipo 2.yaml"])
def test_a_numbered_copy_is_left_alone_where_its_original_was_dropped(
    ready_home: Home, inbox: Inbox, copy: str
) -> None:
    put(ready_home, "ipo.yaml")
    assert claim_all(inbox) == ["ipo.yaml"]
    put(ready_home, copy)
    assert claim_all(inbox, 10.0) == []
    assert "second copy of ipo.yaml" in inbox.left_alone[repr(copy)]
    (ready_home.jobs / copy).rename(ready_home.jobs / "ipo-b.yaml")
    assert claim_all(inbox, 20.0) == ["ipo-b.yaml"]


@pytest.mark.parametrize(
    "rows",
    [
        '[{"chosen": "a", "rejected": "b"}]',
        '{"prompt": "p", "chosen": "a", "rejected": "b"}\n{"prompt": "q"}\n',
        '\ufeff\n  {"prompt": {"role": "user"}, "rejected": "b", "chosen": "a"}',
    ],
)
def test_rows_in_a_json_file_are_data(ready_home: Home, inbox: Inbox, rows: str) -> None:
    (ready_home.jobs / "pairs.json").write_text(rows, encoding="utf-8")
    assert claim_all(inbox) == []
    assert inbox.left_alone == {"'pairs.json'": DATA}
    assert (ready_home.jobs / "pairs.json").exists()


def test_a_spec_in_json_that_names_its_columns_is_a_spec() -> None:
    spec = {"name": "chosen", "model": "m", "data": {"path": "p", "chosen_feature": "chosen", "rejected_feature": "b"}}
    assert explain_start("ipo.json", json.dumps(spec).encode()) is None


@pytest.mark.parametrize("name", [*CONFLICTS, "ipo (1).yaml", "ipo (2).toml", "ipo 2.yaml"])
def test_what_is_submitted_is_taken_whatever_its_file_is_called(
    ready_home: Home, inbox: Inbox, tmp_path: Path, name: str
) -> None:
    put(ready_home, "ipo.json")
    document = json.loads(fake_worker.spec_text(tmp_path))
    target = submit(ready_home, document, name)
    assert target.name in claim_all(inbox)


def test_a_submitted_specs_name_stays_recognisable() -> None:
    assert choose_spec_name("smol.ipo") == "smol.ipo.json"
    assert choose_spec_name("ipo (Bob's conflicted copy)") == "ipo-Bob-s-conflicted-copy.json"
    assert explain_name(choose_spec_name("~$x")) is None
