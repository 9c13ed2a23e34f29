"""What a job was claimed with: the text, the frozen spec, and what has changed since."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.runs import snapshot
from prefd.daemon.runs.claimed_spec import read_claimed_spec
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.text.parsed import MAX_BYTES
from support import homes


def test_text_and_changes_are_told(ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}\n")
    (ready_home.accepted / "01J-ipo.yaml").write_text("# mine\nname: ipo\n")
    freeze(ready_home, 1, homes.make_spec(data={"path": str(pairs)}))
    claimed = read_claimed_spec(ready_home, 1, "01J-ipo.yaml")
    assert (claimed.text, claimed.file) == ("# mine\nname: ipo\n", str(ready_home.accepted / "01J-ipo.yaml"))
    assert claimed.spec is not None
    assert claimed.spec["data"]["path"] == str(pairs)
    assert claimed.data[str(pairs)]["bytes"] == 3
    assert claimed.changes == []
    pairs.write_text('{"prompt": 1}\n')
    monkeypatch.setattr(snapshot, "list_versions", lambda: {**claimed.versions, "mlx": "99"})
    first, second = read_claimed_spec(ready_home, 1, None).changes
    assert first.startswith(f"data: {pairs} has changed since the job was claimed (3 bytes")
    assert second.startswith("mlx was ")


def test_no_other_file_is_read_in_its_place(ready_home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (ready_home.accepted / "link.yaml").symlink_to(secret)
    (ready_home.accepted / "long.yaml").write_text("x" * (MAX_BYTES + 1))
    for source in ("../../secret", str(secret), "link.yaml", "long.yaml", "gone.yaml", "", ".", ".."):
        claimed = read_claimed_spec(ready_home, 1, source)
        assert (claimed.text, claimed.file, claimed.spec, claimed.changes) == (None, None, None, [])
