from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import google_crc32c
import mlx.core as mx
import pytest
from mlx import nn
from mlx.optimizers import AdamW
from mlx.utils import tree_flatten

from prefd.daemon.worker.outputs.published import Published
from prefd.daemon.worker.training.checkpoint import Checkpoints, seal_file

CONFIG = {"fine_tune_type": "lora"}
FILES = ["adapter_config.json", "adapters.safetensors", "optimizer.safetensors", "state.json"]


class Run:
    """A model, its optimizer, and checkpoints of them."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.model = nn.Linear(2, 2)
        self.optimizer = AdamW(0.1)
        self.checkpoints = Checkpoints(folder, keep)

    def step(self, number: int) -> None:
        self.optimizer.update(self.model, {"weight": mx.full((2, 2), float(number)), "bias": mx.ones(2)})

    def save(self, step: int, best: int | None = None) -> None:
        self.step(step)
        self.checkpoints.save(step, self.model, self.optimizer, CONFIG, {"seen": step * 0.1}, best)

    def values(self) -> dict[str, Any]:
        trees = self.model.parameters(), self.optimizer.state
        return {name: value.tolist() for tree in trees for name, value in tree_flatten(tree)}


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    run, other = Run(tmp_path), Run(tmp_path)
    assert other.checkpoints.restore(other.model, other.optimizer) is None
    run.save(1)
    run.save(2)
    restored_step = other.checkpoints.restore(other.model, other.optimizer)
    assert restored_step is not None
    assert (restored_step.step, restored_step.state["seen"]) == (2, 0.2)
    assert other.values() == run.values()
    for each in (run, other):
        each.step(3)
    assert other.values() == run.values()


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=2)
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 2)):
        run.save(step, best)
    assert steps(tmp_path) == [2, 4, 5]
    run.save(6, best=6)
    assert steps(tmp_path) == [5, 6]


def test_two_stay_while_the_run_lasts(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=1)
    for step in (1, 2, 3):
        run.save(step)
    assert steps(tmp_path) == [2, 3]
    run.checkpoints.prune(1, None)
    assert steps(tmp_path) == [3]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["cut", "flip", "delete", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, name: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    run.save(1)
    before = run.values()
    run.save(2)
    newest = run.checkpoints.path(2)
    file = newest / name
    content = file.read_bytes()
    middle = len(content) // 2
    changed = {
        "cut": content[:middle],
        "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    if harm == "delete":
        file.unlink()
    else:
        file.write_bytes(changed[harm])
    other = Run(tmp_path)
    with caplog.at_level(logging.WARNING):
        restored_step = other.checkpoints.restore(other.model, other.optimizer)
    assert restored_step is not None
    assert restored_step.step == 1
    assert other.values() == before
    assert f"checkpoint {newest} is damaged" in caplog.text
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_a_checkpoint_that_may_not_be_read_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = Run(tmp_path)
    run.save(1)
    run.save(2)
    original = Path.open

    def refused(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "optimizer.safetensors":
            raise OSError(number, os.strerror(number), str(self))
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(OSError, match=r"optimizer\.safetensors"):
            run.checkpoints.restore(run.model, run.optimizer)
    assert steps(tmp_path) == [1, 2]
    restored_step = run.checkpoints.restore(run.model, run.optimizer)
    assert restored_step is not None
    assert restored_step.step == 2


def test_a_large_file_is_checked_piece_by_piece(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content := bytes(range(256)))
    assert seal_file(tmp_path / "file", piece_bytes=7) == [256, google_crc32c.value(content)]


def test_when_all_are_damaged_the_run_begins_anew(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (1, 2):
        run.save(step)
        (run.checkpoints.path(step) / "adapters.safetensors").write_bytes(b"x")
    before = run.values()
    assert run.checkpoints.restore(run.model, run.optimizer) is None
    assert run.values() == before


def test_the_best_can_be_loaded_unless_it_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    run.save(1)
    weight = run.model.weight.tolist()
    run.save(2, best=1)
    assert run.checkpoints.load_best(1, run.model)
    assert run.model.weight.tolist() == weight
    (run.checkpoints.path(1) / "adapters.safetensors").unlink()
    assert not run.checkpoints.load_best(1, run.model)
    assert "best checkpoint, of step 1, is damaged" in caplog.text


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(1)
    (tmp_path / ".step-00000002.partial").mkdir()
    (tmp_path / ".step-00000002.partial" / "adapters.safetensors").write_bytes(b"half")
    assert run.checkpoints.restore(run.model, run.optimizer) is not None
    assert steps(tmp_path) == [1]


def test_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    with Published(tmp_path / "a") as partial:
        (partial / "file").write_text("one")
        assert not (tmp_path / "a").exists()
    interrupted = Published(tmp_path / "a")
    (interrupted.__enter__() / "file").write_text("two")
    interrupted.__exit__(ValueError, None, None)
    assert [(path.name, (path / "file").read_text()) for path in tmp_path.iterdir()] == [("a", "one")]


def test_the_last_good_one_is_of_a_step_before(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.checkpoints.last_before(9) is None
    run.save(3)
    run.save(5)
    assert run.checkpoints.last_before(5) == run.checkpoints.path(3)
    assert run.checkpoints.last_before(9) == run.checkpoints.path(5)
