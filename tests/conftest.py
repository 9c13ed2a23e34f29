"""Shared fixtures: a tiny model that is made here, the real demo model where it has been built, and homes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from prefd.daemon import blas

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers are as many as the cores
    os.environ.pop("COLUMNS", None)  # set by xdist for its own output

blas.preload()  # before anything imports mlx

import tiny  # tests/tiny.py

ROOT = Path(__file__).parent.parent
SMOL = Path(os.environ.get("PREFD_SMOL", ROOT / ".models" / "SmolLM2-135M-Instruct"))
SHARED_PAIRS = ROOT.parent / "shared" / "data" / "alpaca_eval_pairs.jsonl"

PAIRS = [
    {"prompt": "What is two plus two?", "chosen": "Four.", "rejected": "It could be many things, who knows."},
    {"prompt": "Name a primary colour.", "chosen": "Red is one.", "rejected": "Colours are lovely, are they not?"},
    {"prompt": "Is the sun a star?", "chosen": "Yes, it is a star.", "rejected": "No."},
    {
        "prompt": "Where do penguins live?",
        "chosen": "In the south.",
        "rejected": "Up at the North Pole with the bears.",
    },
    {"prompt": "How many legs has a spider?", "chosen": "Eight.", "rejected": "Six legs, like every insect has."},
    {"prompt": "What melts at zero degrees?", "chosen": "Ice does.", "rejected": "Rocks and such."},
    {"prompt": "Which month follows May?", "chosen": "June.", "rejected": "After May comes July, I think."},
    {"prompt": "Say hello in French.", "chosen": "Bonjour.", "rejected": "Hola!"},
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer llama with random weights and a byte-level tokenizer with a chat template."""
    return tiny.build_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def smol_model() -> Path:
    """SmolLM2-135M-Instruct, as `make model` builds it."""
    if not (SMOL / "model.safetensors").exists():
        pytest.skip("the demo model has not been built (make model)")
    return SMOL


@pytest.fixture(scope="session")
def shared_pairs() -> Path:
    if not SHARED_PAIRS.exists():
        pytest.skip("the alpaca_eval pairs are not here")
    return SHARED_PAIRS


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The path of a prefd home that does not exist yet."""
    return tmp_path / "home"
