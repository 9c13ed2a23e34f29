"""What stands in for the worker, the model and the data of a job: as little as the daemon needs of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefd.daemon.specs.catalog import Catalog
from support.paths import SUPPORT

NUMBER = {"type": "number", "default": 0.1, "exclusiveMinimum": 0}
REPORTERS = ("trackio", "tensorboard", "failing", "dying", "hanging")
"""The tools that jobs are reported to, as `stand_in_worker.report` does."""
MISSING = "it needs the library absent, which is not installed: pip install 'prefd[absent]'"


def loss(needs_reference: bool = True, **params: Any) -> dict[str, Any]:
    return {
        "params": params,
        "needs_reference": needs_reference,
        "batch_independent": True,
        "summary": "A loss.",
        "doc": "A loss.",
        "plugin": "prefd:losses",
    }


CATALOG: dict[str, Any] = {
    "losses": {
        "sigmoid": loss(beta=NUMBER),
        "ipo": loss(beta=NUMBER, length_normalize={"type": "boolean", "default": True}),
        "dpop": loss(beta=NUMBER, delta={"type": "number", "default": 50.0, "minimum": 0}),
        "cpo": loss(needs_reference=False, beta=NUMBER),
    },
    "reporters": {
        **{name: {"summary": "A tool.", "plugin": "tools", "missing": None} for name in REPORTERS},
        "absent": {"summary": "A tool.", "plugin": "tools", "missing": MISSING},
    },
    "plugins": [
        {
            "name": "prefd:losses",
            "version": "0.1.0",
            "source": "built-in",
            "losses": ["cpo", "dpop", "ipo", "sigmoid"],
            "formats": [],
            "error": None,
        }
    ],
}


def catalog(value: dict[str, Any] | None = None) -> Catalog:
    return Catalog.from_json(CATALOG if value is None else value)


def make_worker(folder: Path) -> tuple[str, ...]:
    """The command of a worker (stand_in_worker.py) whose catalogue is `folder/catalog.json`, which a test may change."""
    answer = folder / "catalog.json"
    answer.write_text(json.dumps(CATALOG))
    return (sys.executable, "-I", "-S", str(SUPPORT / "stand_in_worker.py"), str(answer))


def model_folder(folder: Path) -> Path:
    """What passes for a model without being opened."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def spec_text(folder: Path, name: str = "ok", **more: Any) -> str:
    """A spec (JSON, so YAML too) over a stand-in model and a data file in `folder`."""
    (folder / "pairs.jsonl").write_text("{}\n")
    spec = {
        "name": name,
        "model": str(model_folder(folder / "model")),
        "data": {"path": str(folder / "pairs.jsonl")},
        "training": {"iters": 2},
    }
    return json.dumps(spec | more)


def wait_for(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until `true()`; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
