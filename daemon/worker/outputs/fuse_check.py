"""Checks that a fused model computes what base and adapter do, by its logits on a few of the job's rows.

Each of its weights is compared before that (worker/outputs/fuse_tensors.py).

Three forward passes over a few sequences: base, base with adapter, and the fused model as it was written. How far the
second is from the first is what was trained; how far the third is from the second is what the fused model lost of it.
Rounding to the stored type explains a little, quantizing anew a lot; what neither explains is no output of the job.
Differences are root mean squares over the vocabulary, of the median position: a router that rounding tips to another
expert moves a few positions far, and a wrong weight moves nearly all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from prefd.daemon.runs.phase_summaries import FusedCheck
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.device_trouble import is_device_trouble
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.source import ModelSource, stored_dtype
from prefd.daemon.worker.outputs.fuse_tensors import find_wrong_tensors

PAIRS = 2
MAX_TOKENS = 256
"""Tokens of a sequence that are run; the rest is left out."""
POSITIONS = 32
"""How many positions of each sequence have their logits compared: the last ones."""
ROUNDING = {"F32": 1e-3, "F16": 2e-2, "BF16": 1e-1}
"""Stored type → how far rounding the weights to it may move the logits, as a share of their own scatter."""
GPU_TOLERANCE = 2e-2
"""The least that is allowed on a GPU: its products of float32 numbers may have no more digits than those of float16 (TF32)."""
REQUANTIZED_TOLERANCE = 1.0
"""What is allowed to weights that were quantized anew: the logits of two models that have nothing in common are 1.4 apart."""
NOT_THE_SAME = "the fused model is not what base and adapter are"
WARNING_SHARE = 0.5
"""The share of what was trained from which on its loss is worth a warning."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """Comparison says how much of what was trained the fused model lost, measured in logits."""

    effect: float
    """How far base and adapter together are from the base."""
    lost: float
    """How far the fused model is from base and adapter."""
    scatter: float
    """How far base and adapter's logits at one position lie apart."""
    sequences: int
    positions: int
    requantized: bool
    stored: str
    """The type of the weights, as in `ROUNDING`."""
    in_bfloat16: bool = False
    """Whether base and adapter computed some of it in bfloat16, whatever the weights are."""

    @property
    def share(self) -> float:
        """Return the part of what was trained that is lost."""
        return self.lost / self.effect if self.effect else 0.0

    @property
    def allowed(self) -> float:
        """Return the largest `lost` that is not a fault."""
        rounding = ROUNDING["BF16" if self.in_bfloat16 else self.stored]
        if loading.device() == "gpu":
            rounding = max(rounding, GPU_TOLERANCE)
        return self.scatter * (REQUANTIZED_TOLERANCE if self.requantized else rounding)

    @property
    def tells(self) -> bool:
        """Say whether so much is lost that the job's owner should know. Weights that stay float32 lose nothing."""
        if self.requantized:
            return self.share > 0
        return self.stored != "F32" and self.share > WARNING_SHARE

    @property
    def part(self) -> str:
        """Say in words which share is lost."""
        return "all" if self.share >= 1 else f"{self.share:.0%}"

    def describe(self) -> str:
        """Say the numbers in words."""
        return (
            f"logits {self.lost:.2g} off those of base and adapter, which the adapter changes by {self.effect:.2g} "
            f"({self.positions} positions of {self.sequences} sequences)"
        )

    def warning(self) -> str | None:
        """Say what the job's owner should know, None where next to nothing is lost."""
        if not self.tells:
            return None
        cause = "quantized anew" if self.requantized else f"rounded to {loading.DTYPES[self.stored]}"
        remedy = (
            "output.dequantize: true keeps all of it, at full size" if self.requantized else "the adapter has it all"
        )
        return f"the fused model, {cause}, loses {self.part} of what was trained: its {self.describe()}; {remedy}"

    def summarize(self) -> FusedCheck:
        """Return the numbers as the job's summary holds them."""
        return FusedCheck(
            lost=self.lost,
            effect=self.effect,
            share=self.share,
            scatter=self.scatter,
            sequences=self.sequences,
            positions=self.positions,
            line=self.describe(),
        )


def select_sequences(examples: Sequence[Example]) -> list[list[int]]:
    """Take the token ids of a few of the job's prompts with their answers."""
    sides = [side for example in examples[:PAIRS] for side in (example.chosen, example.rejected)]
    return [[int(token) for token in side.ids[:MAX_TOKENS]] for side in sides]


class NotCompared(Exception):
    """The machine cannot run the fused model. For the job's owner: the message says that it is unproved."""


def compare(source: ModelSource, fused: Path, sequences: Sequence[Sequence[int]]) -> Comparison:
    """Compare `source`, base and adapter, with the model at `fused`.

    Raises `JobError` where that is another model, `NotCompared` where it cannot be known here.
    """
    _check_tensors(source, fused)
    model = loading.load_lazily(ModelSource(str(fused)))
    requantized = any("scales" in module for module in model.modules())
    size, (total, _) = memory.count_bytes(model.parameters()), memory.machine()
    if size > total:
        raise NotCompared(
            f"the fused model was not compared with base and adapter: it takes {memory.format_gib(size)}, and this machine has "
            f"{memory.format_gib(total)} in all; its weights alone were, one by one; try it where it fits before you rely on it"
        )
    try:
        fused_logits = compute_logits(model, sequences)
        del model
        base_logits = compute_logits(loading.load(replace(source, adapter=None)), sequences)
        expected_logits = compute_logits(loading.load(source), sequences)
    except (RuntimeError, MemoryError) as error:  # MLX's, when memory runs out
        if is_device_trouble(error):  # which passes: then it can be compared
            raise
        raise NotCompared(
            f"the fused model was not compared with base and adapter ({error}); try it before you rely on it"
        ) from error
    comparison = Comparison(
        distance(expected_logits, base_logits),
        distance(fused_logits, expected_logits),
        scatter(expected_logits),
        len(sequences),
        len(expected_logits),
        requantized,
        stored_dtype(source),
        _embeds_in_bfloat16(source),
    )
    if not comparison.lost <= comparison.allowed:  # NaN too
        raise JobError(
            f"{NOT_THE_SAME}: its {comparison.describe()}, and {comparison.allowed:.2g} would be explained by rounding; "
            f"{_advise(requantized)}"
        )
    return comparison


def _check_tensors(source: ModelSource, fused: Path) -> None:
    """Check that every weight of the model at `fused` is that of base and adapter, or raise `JobError`."""
    if wrong_tensors := find_wrong_tensors(source, fused):
        requantized = "quantization" in ModelSource(str(fused)).config()
        count_of_others = f" (and {len(wrong_tensors) - 1} more)" if wrong_tensors[1:] else ""
        raise JobError(f"{NOT_THE_SAME}: {wrong_tensors[0]}{count_of_others}; {_advise(requantized)}")


def _advise(requantized: bool) -> str:
    """Say what to do about a fused model that is not kept."""
    remedy = "add output.dequantize: true, " if requantized else ""
    return f"it is not kept. The adapter is whole: use it as it is, {remedy}or take output.fuse away"


def compute_logits(model: nn.Module, sequences: Sequence[Sequence[int]]) -> Logits:
    """Compute the logits of the last tokens of each sequence: (positions, vocabulary) float32."""
    logits = []
    for ids in sequences:
        values = model(mx.array([ids]))[0, -POSITIONS:].astype(mx.float32)
        logits.append(np.array(values))
    mx.clear_cache()
    return np.concatenate(logits)


def distance(logits: Logits, other_logits: Logits) -> float:
    """Measure how far two (positions, vocabulary) are apart: the root mean square over the vocabulary, median position."""
    return float(np.median(np.sqrt(np.mean(np.square(logits - other_logits), axis=1))))


def scatter(logits: Logits) -> float:
    """Measure the standard deviation over the vocabulary, at the median position."""
    return float(np.median(np.std(logits, axis=1)))


def _embeds_in_bfloat16(source: ModelSource) -> bool:
    """Say whether an embedding gives bfloat16 whatever the rest computes in: one whose scales are no floats does."""
    model, _ = loading.open_base(replace(source, adapter=None))
    return any(isinstance(m, nn.QuantizedEmbedding) and m.mode != "affine" for m in model.modules())
