"""Estimates what a forward and backward pass keeps and works in, from what each layer keeps of a token."""

from __future__ import annotations

import math
from typing import Any

from mlx import nn

from prefd.daemon.worker.models.loading import ADAPTER_LEAVES
from prefd.daemon.worker.models.memory import count_numbers
from prefd.daemon.worker.models.pass_length import PREFILL_TOKENS
from prefd.daemon.worker.scoring.head import SLICE_LOGITS
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.largest_batch import LargestBatch, TokenRun
from prefd.daemon.worker.training.layer_size import LayerSize, read_argument

COPIES_OF_KEYS = 2
"""Copies kept of a prompt's keys and values: one for each of its answers."""
COPIES_OF_PIECES = 3
"""Copies kept of a piece's keys and values: with those before it, as what goes into the next piece, and their gradient."""
COPIES_OF_ANSWER = 2
"""Copies of the keys and values of an answer that is drawn."""
KEYS_GROW_BY = 256
"""Tokens."""
WEIGHT_GRADIENTS = {False: 1, True: 3}
"""Whether layers run again → copies of one layer's gradients in work, where whole weights are trained."""
SLICE_COPIES = {True: 5, False: 3}
"""Whether a step is one graph → arrays of the size of a slice's logits: these, their exponentials and their gradients."""


def estimate_activations(model: nn.Module, batch: LargestBatch, options: Options) -> int:
    """Estimate the bytes that one forward and backward pass over `batch` keeps and works in.

    The layers from the first trained one on keep what their gradients need, or only their inputs, where they run again; of what is
    longer than a chunk, that of one piece. And there is the work on one layer, of the tokens that run at once. The head has done its
    work before the layers' gradients are computed.
    """
    arguments = getattr(model, "args", None)
    layers = _list_differentiated(model)
    size = LayerSize.count(layers[0], arguments) if len(layers) else LayerSize(0, 0, 4)
    chunk = options.chunk_tokens or math.inf
    prompts, answers = batch.add_whole(chunk)
    piece = max(batch.list_pieces(chunk), key=size.count_kept_bytes, default=TokenRun(0, 0))
    at_once = max(batch.list_at_once(chunk), key=size.count_kept_bytes)
    # of an answer's prompt the last layer's keys are all that is needed
    kept_bytes = (len(layers) - 1) * size.count_kept_bytes(prompts)
    kept_bytes += len(layers) * (size.count_kept_bytes(answers) + size.count_kept_bytes(piece) + size.unpacked_bytes)
    work_bytes = size.count_kept_bytes(at_once)  # a gradient of each of a layer's arrays
    if options.checkpoint_layers:
        inputs = (prompts.tokens + answers.tokens + piece.tokens) * read_argument(arguments, "hidden_size", "n_embd")
        every_layer: Any = model.layers
        kept_bytes = min(kept_bytes, len(every_layer) * size.number_bytes * inputs)
        work_bytes = size.count_recomputed_bytes(at_once) + size.unpacked_bytes + size.rescaled_bytes
    cut_tokens = batch.tokens - prompts.tokens - answers.tokens if piece.tokens else 0.0
    copies = COPIES_OF_KEYS * prompts.tokens + COPIES_OF_PIECES * cut_tokens
    kept_bytes += len(layers) * copies * count_key_bytes(arguments, size)
    if not _is_adapted(model):
        gradients = 4 * count_numbers(model.trainable_parameters())
        kept_bytes = max(0, kept_bytes - gradients)  # they take the place of what is not needed any more
        if len(batch.answers) > 1:
            kept_bytes += gradients / 2  # those of the answers before, as far as they exist by then
        largest = max((count_numbers(layer.trainable_parameters()) for layer in layers), default=0)
        work_bytes += WEIGHT_GRADIENTS[options.checkpoint_layers] * 4 * largest
    return int(
        kept_bytes + max(work_bytes, _count_head_bytes(arguments, batch, options)) + _count_cast_bytes(model, size)
    )


def _list_differentiated(model: nn.Module) -> list[nn.Module]:
    """List the layers that a gradient goes through: from the first trained one on, and all where what comes before is trained."""
    layers: Any = model.layers
    trained = [bool(list_arrays(layer.trainable_parameters())) for layer in layers]
    inside = sum(len(list_arrays(layer.trainable_parameters())) for layer in layers)
    if any(trained) and inside == len(list_arrays(model.trainable_parameters())):
        return list(layers[trained.index(True) :])
    return list(layers)


def estimate_answer(model: nn.Module, tokens: int) -> int:
    """Estimate the bytes that drawing an answer takes, whose prompt and itself have so many `tokens`: keys, values and a layer's work.

    mlx-lm lets keys and values grow in pieces of 256 tokens. What the prompt has filled is copied, and what grows is there twice
    for a moment.
    """
    layers: Any = model.layers
    if not (len(layers) and tokens):
        return 0
    arguments = getattr(model, "args", None)
    size = LayerSize.count(layers[0], arguments)
    pieces = -(-tokens // KEYS_GROW_BY)
    keys = COPIES_OF_ANSWER * len(layers) * pieces * KEYS_GROW_BY * count_key_bytes(arguments, size)
    return int(keys + size.number_bytes * size.per_token * min(tokens, PREFILL_TOKENS))


def count_key_bytes(arguments: Any, size: LayerSize) -> float:
    """Count the bytes of a token's keys and values in one layer."""
    heads = read_argument(arguments, "num_attention_heads", "n_head")
    width = read_argument(arguments, "head_dim") or read_argument(arguments, "hidden_size", "n_embd") / max(heads, 1)
    return 2 * size.number_bytes * (read_argument(arguments, "num_key_value_heads") or heads) * width


def _count_head_bytes(arguments: Any, batch: LargestBatch, options: Options) -> int:
    """Count the bytes that the output head works in, with a slice's logits."""
    logits = min(SLICE_LOGITS, batch.logit_rows * read_argument(arguments, "vocab_size"))
    cap = 2 if getattr(arguments, "final_logit_softcapping", None) else 0  # the logits before it, and their tanh
    return 4 * logits * (SLICE_COPIES[options.lazily] + cap)


def _count_cast_bytes(model: nn.Module, size: LayerSize) -> int:
    """Count the bytes of trained weights and their gradients in half precision; the gradients in float32 are counted apart.

    Adapters are float32, and cast.
    """
    if size.number_bytes == 4:
        return 0
    return size.number_bytes * count_numbers(model.trainable_parameters()) * (2 if _is_adapted(model) else 1)


def _is_adapted(model: nn.Module) -> bool:
    """Say whether adapters are trained, and not whole weights."""
    return any(name.rpartition(".")[2] in ADAPTER_LEAVES for name, _ in list_arrays(model.trainable_parameters()))
