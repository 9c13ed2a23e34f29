"""A stage reads its own layers and nothing else, and scores in the way that another process has chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.memory import count_bytes
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import choose_apart, fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.scoring.stage import Stage, describe_way, take_way
from support import tiny_architectures
from support import tiny_model as tiny
from support.array_memory import count_held_bytes

BATCH = [Completion(np.arange(1, 60, dtype=np.uint32), 20)]


def test_a_way_survives_the_journey_as_json() -> None:
    options = Options(slack=plan.SAME_BITS["all"], chunk_tokens=7)
    way = fastest_scorer(tiny_architectures.build("gemma2").freeze(), options)
    assert take_way(json.loads(json.dumps(describe_way(way))), way.model) == way


@pytest.mark.usefixtures("known_bits")
def test_a_stage_takes_the_memory_of_its_own_layers(tmp_path: Path) -> None:
    folder = tiny.build_llama(
        tmp_path / "wide",
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=10,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        vocab_size=4000,
    )

    def open_model() -> Any:
        return loading.load_lazily(ModelSource(str(folder))).freeze()

    way = describe_way(choose_apart(open_model))
    whole: Any = open_model()
    layer = count_bytes(whole.layers[0].parameters())
    embeddings = count_bytes(whole.model.embed_tokens.parameters())
    states: list[Any] = []
    for begin, end, rest in ((0, 3, embeddings), (3, 6, 0), (6, 10, embeddings)):
        mx.clear_cache()
        before = count_held_bytes()
        stage = Stage.open(take_way(way, open_model()), begin, end)
        result = stage.run(way, BATCH, states)
        memory = mx.get_active_memory() - before
        own = (end - begin) * layer + rest
        assert own <= memory < own + layer, f"layers {begin} to {end}"
        states = result if isinstance(result, list) else []
        del stage
    (expected,) = (take_way(way, whole).logprobs(BATCH),)
    assert isinstance(result, tuple)
    np.testing.assert_array_equal(np.array(result[0]), np.array(expected.tokens))
