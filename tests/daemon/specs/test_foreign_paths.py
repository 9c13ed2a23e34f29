"""A path that means something to a shell, to Windows or to a browser is told as that, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.specs.foreign_paths import explain_foreign_path
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from support.homes import make_spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~nobody123/pairs.jsonl", "there is no user nobody123"),
        ("$HOME/model", "variables such as $HOME are not expanded: write ~/model, or the path itself"),
        ("${DATA}/pairs.jsonl", "variables such as ${DATA} are not expanded: write the path itself"),
        ("%USERPROFILE%\\model", "variables such as %USERPROFILE% are not expanded: write ~/model"),
        ("$env:DATA\\x", "variables such as $env:DATA are not expanded"),
        ("$(pwd)/x", "variables such as $(pwd) are not expanded"),
        ("C:\\Users\\me\\model", "is a path of Windows, and prefd runs elsewhere: give the path here (in WSL /mnt/c/Users/me/model)"),
        ("d:/data/pairs.jsonl", "(in WSL /mnt/d/data/pairs.jsonl)"),
        ("\\\\nas\\share\\x.jsonl", "is a share of Windows: mount it"),
        (".\\data\\pairs.jsonl", "write / in place of \\ (./data/pairs.jsonl)"),
        ("file:///data/my%20pairs.jsonl", "write the path alone, /data/my pairs.jsonl"),
        ("https://huggingface.co/datasets/org/pairs", "is a page of the hub: write org/pairs"),
        ("https://huggingface.co/org/model/tree/main", "is a page of the hub: write org/model; a file of it"),
        ("hf://datasets/org/pairs", "write org/pairs"),
        ("https://example.org/pairs.jsonl", "is an address, and prefd reads files and the hub: download it"),
        (" ./pairs.jsonl", "begins or ends with a blank"),
        ("'./pairs.jsonl'", "the quotes of './pairs.jsonl' are part of it: write ./pairs.jsonl"),
        ("C:\temp\new", "has a line break or a tab in it; in \"…\" a backslash begins an escape"),
    ],
)  # fmt: skip
def test_a_foreign_path_is_explained(tmp_path: Path, value: str, message: str) -> None:
    reason = explain_foreign_path(value, tmp_path)
    assert reason is not None
    assert message in reason


@pytest.mark.parametrize("value", ["org/name", "./no/such/file", "/no/such", "~", "~/x", "a b.jsonl", "50%.jsonl"])
def test_other_paths_are_left_to_the_checks_of_what_is_there(tmp_path: Path, value: str) -> None:
    assert explain_foreign_path(value, tmp_path) is None


def test_what_is_there_by_such_a_name_is_used(tmp_path: Path) -> None:
    for name in ("$HOME", "C:\\model", "%x%"):
        (tmp_path / name).mkdir()
        assert explain_foreign_path(name, tmp_path) is None


def test_an_accent_in_another_spelling_is_told(tmp_path: Path) -> None:
    (tmp_path / "Gro\u0308sse.jsonl").write_text("x")
    reason = explain_foreign_path("Gr\u00f6sse.jsonl", tmp_path)
    if not (tmp_path / "Gr\u00f6sse.jsonl").exists():  # some disks take both for one
        assert reason is not None
        assert "in another spelling (Unicode's NFD)" in reason


def test_each_is_told_at_its_place_beside_the_other_faults(tmp_path: Path) -> None:
    text = "model: ~nobody123/model\nreference: {model: ./none}\ndata:\n  path: [C:\\a.jsonl, ./b.jsonl]\n"
    with pytest.raises(SpecError) as caught:
        read_specs(text.encode(), "job.yaml", None, tmp_path)
    lines = caught.value.lines
    assert lines[0].startswith("job.yaml: line 1: model: ~nobody123/model: there is no user nobody123")
    assert f"job.yaml: line 2: reference.model: no such folder: {tmp_path}/none" in lines[1]
    assert lines[2].startswith("job.yaml: line 4: data.path[0]: C:\\a.jsonl is a path of Windows")
    assert lines[3] == f"job.yaml: line 4: data.path[1]: no such file or folder: {tmp_path}/b.jsonl"
    assert len(lines) == 4


def test_an_unknown_user_in_a_spec_of_before_ends_nothing(tmp_path: Path) -> None:
    spec = make_spec(model="~nobody123/model")
    assert spec.resolved(tmp_path).model == str(tmp_path / "~nobody123/model")
