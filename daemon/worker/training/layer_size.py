"""Counts what a transformer layer keeps of each token for its backward pass, from the shapes of its modules.

Every operation keeps what its own gradient needs. A matrix with an adapter keeps its input, and what follows it keeps its output;
the function between an MLP's matrices keeps what it went through; attention keeps its probabilities. No weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.worker.models.loading import ADAPTER_LEAVES
from prefd.daemon.worker.training.largest_batch import TokenRun

KEPT_OF_SILU = 2
"""Numbers kept for each number that SiLU is applied to, besides what goes in and out: the sigmoid, and their product."""
KEPT_OF_GELU = 4
"""The same of GELU in the form with tanh: the cube, the argument, its tanh, and the sum with one."""
MLP_GRADIENTS = 13
"""Numbers in work for each number between an MLP's matrices, besides what the layer keeps, while its gradient is computed."""
ATTENTION_GRADIENTS = 1.0
"""Numbers in work for each that a layer keeps of a token, while the gradient of its attention is computed,"""
SCORE_GRADIENTS = 2.0
"""and for each score: the gradients of its probability, and of what that is made of."""
UNPACKED_COPIES = 2
"""Copies of a weight that DoRA reads out of a quantized matrix: as it is multiplied with, and with its adapter for the norm."""
USUAL_NORMS = 2
"""Norms of a layer whose inputs are the residual sums, which are counted as the inputs and outputs of matrices."""


@dataclass(frozen=True)
class Matrix:
    """Matrix is one linear map of a layer."""

    block: str
    """The part of the layer that it is in: its attention, its MLP."""
    inputs: int
    outputs: int
    times: int
    """How often each token goes through it: once, or once for each expert that the token is sent to."""
    rank: int
    """Of its adapter; 0 without one."""
    rescaled: bool = False
    """Whether the adapter scales what comes out by the norm of the adapted weight, as DoRA does."""
    is_packed: bool = False
    """Whether its weight is quantized."""
    numbers: int = 0
    """Of its weight."""


@dataclass(frozen=True)
class LayerSize:
    """LayerSize counts the numbers that a layer keeps for its backward pass."""

    per_token: float
    per_score: float
    """For each query and key: those of all heads."""
    number_bytes: int
    """Bytes of a number that the layer computes with."""
    heads: int = 0
    between: int = 0
    """Numbers of a token between an MLP's matrices, of all its experts."""
    unpacked: int = 0
    """Numbers of the weights that DoRA reads out of quantized matrices."""
    rescaled: int = 0
    """Numbers of the weights whose norm DoRA computes."""

    @classmethod
    def count(cls, layer: nn.Module, arguments: Any) -> LayerSize:
        """Count for `layer` of a model with these `arguments`."""
        matrices = list(_list_matrices(layer, read_argument(arguments, "num_experts_per_tok") or 2))
        hidden = read_argument(arguments, "hidden_size", "n_embd")
        activation = KEPT_OF_GELU if _has_gelu(layer, arguments) else KEPT_OF_SILU
        per_token = hidden * max(0.0, sum(1 for _ in _list_norms(layer, "")) - USUAL_NORMS)
        between = 0
        for block in {matrix.block: None for matrix in matrices}:
            of_block = [matrix for matrix in matrices if matrix.block == block]
            per_token += _count_matrices(of_block)
            if "att" not in block:
                widest = _find_widest(of_block)
                between += widest.inputs * widest.times
            elif any(True for _ in _list_norms(layer, block)):  # queries and keys exist before their norm and after it
                outputs = [matrix.outputs for matrix in of_block]
                per_token += max(outputs) + min(outputs)
        heads = read_argument(arguments, "num_attention_heads", "n_head")
        cap = 1 if getattr(arguments, "attn_logit_softcapping", None) else 0  # a cap keeps its tanh
        rescaled = [matrix for matrix in matrices if matrix.rescaled]
        return cls(
            per_token + activation * between,
            heads * (1 + cap),
            _measure_number(layer),
            heads,
            between,
            sum(matrix.numbers for matrix in rescaled if matrix.is_packed),
            sum(matrix.numbers for matrix in rescaled),
        )

    @property
    def unpacked_bytes(self) -> int:
        """Count the bytes of the weights that are read out of quantized matrices and kept."""
        return UNPACKED_COPIES * self.number_bytes * self.unpacked

    @property
    def rescaled_bytes(self) -> int:
        """Count the bytes of the adapted weights whose norm is computed."""
        return self.number_bytes * self.rescaled

    def count_kept_bytes(self, span: TokenRun) -> float:
        """Count the bytes that the layer keeps of `span`."""
        return self.number_bytes * (self.per_token * span.tokens + self.per_score * span.scores)

    def count_recomputed_bytes(self, span: TokenRun) -> float:
        """Count the bytes that the layer works in when it runs `span` again: at its MLP's turn or its attention's."""
        kept_bytes, scores = self.count_kept_bytes(span), self.number_bytes * self.heads * span.scores
        attention = ATTENTION_GRADIENTS * self.number_bytes * self.per_token * span.tokens + SCORE_GRADIENTS * scores
        return kept_bytes + max(MLP_GRADIENTS * self.number_bytes * self.between * span.tokens, attention)


def read_argument(arguments: Any, *names: str) -> int:
    """Return the first of the model's arguments that exists; 0 where none does."""
    return next((int(value) for name in names if (value := getattr(arguments, name, None))), 0)


def _count_matrices(matrices: list[Matrix]) -> float:
    """Count the outputs of a block's matrices, and their inputs: its own, which the first ones share, and that of its last."""
    narrowest, widest = min(matrices, key=lambda each: each.inputs), _find_widest(matrices)
    # what is scaled is kept before it and after it
    outputs = sum(((1 + matrix.rescaled) * matrix.outputs + matrix.rank) * matrix.times for matrix in matrices)
    return outputs + narrowest.inputs * narrowest.times + (widest.inputs * widest.times if len(matrices) > 1 else 0)


def _find_widest(matrices: list[Matrix]) -> Matrix:
    """Find the matrix of a block that has most inputs, its last."""
    return max(matrices, key=lambda each: each.inputs)


def _list_matrices(layer: nn.Module, experts: int) -> Iterator[Matrix]:
    """List the matrices of `layer`; an adapted one has its own name for the matrix inside."""
    modules: Any = dict(layer.named_modules())
    for name, module in modules.items():
        weight = module.get("weight")
        if not isinstance(weight, mx.array) or weight.ndim not in (2, 3):
            continue
        packed = 32 // module.bits if "scales" in module else 1
        parent = modules.get(name.rpartition(".")[0], {})
        adapter = parent.get("lora_a") if name.endswith(".linear") else None
        rank = 0 if adapter is None else min(adapter.shape[-2:])
        times = experts if weight.ndim == 3 else 1
        rescaled = adapter is not None and "m" in parent
        yield Matrix(
            name.partition(".")[0],
            weight.shape[-1] * packed,
            weight.shape[-2],
            times,
            rank,
            rescaled,
            packed > 1,
            weight.size * packed,
        )


def _list_norms(layer: nn.Module, block: str) -> Iterator[str]:
    """List the norms directly in `block` of `layer`; "" is the layer itself."""
    modules: Any = layer.named_modules()
    for name, module in modules:
        weight = module.get("weight")
        if name.rpartition(".")[0] == block and isinstance(weight, mx.array) and weight.ndim == 1:
            yield name


def _has_gelu(layer: nn.Module, arguments: Any) -> bool:
    """Say whether the function between the MLP's matrices is a GELU: by the model's arguments, or the layer's code."""
    named = f"{getattr(arguments, 'hidden_act', '')} {getattr(arguments, 'hidden_activation', '')}"
    modules: Any = layer.modules()
    codes = [getattr(type(module).__call__, "__code__", None) for module in modules]
    names = [named, *(name for code in codes if code is not None for name in code.co_names)]
    return any("gelu" in name.lower() for name in names)


def _measure_number(layer: nn.Module) -> int:
    """Measure the bytes of a number that `layer` computes with: those of its own floating-point weights, scales or norms."""
    leaves: Any = tree_flatten(layer.parameters())
    sizes = [
        value.dtype.size
        for name, value in leaves
        if mx.issubdtype(value.dtype, mx.floating) and name.rpartition(".")[2] not in ADAPTER_LEAVES
    ]
    return min(sizes, default=4)
