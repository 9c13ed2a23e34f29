"""Hostile files: a bounded error each, in under a second and 50 MB; nothing is run, and nothing written elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.worker.errors import JobError
from support import fake_worker, hostile_specs
from support.jobs_on_disk import make_job, run_precompute
from support.programs import program, program_environment
from support.running_daemon import Place

SECONDS, MEBIBYTES = 1.0, 50.0
LINES, CHARACTERS = 22, 800


OFTEN = list(hostile_specs.ATTACKS)[::3]
"""Those that a usual run tries."""


def attack(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """What came of each attack."""
    folder.mkdir()
    done = subprocess.run(
        program("support.hostile_specs", folder, *names),
        cwd=folder,
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "something was run, or written"
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    "names", [OFTEN, pytest.param(list(hostile_specs.ATTACKS), marks=pytest.mark.thorough)], ids=["some", "all"]
)
def test_a_hostile_spec_gets_a_bounded_error_quickly(
    tmp_path: Path, names: list[str], subtests: pytest.Subtests
) -> None:
    result = attack(tmp_path / "attacks", names)
    assert result.keys() == set(names)
    for name in names:
        with subtests.test(name):
            check_result(result[name], hostile_specs.ATTACKS[name][-1])


def check_result(result: dict[str, Any], message: str) -> None:
    assert result["seconds"] < SECONDS
    assert result["mebibytes"] < MEBIBYTES
    assert any(message in line for line in result["lines"]), result["lines"][:3]
    assert len(result["lines"]) <= LINES
    assert all(line.isprintable() and len(line) <= CHARACTERS for line in result["lines"])


def files_of(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file in `folder` that is not in `without`."""
    paths = [path for path in folder.rglob("*") if not path.is_relative_to(without)]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths if not path.is_dir()}


NAMES = ["two\nlines.yaml", "\x1b[2Jclear.yaml", "a\rb.yaml", "-rf.yaml", "$(touch pwned).yaml", "a..yaml", "\u202eabc.yaml", "é" * 125 + ".yaml"]  # fmt: skip


def test_hostile_names_and_files_write_nothing_outside_the_home(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    password = Path("/etc/passwd")
    stamp = password.stat().st_atime_ns
    (place.home.jobs / "password.yaml").symlink_to(password)
    (place.home.jobs / "device.yaml").symlink_to("/dev/zero")
    (place.home.jobs / "folder.yaml").symlink_to("/etc")
    os.mkfifo(place.home.jobs / "pipe.yaml")
    texts = [
        fake_worker.spec_text(place.folder, name="../../../escaped", group="../../escaped"),
        fake_worker.spec_text(place.folder, name="/etc/cron.d/escaped"),
        fake_worker.spec_text(place.folder, name="~/escaped", output={"fuse": True}),
        fake_worker.spec_text(place.folder, model="../../escaped"),
        fake_worker.spec_text(place.folder, model="x; touch pwned"),
        fake_worker.spec_text(place.folder, data={"path": "/dev/zero"}),
    ]
    before = files_of(place.folder, place.home.root)
    with place.daemon() as client:
        for number, text in enumerate(texts):
            (place.home.jobs / f"{number}.yaml").write_text(text)
        for name in NAMES:
            (place.home.jobs / name).write_text("nonsense: \x07")
        fake_worker.wait_for(lambda: len(place.rejected()) == len(NAMES) + 3)
        place.wait_for("done", "done", "done")
        left = client.status().watcher.left_alone
        assert sorted(left) == ["'device.yaml'", "'folder.yaml'", "'password.yaml'", "'pipe.yaml'"]
    assert files_of(place.folder, place.home.root) == before
    assert password.stat().st_atime_ns == stamp
    assert sorted(path.name for path in place.home.runs.iterdir()) == [".home.json", ".table.json", "1", "2", "3"]
    assert all(text.isprintable() for text_of_file in place.rejected().values() for text in text_of_file.splitlines())


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("config.json", {"model_file": "evil.py"}),
        ("config.json", {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}),
        ("config.json", {"model_type": "../evil"}),
        ("tokenizer_config.json", {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
    ],
)
def test_no_python_that_lies_in_a_model_folder_is_run(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, file: str, setting: dict[str, Any]
) -> None:
    model, mark = tmp_path / "model", tmp_path / "pwned"
    model.mkdir()
    for path in tiny_model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Model: pass\nclass Tokenizer: pass\n")
    content = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps(content | setting))
    data = {"path": str(pairs_file), "max_length": 64, "validation": 0.0}
    job = make_job(tmp_path / "home", model=str(model), data=data)
    try:
        outcome = run_precompute(job)
    except JobError:
        outcome = None
    assert not mark.exists()
    assert "evil" not in sys.modules
    if file == "config.json":
        assert outcome is None
