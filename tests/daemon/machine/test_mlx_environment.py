"""What MLX reads from the environment is set before a worker imports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from prefd.daemon.machine import mlx_environment


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "MLX_ENABLE_TF32",
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT",
        "MLX_PTX_CACHE_DIR",
        *mlx_environment.BUFFER_LIMITS,
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_float32_stays_float32_and_a_wish_for_less_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("MLX_ENABLE_TF32", "1")
    mlx_environment.prepare()
    assert os.environ["MLX_ENABLE_TF32"] == "0"
    assert "MLX_ENABLE_TF32=1 is not used" in caplog.text


def test_a_mac_lets_long_passes_live(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    mlx_environment.prepare()
    assert os.environ["AGX_RELAX_CDM_CTXSTORE_TIMEOUT"] == "1"
    assert "MLX_PTX_CACHE_DIR" not in os.environ


def test_a_job_whose_batches_were_halved_gets_smaller_command_buffers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    mlx_environment.prepare()
    assert "MLX_MAX_OPS_PER_BUFFER" not in os.environ
    monkeypatch.setenv("MLX_MAX_MB_PER_BUFFER", "7")
    mlx_environment.prepare(2)
    assert os.environ["MLX_MAX_OPS_PER_BUFFER"] == "10"
    assert os.environ["MLX_MAX_MB_PER_BUFFER"] == "7", "the user's own"


def test_each_user_has_a_folder_of_compiled_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/mia/.cache")
    mlx_environment.prepare()
    assert os.environ["MLX_PTX_CACHE_DIR"] == "/home/mia/.cache/prefd/ptx"


def test_a_worker_sets_it_before_mlx_is_imported_and_prints_its_device_as_json_alone():
    code = (
        "import sys, os; from prefd.daemon.machine import mlx_environment as m; real = m.prepare\n"
        "def prepare(halvings): assert 'mlx.core' not in sys.modules; real(); print('prepared', os.environ['MLX_ENABLE_TF32'])\n"
        "m.prepare = prepare\n"
        "from prefd.daemon.worker.__main__ import main; main(['device'])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, device = answer.stdout.splitlines()
    assert message == "prepared 0"
    assert json.loads(device)["device"] in ("cpu", "gpu")
    assert json.loads(device)["gflops"] > 0
