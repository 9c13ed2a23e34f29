"""The sequences of `homes` with prefd's own workers, on a tiny model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from faults.home_slots import Slot, read_jobs
from faults.homes import Sequence
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import WORKER
from support import tiny_model
from support.sample_pairs import PAIRS

KINDS = {"cpo": 6, "sigmoid": 9, "ipo": 4}
"""The losses of the real jobs, and their steps."""


@dataclass
class RealSequence(Sequence):
    """The same with prefd's own workers on a tiny model; a job's adapter is that of its unbroken twin."""

    patience: float = 400.0
    pace: float = 3.0
    twins: dict[str, bytes] = field(default_factory=dict)

    def make_worker(self) -> tuple[str, ...]:
        """Return the command of a real worker, when each kind of job has been trained once in a home of its own."""
        self.model = tiny_model.build_llama(self.folder / "model")
        self.pairs = self.folder / "pairs.jsonl"
        self.pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
        self.worker = WORKER
        twin = Slot(Home(self.folder / "twin"))
        self._begin(twin)
        for kind in KINDS:
            (twin.home.jobs / f"{kind}.yaml").write_text(self._write_kind(kind, 0))
        self.start(twin)
        self._until(
            lambda: [job.state for job in read_jobs(twin.home)] == ["done"] * len(KINDS), "twins that did not end"
        )
        for job in read_jobs(twin.home):
            adapter = twin.home.job(job.id) / "adapter" / "adapters.safetensors"
            self.twins[job.name.partition("-")[0]] = adapter.read_bytes()
        self.stop(twin)
        return WORKER

    def write_spec(self, number: int) -> str:
        """Return a spec of one of a few kinds; all of them have the same pairs."""
        return self._write_kind(self.rng.choice([*KINDS]), number)

    def _write_kind(self, kind: str, number: int) -> str:
        training = {"iters": KINDS[kind], "batch_size": 2, "learning_rate": 1e-3, "save_every": 2}
        data = {"path": str(self.pairs)}
        spec = {"name": f"{kind}-{number}", "model": str(self.model), "data": data, "loss": {"name": kind}}
        return json.dumps(spec | {"training": training})

    def expect_adapter(self, spec: dict[str, Any]) -> bytes:
        """Return the adapter of the twin."""
        return self.twins[spec["name"].partition("-")[0]]
