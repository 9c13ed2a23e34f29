"""A Stage is the part of a pipeline that one process runs: a contiguous run of a model's layers, of the first embedding, of the last head.

What its last layer gives in each call of the trunk is handed to the next stage; the last one computes log-probabilities. Of the model
nothing is read but what it runs: the other layers are never computed with, and embeddings and head only where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.gated_delta import take_fused_rule
from prefd.daemon.worker.scoring.layer_window import LayerWindow, read_arrays
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.scorer import Options, Scorer, is_on_gpu
from prefd.daemon.worker.scoring.trunk import Parts
from prefd.plugins.types import Logprobs

Way = Mapping[str, Any]
"""All of a scorer but its model, as JSON can have it: one process chooses, and all stages score in that way."""


def describe_way(scorer: Scorer) -> Way:
    """Describe how `scorer` scores, for `take_way`."""
    assert scorer.parts is not None
    return {
        "path": list(scorer.parts.path),
        "shares_prompts": scorer.shares_prompts,
        "vocabulary": scorer.vocabulary,
        "options": asdict(scorer.options),
        "same_bits": scorer.same_bits,
        "grouped": scorer.grouped,
    }


def take_way(way: Way, model: nn.Module) -> Scorer:
    """Make the scorer that scores by `way` with `model`."""
    options: dict[str, Any] = dict(way["options"])
    return Scorer(
        model,
        Parts(model, tuple(way["path"])),
        way["shares_prompts"],
        way["vocabulary"],
        Options(**options | {"slack": Slack(**options["slack"])}),
        way["same_bits"],
        way["grouped"],
    )


@dataclass(frozen=True)
class Stage:
    """Stage runs the layers from `begin` to `end` of `model`, which is open; none of the others is read."""

    model: nn.Module
    begin: int
    end: int
    count: int
    """The layers of the whole model."""

    @classmethod
    def open(cls, scorer: Scorer, begin: int, end: int) -> Stage:
        """Read the layers from `begin` to `end` of the model of `scorer`."""
        assert scorer.parts is not None
        if is_on_gpu():
            take_fused_rule(scorer.model)
        layers = scorer.parts.layers
        read_arrays([layer.parameters() for layer in layers[begin:end]])
        return cls(scorer.model, begin, end, len(layers))

    @property
    def is_last(self) -> bool:
        """Return whether it computes log-probabilities."""
        return self.end == self.count

    def run(self, way: Way, completions: Sequence[Completion], states: Sequence[Any]) -> list[Any] | Logprobs:
        """Run a batch, of which the stage before has given `states`, one for each call of the trunk: none for the first stage.

        Returns this stage's states, computed, or the log-probabilities.
        """
        window = LayerWindow(self.begin, self.end)
        window.start_batch(list(states))
        scorer = take_way(way, self.model)
        assert scorer.parts is not None
        scorer = window.restrict(scorer, scorer.parts.layers[self.begin : self.end])
        if not self.is_last:
            scorer.run_trunk(completions)
            return window.states
        scores = scorer.logprobs(completions)
        mx.eval(scores.tokens)
        return scores
