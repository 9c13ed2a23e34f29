"""What of a model the protocol's three switches adapt."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.worker.live.adapted_modules import TIED, choose_modules
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker_tasks.live_requests import LiveLora
from support import tiny_model as tiny

MLP = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"]
ATTENTION = [f"self_attn.{name}_proj" for name in "koqv"]


@pytest.mark.parametrize(("tied", "output"), [(True, "model.embed_tokens"), (False, "lm_head")])
def test_each_switch_adapts_its_modules(tmp_path: Path, tied: bool, output: str) -> None:
    folder = tiny.build_llama(tmp_path / "model", tie_word_embeddings=tied)
    model = loading.load_lazily(ModelSource(str(folder)))
    expected = {"train_mlp": MLP, "train_attn": ATTENTION, "train_unembed": [output]}
    for only, modules in expected.items():
        lora = LiveLora(rank=2, **{name: name == only for name in expected})
        notes = [TIED] if tied and only == "train_unembed" else []
        assert choose_modules(model, lora) == (modules, notes)
