"""GGUF by the converters that are there: llama.cpp's where it is installed, mlx-lm's where that is right, or a sentence."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import TrainingSummary
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.outputs.gguf import convert, explain_unfit, write_gguf
from prefd.daemon.worker_tasks.exports import GGUFInput
from support import tiny_model as tiny
from support.adapters import adapted
from support.jobs_on_disk import job

SCRIPT = """#!/bin/sh
test "$5" = f16 || { echo "ERROR: no type $5" >&2; exit 3; }
cat "$1/config.json" > "$3"
"""


@pytest.fixture
def no_llama_cpp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def write_script(folder: Path, text: str = SCRIPT) -> Path:
    path = folder / "convert_hf_to_gguf.py"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def build_sentencepiece(folder: Path, rows: int = 320) -> Path:
    """A tiny llama with a tokenizer whose unknown characters are bytes, as SentencePiece's are."""
    tiny.build_llama(
        folder, max_position_embeddings=512, rope_parameters={"rope_theta": 5000.0, "rope_type": "default"}
    )
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(97, 123))]
    pieces += [f"x{number}" for number in range(rows - len(pieces))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True)).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_mlx_lms_converter_writes_the_weights_that_the_model_has(tmp_path: Path, no_llama_cpp: None) -> None:
    model = build_sentencepiece(tmp_path / "model")
    assert convert(model, tmp_path / "out.gguf", None, "f16") == "mlx-lm"
    loaded: Any = mx.load(str(tmp_path / "out.gguf"), return_metadata=True)
    weights, metadata = loaded
    own = mx.load(str(model / "model.safetensors"))
    assert isinstance(own, dict)
    name = "model.layers.1.mlp.down_proj.weight"
    np.testing.assert_allclose(np.array(weights["blk.1.ffn_down.weight"]), np.array(own[name]), rtol=1e-3)
    assert metadata["llama.rope.freq_base"].item() == 5000.0
    assert len(metadata["tokenizer.ggml.tokens"]) == 320
    assert [path.name for path in tmp_path.glob(".*partial*")] == []


def test_what_mlx_lms_converter_would_get_wrong_is_refused(
    tmp_path: Path, no_llama_cpp: None, subtests: pytest.Subtests
) -> None:
    model = build_sentencepiece(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    assert explain_unfit(model, config) is None
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model_type": "qwen3"}, "it is a qwen3, and llama and mistral are what that knows"),
        ({"attention_bias": True}, "have biases"),
        ({"head_dim": 32}, "its heads have 32 dimensions and not 64 / 4"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "its positions are scaled (llama3)"),
    ]
    for changed, reason in cases:
        with subtests.test(reason=reason):
            assert reason in str(explain_unfit(model, config | changed))
    with subtests.test("a table with other rows"):
        build_sentencepiece(model, rows=319)
        assert "has 320 rows and its tokenizer 319 tokens" in str(explain_unfit(model, config))
    with subtests.test("byte-level BPE"):
        tiny.build_tokenizer(model)
        with pytest.raises(JobError, match="byte-level BPE, and that writes every tokenizer as SentencePiece; llama"):
            convert(model, tmp_path / "out.gguf", None, "f16")
    with subtests.test("a type"), pytest.raises(JobError, match="the only one here, writes f16 and not q8_0"):
        convert(model, tmp_path / "out.gguf", None, "q8_0")
    assert not (tmp_path / "out.gguf").exists()


def test_llama_cpps_converter_is_run_where_it_is_and_its_last_words_are_told(tmp_path: Path, tiny_model: Path) -> None:
    script, out = write_script(tmp_path), tmp_path / "out.gguf"
    assert convert(tiny_model, out, script, "f16") == str(script)
    assert out.read_text() == (tiny_model / "config.json").read_text()
    with pytest.raises(JobError, match="cannot convert this model: ERROR: no type f32"):
        convert(tiny_model, out, script, "f32")


def test_a_jobs_adapter_is_merged_before_it_is_converted(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file)
    with pytest.raises(JobError, match="job 1 has trained no policy to the end"):
        write_gguf(running_job.home, GGUFInput(job=1, out=str(tmp_path / "out.gguf")))
    adapted(tiny_model, running_job.run.adapter, lora={"rank": 2})
    running_job.run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=TrainingSummary(steps=1)))
    monkeypatch.setattr("shutil.which", lambda name: None)
    script = write_script(tmp_path, SCRIPT.replace("config.json", "model.safetensors"))
    refusals = [
        ({"out": str(tmp_path / "no" / "out.gguf")}, "there is no folder"),
        ({"converter": str(tiny_model)}, r"there is no convert_hf_to_gguf\.py there; it lies at the top"),
        ({}, "byte-level BPE"),
    ]
    for options, message in refusals:
        with pytest.raises(JobError, match=message):
            write_gguf(running_job.home, GGUFInput(**{"job": 1, "out": str(tmp_path / "out.gguf")} | options))
    written = write_gguf(running_job.home, GGUFInput(job=1, out=str(tmp_path / "out.gguf"), converter=str(tmp_path)))
    assert (written.by, written.bytes) == (str(script), Path(written.path).stat().st_size)
    fused = mx.load(str(tmp_path / "out.gguf"), format="safetensors")
    base = mx.load(str(tiny_model / "model.safetensors"))
    assert isinstance(fused, dict)
    assert isinstance(base, dict)
    assert fused.keys() == base.keys()
    assert any(not mx.array_equal(fused[name], base[name]) for name in base)
    assert not list(running_job.run.root.glob(".gguf*"))
