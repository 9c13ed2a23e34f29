"""What ranks on several machines must have alike, and what each is sent."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host
from prefd.daemon.machine.cpus import CPUS, THREADS
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.count import RANK, RANKS, RANKS_HERE
from prefd.daemon.worker.ranks.greeting import explain_other_facts, explain_other_model, list_facts
from prefd.daemon.worker.ranks.seats import Seat
from prefd.daemon.worker.ranks.welcome import Welcome, welcome_rank
from prefd.plugins.manager import load_plugins

PLUGIN = """from helper import factor
from prefd.plugins.hookspecs import hookimpl

def mine(x):
    'It is mine.'
    return factor

@hookimpl
def register_losses(register):
    register("mine", mine)
"""


@pytest.mark.parametrize(
    ("name", "there", "remedy"),
    [
        ("mlx", "0.31.0", "pip install 'mlx=="),
        ("prefd", None, "pip install 'prefd=="),
        ("python", "3.9", "the same Python"),
        ("device", "gpu", 'worker.device = "cpu"'),
    ],
)
def test_another_version_or_device_is_told_with_both_and_the_remedy(name: str, there: str | None, remedy: str) -> None:
    here = list_facts()
    reason = explain_other_facts("studio-2", {**here, name: there}, here)
    assert reason is not None
    assert f"{there or 'none'} there, {here[name]} here" in reason
    assert remedy in reason
    assert reason.startswith("studio-2 ")
    assert explain_other_facts("studio-2", here, here) is None


def test_other_weights_are_told_first_with_both_checksums() -> None:
    here = {"config": "a" * 64, "weights": "b" * 64, "compute_dtype": "float32"}
    there = here | {"config": "c" * 64, "weights": "d" * 64}
    reason = explain_other_model("studio-2", "/m", "/there/m", there, here)
    assert reason is not None
    assert "/there/m has other weights than /m here (dddddddddddd… there, bbbbbbbbbbbb… here); copy" in reason
    assert explain_other_model("studio-2", "/m", "/m", here, here) is None


def test_a_rank_is_sent_the_spec_with_the_folders_there_and_the_plugins_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CPUS, RANK, RANKS, RANKS_HERE, "PREFD_SETTINGS", *THREADS):
        monkeypatch.setenv(name, "")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "mine.py").write_text(PLUGIN)
    (plugins / "helper.py").write_text("factor = 1\n")
    (plugins / "private.py").write_text("secret = 1\n")
    settings = HandedSettings(plugins=(str(plugins / "mine.py"),))
    (loaded,) = [each for each in load_plugins(settings.plugin_files).plugins if each.losses == ["mine"]]
    assert loaded.error is None
    spec = JobSpec.model_validate(
        {
            "model": "/models/a",
            "reference": {"model": "/models/b", "adapter": "/adapters/c"},
            "data": {"path": "/data/pairs.jsonl"},
            "loss": {"name": "mine"},
        }
    )
    seat = Seat(rank=2, here=False, host=Host(ssh="x", folders={"/models": "/m"}), numbers=[1, 2])
    stream = io.BytesIO()
    welcome_rank(seat, 3, settings, spec).write(stream)
    stream.write(b"what follows")
    stream.seek(0)
    welcome = Welcome.read(stream)
    assert stream.read() == b"what follows"
    arrived = welcome.read_spec()
    assert arrived.named_reference is not None
    assert (arrived.model, *arrived.named_reference) == ("/m/a", "/m/b", "/adapters/c")
    assert [list(each) for each in welcome.plugins] == [["mine.py", "helper.py"]]
    welcome.settle()
    assert (os.environ[RANK], os.environ[RANKS], os.environ[RANKS_HERE]) == ("2", "3", "2")
    with welcome.unpacked_plugins():
        files = HandedSettings.read(None).plugin_files  # type: ignore[arg-type]  # the environment has them
        assert "mine" in load_plugins(files).losses
    assert not files[0].exists()


def test_what_another_version_sends_is_told() -> None:
    with pytest.raises(JobError, match="is prefd of the same version on both machines"):
        Welcome.read(io.BytesIO(b'{"rank": 1}\n'))
