"""A flat config of mlx-lm-lora, in the shape that its README shows, and what its spec or its faults are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.reading import SpecFile, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.training_spec import TrainingSpec

DPO = """
model: org/small-instruct
train: true
data: org/some-preferences
train_mode: dpo
beta: 0.2
dpo_cpo_loss_type: ipo
batch_size: 2
learning_rate: 5e-6
iters: 500
max_seq_length: 512
train_type: lora
lora_parameters:
  rank: 16
  dropout: 0.0
  scale: 10.0
"""


def read(text: str = DPO, folder: Path | None = None, **changes: Any) -> SpecFile:
    """The file with `changes` as lines of its own; None takes the setting out."""
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in changes]
    if "lora_parameters" in changes:
        lines = [line for line in lines if not line.startswith(" ")]
    added = [f"{name}: {json.dumps(value)}" for name, value in changes.items() if value is not None]
    return read_specs("\n".join(lines + added).encode(), "old.yaml", folder=folder)


def training(file: SpecFile) -> TrainingSpec:
    assert file.spec.training is not None
    return file.spec.training


def faults(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(**changes)
    return [line.removeprefix("old.yaml: ") for line in caught.value.lines]
