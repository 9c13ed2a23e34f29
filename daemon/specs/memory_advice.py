"""Which settings make a job smaller that took too much memory."""

from __future__ import annotations

from prefd.daemon.specs.training_spec import TrainingSpec


def remedy(training: TrainingSpec | None) -> str:
    """Names the settings that make a job smaller and that it does not use yet; None is for one that only fills the cache."""
    if training is None:
        return "a smaller data.max_length"
    ways = []
    if not training.grad_checkpoint:
        ways.append("training.grad_checkpoint: true (a quarter of the batch's)")
    ways.append("a smaller data.max_length, training.batch_tokens or training.chunk_tokens")
    if training.fine_tune == "full":
        ways.append("training.fine_tune: lora")
    elif training.quantize is None:
        ways.append("training.quantize: {bits: 4}")
    return "; ".join(ways)
