"""Keeps a session's exact state: adapter, optimizer, accumulated gradient, and the last request whose effect they hold.

After a crash the requests behind it are done again, in their order and to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlx.utils import tree_unflatten

from prefd.cache.segments.durable import flush_for_good
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.learner import Learner
from prefd.daemon.worker.live.references import NOTHING, Counts
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.published import report_write_errors
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.checkpoint import Checkpoints, load_tensors

GRADIENT_FILE = "gradient.safetensors"


class Noted(NamedTuple):
    """Noted is what applied.json says of a session's saved state."""

    applied: int = 0
    """The last request whose effect is saved."""
    checkpoint: int = 0
    """The request behind which the newest checkpoint was saved."""
    steps: int = 0
    """Steps of the optimizer."""
    ref_hits: int = 0
    ref_scored: int = 0

    @classmethod
    def read(cls, folder: LiveFolder) -> Noted:
        """Read what is noted; zeros where nothing was saved."""
        document = read_json(folder.applied)
        fields = document if isinstance(document, dict) else {}
        return cls(**{name: fields.get(name, 0) for name in cls._fields})


@dataclass
class SessionState:
    """SessionState is the folder of a session's checkpoints, with the file that says how far they go."""

    folder: LiveFolder
    source: ModelSource
    weights_sha256: str
    """The digest of the base model's weights: a state on others means nothing."""
    applied: int = 0
    """The last request whose effect is saved."""
    counts: Counts = NOTHING
    """What was in the cache and what was scored up to that request."""
    saved_at: float = field(default_factory=time.monotonic)
    saving_seconds: float = 0.0
    timing: Timing = USUAL
    _checkpoint: int = 0

    @property
    def checkpoints(self) -> Checkpoints:
        """Return the checkpoints, each named after the request that it was saved behind."""
        return Checkpoints(self.folder.state, keep=2)

    def restore(self, learner: Learner | None) -> int:
        """Load what was saved into `learner`, and return the last request that it has the effect of; 0 where nothing was saved.

        Raises `JobError` where it was saved on other weights, or is damaged and cannot be made again.
        """
        noted = Noted.read(self.folder)
        applied, checkpoint = noted.applied, noted.checkpoint
        self.counts = Counts(noted.ref_hits, noted.ref_scored)
        self._checkpoint = 0 if learner is None else self._load_newest(learner)
        if learner is None or self._checkpoint == checkpoint:
            self.applied = applied
        else:
            self.applied = self._checkpoint
        if self.applied < applied and not self.folder.request(self.applied + 1).exists():
            raise JobError(
                f"the session's state in {self.folder.state} is damaged: the newest that is whole is that of request "
                f"{self.applied}, and request {self.applied + 1} is not there to be done again; begin anew from saved weights"
            )
        return self.applied

    def _load_newest(self, learner: Learner) -> int:
        """Load the newest whole checkpoint, and return the request that it was saved behind; 0 where there is none."""
        checkpoint = self.checkpoints.restore(learner.policy.model, learner.policy.optimizer)
        if checkpoint is None:
            return 0
        if checkpoint.state["weights_sha256"] != self.weights_sha256:
            raise JobError(
                f"the weights of {self.source.model} are not those that the session was trained on; put them back as they were"
            )
        learner.steps = checkpoint.state["steps"]
        learner.loss, learner.tokens = checkpoint.state["loss"], checkpoint.state["tokens"]
        if (gradient := checkpoint.folder / GRADIENT_FILE).is_file():
            learner.gradient = tree_unflatten(list(load_tensors(gradient).items()))
        return checkpoint.step

    def is_due(self) -> bool:
        """Say whether it is time to save."""
        since = time.monotonic() - self.saved_at
        return since >= max(self.timing.session_save, self.saving_seconds / self.timing.session_saving_share)

    def save(self, applied: int, learner: Learner | None, counts: Counts) -> None:
        """Save the effect of all requests up to `applied`, with what was counted. Raises `JobError` for what the disk refuses."""
        if applied == self.applied and not (learner and learner.changed):
            return
        began = time.monotonic()
        with report_write_errors("the session's state", self.folder.state):
            self.folder.state.mkdir(exist_ok=True)
            if learner is not None and learner.changed:
                self._save_checkpoint(applied, learner)
                self._checkpoint, learner.changed = applied, False
            steps = learner.steps if learner else 0
            noted = Noted(applied, self._checkpoint, steps, counts.hits, counts.scored)
            write_json(self.folder.applied, noted._asdict())
            flush_for_good(self.folder.state)
        self.applied, self.counts, self.saved_at = applied, counts, time.monotonic()
        self.saving_seconds = self.saved_at - began

    def _save_checkpoint(self, applied: int, learner: Learner) -> None:
        tensors: Mapping[str, Any] = {}
        if learner.gradient is not None:
            tensors = {GRADIENT_FILE: dict(list_arrays(learner.gradient))}
        policy = learner.policy
        state = {
            "steps": learner.steps,
            "loss": learner.loss,
            "tokens": learner.tokens,
            "weights_sha256": self.weights_sha256,
        }
        config = policy.fine_tune.adapter_config(self.source)
        self.checkpoints.save(applied, policy.model, policy.optimizer, config, state, tensors=tensors)
