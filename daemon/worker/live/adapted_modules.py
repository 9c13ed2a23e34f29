"""Chooses the modules that a client's `train_mlp`, `train_attn` and `train_unembed` mean in the model at hand.

Every module of a layer that an adapter can be on is attention's, or of what else mixes tokens, by its name; the others are the
MLP's. A model whose output layer is its token embedding has no other weights there: then the embedding is adapted, at both ends.
"""

from __future__ import annotations

import re

from mlx import nn

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.lookup_tables import HEAD_TABLE, TOKEN_TABLE
from prefd.daemon.worker.models.lora_keys import ADAPTABLE
from prefd.daemon.worker_tasks.live_requests import LiveLora

MIXES_TOKENS = re.compile(r"(^|[._])(\w*attn|attention|mixer|mamba|ssm|conv|temporal_block)([._]|$)", re.IGNORECASE)
TIED = (
    "the model's output layer is its token embedding, so train_unembed adapts that table, where tokens are looked up too; "
    "set train_unembed to false to leave it alone"
)


def choose_modules(model: nn.Module, lora: LiveLora) -> tuple[list[str], list[str]]:
    """Choose the keys of mlx-lm's `lora_parameters`; and say in sentences what the client may not expect.

    Raises `JobError` where nothing is chosen.
    """
    in_layers = {
        name for layer in model.layers for name, module in layer.named_modules() if isinstance(module, ADAPTABLE)
    }
    keys = {name for name in in_layers if (lora.train_attn if MIXES_TOKENS.search(name) else lora.train_mlp)}
    notes = []
    if lora.train_unembed:
        output, tied = _find_output(model)
        keys |= {output} if output else set()
        notes = [TIED] if output and tied else [] if output else ["train_unembed: no output layer was recognised"]
    if not keys:
        raise JobError(
            "there is nothing to train: train_mlp, train_attn and train_unembed choose no module of this model; "
            f"it has {', '.join(sorted(in_layers)) or 'none that takes an adapter'}"
        )
    return sorted(keys), notes


def _find_output(model: nn.Module) -> tuple[str, bool]:
    """Find the output layer, and say whether it is the token embedding; an empty name where there is none to adapt."""
    outside = [(name, module) for name, module in model.named_modules() if ".layers." not in name]
    for kinds, table, tied in (
        ((nn.Linear, nn.QuantizedLinear), HEAD_TABLE, False),
        ((nn.Embedding, nn.QuantizedEmbedding), TOKEN_TABLE, True),
    ):
        names = [name for name, module in outside if isinstance(module, kinds) and table.search(f"{name}.weight")]
        if names:
            return min(names, key=len), tied
    return "", False
