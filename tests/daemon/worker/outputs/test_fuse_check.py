"""A fused model is compared with base and adapter: what it lost is a number, and another model is no output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn

from prefd.daemon.terminal.report import phase_facts
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import adapters, loading, memory
from prefd.daemon.worker.outputs import fuse, fuse_check
from prefd.daemon.worker.outputs.fuse_check import Comparison, compare
from support import tiny_model as tiny
from support.adapters import adapted
from support.jobs_on_disk import job, run_precompute, run_training

SEQUENCES = [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23]]


def test_a_fused_model_in_full_precision_loses_nothing(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = adapted(tiny_model, tmp_path / "adapter")
    fuse.write_fused(source, tmp_path / "fused", dequantize=False)
    comparison = compare(source, tmp_path / "fused", SEQUENCES)
    assert comparison.lost < 1e-6
    assert comparison.effect > 1e-3
    assert (comparison.sequences, comparison.positions, comparison.warning()) == (2, 12, None)


@pytest.mark.parametrize("mode", tiny.MODES)
def test_what_a_quantized_base_loses_is_told_as_a_share_of_what_was_trained(tmp_path: Path, mode: str) -> None:
    base = tiny.quantized(tiny.build_llama(tmp_path / "plain"), tmp_path / "base", mode)
    source, _ = adapted(base, tmp_path / "adapter")
    fuse.write_fused(source, tmp_path / "kept", dequantize=False)
    comparison = compare(source, tmp_path / "kept", SEQUENCES)
    assert 0.02 < comparison.share < 0.9
    warning = comparison.warning()
    assert warning is not None
    assert f"loses {comparison.share:.0%} of what was trained" in warning
    assert f"logits {comparison.lost:.2g} off" in warning
    assert f"changes by {comparison.effect:.2g}" in warning
    assert "output.dequantize: true" in warning


def test_numbers_are_root_mean_squares_of_the_median_position() -> None:
    one, other = (fuse_check.np.zeros((3, 4), "float32") for _ in range(2))
    other[0] = 2.0
    other[1, 0] = 2.0  # sqrt(4 / 4)
    assert fuse_check.distance(one, other) == 1.0
    assert fuse_check.scatter(fuse_check.np.array([[1, -1, 1, -1]] * 3, "float32")) == 1.0


@pytest.mark.parametrize(
    ("changes", "allowed", "warning"),
    [
        ({}, 1e-3, None),
        ({"effect": 1e-5, "lost": 1e-5}, 1e-3, None),  # of the comparison, not of the weights
        ({"in_bfloat16": True, "lost": 0.05, "effect": 0.01}, 0.1, None),
        ({"stored": "BF16", "lost": 0.09, "effect": 0.2}, 0.1, None),
        ({"stored": "BF16", "lost": 0.09, "effect": 0.1}, 0.1, "rounded to bfloat16, loses 90% of what was trained"),
        ({"requantized": True, "lost": 0.5}, 1.0, "quantized anew, loses 50% of what was trained"),
        ({"requantized": True, "lost": 3.0, "scatter": 4.0}, 4.0, "quantized anew, loses all of what was trained"),
    ],
)
def test_rounding_is_allowed_by_the_stored_type(changes: dict[str, Any], allowed: float, warning: str | None) -> None:
    comparison = replace(Comparison(1.0, 1e-4, 1.0, 4, 100, False, "F32"), **changes)
    assert comparison.allowed == pytest.approx(allowed)
    if warning is None:
        assert comparison.warning() is None
    else:
        assert warning in str(comparison.warning())


def test_a_gpu_has_fewer_digits_in_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(1.0, 1e-4, 1.0, 4, 100, False, "F32")
    monkeypatch.setattr(loading, "device", lambda: "gpu")
    assert comparison.allowed == 0.02
    assert replace(comparison, stored="BF16").allowed == 0.1


@pytest.mark.parametrize(
    ("quantize", "with_tensors"),
    [
        pytest.param(None, True, id="plain-by its tensors"),
        pytest.param(
            None, False, id="plain-by its logits", marks=pytest.mark.thorough
        ),  # the next ones have both halves
        pytest.param({"bits": 4, "group_size": 32}, True, id="quantized-by its tensors", marks=pytest.mark.thorough),
        pytest.param({"bits": 4, "group_size": 32}, False, id="quantized-by its logits"),
    ],
)
def test_a_job_whose_fused_model_is_another_fails_and_leaves_none(
    home: Path,
    tiny_model: Path,
    pairs_file: Path,
    quantize: Any,
    with_tensors: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"quantize": quantize}, output={"fuse": True})
    run_precompute(running_job)

    def wrong(module: nn.Module, *args: Any, **more: Any) -> nn.Module:
        comparison = right(module, *args, **more)
        name = "scales" if "scales" in comparison else "weight"
        comparison[name] = -5 * comparison[name]
        return comparison

    right = adapters.merge_adapter
    monkeypatch.setattr(fuse, "merge_adapter", wrong)
    message = r"model\.layers\.\d\.\S+\.weight is \S+ of its size off in the worst row, .* \(and 13 more\)"
    if not with_tensors:
        monkeypatch.setattr(fuse_check, "find_wrong_tensors", lambda *args: [])
        message = "its logits .*"
    with pytest.raises(JobError, match=f"the fused model is not what base and adapter are: {message}; it is not kept"):
        run_training(running_job)
    assert not running_job.run.fused.exists()
    assert not list(running_job.run.root.glob(".fused*"))
    assert (running_job.run.adapter / "adapters.safetensors").exists()


def test_a_job_tells_what_fusing_cost(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    quantize = {"quantize": {"bits": 4, "group_size": 32}, "learning_rate": 0.01}
    running_job = job(home, tiny_model, pairs_file, training=quantize, output={"fuse": True})
    run_precompute(running_job)
    outcome = run_training(running_job)
    check = outcome.summary.fused_check
    assert check is not None
    assert 0 < check.lost < check.scatter
    assert check.share == pytest.approx(check.lost / check.effect)
    assert outcome.reason.endswith(f"; fused, {check.share:.0%} of what was trained is lost")
    (warning,) = outcome.summary.warnings
    assert f"the fused model, quantized anew, loses {check.share:.0%} of what was trained" in warning
    assert ("fusing", check.line) in phase_facts("training", outcome, None)


def test_a_gpu_that_fails_in_the_comparison_is_no_want_of_memory(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file)

    def fail(*_: Any) -> None:
        raise RuntimeError("[METAL] Command buffer execution failed: Caused GPU Timeout Error")

    monkeypatch.setattr(fuse_check, "compute_logits", fail)
    monkeypatch.setattr(fuse_check, "_check_tensors", lambda *_: None)
    with pytest.raises(RuntimeError, match="GPU Timeout"):
        fuse_check.compare(running_job.policy, tiny_model, [[1, 2]])


def test_a_machine_without_the_memory_says_that_it_did_not_compare(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, output={"fuse": True})
    run_precompute(running_job)
    written = fuse.write_fused

    def small(*args: Any) -> None:
        monkeypatch.setattr(memory, "machine", lambda: (1000, 1000))
        written(*args)

    monkeypatch.setattr(fuse, "write_fused", small)
    outcome = run_training(running_job)
    summary = outcome.summary
    assert outcome.reason.endswith("; the fused model was not compared with base and adapter")
    assert "fused_check" not in summary.to_json()
    assert any("was not compared with base and adapter: it takes" in warning for warning in summary.warnings)
    assert any("; its weights alone were, one by one; try it" in warning for warning in summary.warnings)
    assert running_job.run.fused.exists()


@pytest.mark.parametrize("mode", tiny.MODES)
def test_memory_counts_packed_weights_as_they_lie(tmp_path: Path, mode: str) -> None:
    from prefd.daemon.worker.models.source import ModelSource

    base = tiny.quantized(tiny.build_llama(tmp_path / "plain"), tmp_path / "base", mode)
    stored = mx.load(str(base / "model.safetensors"))
    assert isinstance(stored, dict)
    assert memory.count_bytes(loading.load_lazily(ModelSource(str(base))).parameters()) == sum(
        v.nbytes for v in stored.values()
    )
