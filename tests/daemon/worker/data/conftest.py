"""The tokenizer that tests of prompts and answers load."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from support import tiny_model
from support.encoded_pairs import Load


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The tokenizer of a tiny model with this template, as a job has it."""

    def load(
        template: str | None = tiny_model.CHATML, eos_token_id: Any = 2, generation: Any = None, **config: Any
    ) -> Any:
        folder = tiny_model.build_chat(tmp_path_factory.mktemp("model"), template, eos_token_id, **config)
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        return loading.tokenizer(ModelSource(str(folder)))

    return load
