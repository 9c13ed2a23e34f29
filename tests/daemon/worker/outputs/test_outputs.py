"""What a job leaves besides its adapter, and what mlx-lm's own commands make of the adapter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlx_lm
import pytest
from mlx_lm import fuse

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from support import tiny_model as tiny
from support.adapters import apart, logits
from support.jobs_on_disk import job, run_precompute, run_training
from support.sockets import find_free_port

KINDS = ["lora", "dora", "full"]


def trained(running_job: RunningJob) -> RunningJob:
    run_precompute(running_job)
    running_job.run.root.joinpath("training.json").write_text(json.dumps(run_training(running_job).summary.to_json()))
    return running_job


def test_a_job_leaves_its_fused_model_and_peft_adapter_and_says_where(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = trained(job(home, tiny_model, pairs_file, output={"fuse": True, "peft": True}))
    summary = json.loads((running_job.run.root / "training.json").read_text())
    assert (summary["fused"], summary["peft"]) == (str(running_job.run.fused), str(running_job.run.peft))
    fused, _ = mlx_lm.load(str(running_job.run.fused))
    whole, _ = mlx_lm.load(str(tiny_model), adapter_path=str(running_job.run.adapter))
    assert apart(logits(fused), logits(whole)) < 1e-6
    assert sorted(path.name for path in running_job.run.peft.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert sorted(path.name for path in running_job.run.root.iterdir() if path.is_dir()) == [
        "adapter", "checkpoints", "fused", "peft",
    ]  # fmt: skip


def test_a_job_that_quantizes_at_load_may_be_fused_in_full_precision(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    quantize = {"quantize": {"bits": 4, "group_size": 32}}
    running_job = trained(
        job(home, tiny_model, pairs_file, training=quantize, output={"fuse": True, "dequantize": True})
    )
    fused, _ = mlx_lm.load(str(running_job.run.fused))
    assert not [module for module in fused.modules() if "scales" in module]


@pytest.mark.parametrize(
    ("output", "config", "message"),
    [
        ({"fuse": True, "dequantize": True}, {}, r"output\.dequantize: no weight of .* is quantized; take it away"),
        ({"peft": True}, {"rope_traditional": True}, r"output\.peft: .* has rope_traditional"),
    ],
)
def test_an_output_that_cannot_be_had_is_refused_before_the_reference_runs(
    home: Path, tmp_path: Path, pairs_file: Path, output: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    running_job = job(home, tiny.build_llama(tmp_path / "model", **config), pairs_file, output=output)
    with pytest.raises(JobError, match=message):
        run_precompute(running_job)
    assert running_job.cache.references() == []


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """One adapter of each kind, trained by a job."""
    folder = tmp_path_factory.mktemp("kinds")
    pairs = folder / "pairs.jsonl"
    pairs.write_text('{"prompt": "Is it?", "chosen": "It is the one.", "rejected": "No."}\n')
    return {
        kind: trained(
            job(
                folder / "home", tiny_model, pairs, job_id=number,
                data={"validation": 0.0}, training={"fine_tune": kind, "iters": 2, "learning_rate": 0.05},
            )
        ).run.adapter
        for number, kind in enumerate(KINDS, start=1)
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_mlx_lms_generate_and_fuse_take_the_adapter(
    tiny_model: Path, adapters: dict[str, Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = mlx_lm.load(str(tiny_model), adapter_path=str(adapters[kind]))
    answer_text = mlx_lm.generate(model, tokenizer, "Hello", max_tokens=8)
    base, _ = mlx_lm.load(str(tiny_model))
    assert answer_text != mlx_lm.generate(base, tokenizer, "Hello", max_tokens=8)
    arguments = [
        "--model",
        str(tiny_model),
        "--adapter-path",
        str(adapters[kind]),
        "--save-path",
        str(tmp_path / "fused"),
    ]
    monkeypatch.setattr(sys, "argv", ["mlx_lm.fuse", *arguments])
    fuse.main()
    assert apart(logits(mlx_lm.load(str(tmp_path / "fused"))[0]), logits(model)) < 1e-6


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[httpx.Client]:
    """mlx_lm.server on the loopback interface."""
    port = find_free_port()
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(tiny_model), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        end = time.monotonic() + 60
        while True:
            try:
                client.get("/health")
                break
            except httpx.ConnectError:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.1)
        yield client
    process.terminate()
    process.wait(30)


@pytest.mark.slow
@pytest.mark.thorough  # it loads an adapter as mlx_lm.generate does above
def test_mlx_lms_server_answers_with_each_adapter(
    server: httpx.Client, tiny_model: Path, adapters: dict[str, Path]
) -> None:
    for adapter in adapters.values():
        body = {
            "model": str(tiny_model),
            "adapters": str(adapter),
            "prompt": "Hello",
            "max_tokens": 8,
            "temperature": 0,
        }
        answer = server.post("/v1/completions", json=body).json()
        model, tokenizer = mlx_lm.load(str(tiny_model), adapter_path=str(adapter))
        assert answer["choices"][0]["text"] == mlx_lm.generate(model, tokenizer, "Hello", max_tokens=8)
