"""Watches how long a GPU's passes take while a job runs, and makes those that follow shorter where they take long.

macOS ends what keeps the display waiting, by command buffers: MLX closes one after 40 or 50 operations, or when the arrays in it have 40
or 50 million numbers (`MLX_MAX_OPS_PER_BUFFER`, `MLX_MAX_MB_PER_BUFFER`). A layer's passes have more operations than that, so a
layer's share of a pass is the longest that a buffer can take; and a single product is never cut, so what bounds it is the number of
tokens. That was bounded at the start, by a sample (`models/pass_length.py`); here it is the passes themselves that are measured, for
a Mac that gets hot is slower. What is changed is written down with its step, so that a run that goes on repeats it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from prefd.daemon.runs.batch_record import BatchRecord, BatchSettings, ShorterPasses
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.models.pass_length import LONGEST_SECONDS, SAMPLE_TOKENS, SLOW_PASSES
from prefd.daemon.worker.training.batch_settings import SHORTEST_CHUNK
from prefd.daemon.worker.training.schedule import count_tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlowPass:
    """SlowPass is a pass in which a layer took longer than it may."""

    seconds: float
    """Of one layer."""
    pairs: int
    tokens: int
    longest: int
    """Tokens of its longest sequence."""


@dataclass
class PassSizes:
    """PassSizes holds the sizes in which a run's passes run, and measures them."""

    record: BatchRecord
    settings: BatchSettings
    layers: int
    _slow: list[SlowPass] = field(default_factory=list)

    def note_pass(self, batch: Sequence[Example], seconds: float) -> None:
        """Note that a forward and backward pass over `batch` took `seconds`."""
        share = seconds / max(1, self.layers)
        if share > LONGEST_SECONDS:
            longest = max(len(side.ids) for example in batch for side in (example.chosen, example.rejected))
            self._slow.append(SlowPass(share, len(batch), sum(map(count_tokens, batch)), longest))

    def follow_record(self, step: int) -> str | None:
        """Take the sizes that the record has for what comes after `step`, and say so where they are other ones."""
        entries = [entry for entry in self.record.read_shorter_passes() if entry.after_step <= step]
        if not entries:
            return None
        return self._change(entries[-1])

    def review(self, step: int) -> str | None:
        """Decide after `step` whether the passes are to be shorter, write that down, and say so; None where they stay.

        What a run has decided on before, in steps that it repeats, is not decided anew.
        """
        entries = self.record.read_shorter_passes()
        if entries and entries[-1].after_step >= step:
            self._slow.clear()
            return self.follow_record(step)
        if len(self._slow) < SLOW_PASSES:
            return None
        slowest = sorted(self._slow, key=lambda each: each.seconds)[-SLOW_PASSES]
        shorter = shorten(self.settings, slowest)
        self._slow.clear()
        if shorter == self.settings:
            return None
        entry = ShorterPasses(step, shorter.batch_tokens, shorter.chunk_tokens, slowest.seconds)
        self.record.add_shorter_passes(entry)
        return self._change(entry)

    def _change(self, entry: ShorterPasses) -> str | None:
        changed = replace(
            self.settings,
            batch_tokens=min(self.settings.batch_tokens, entry.batch_tokens),
            chunk_tokens=min(self.settings.chunk_tokens, entry.chunk_tokens),
        )
        if changed == self.settings:
            return None
        self.settings = changed
        self._slow.clear()
        return (
            f"a layer took {entry.seconds:.2g} s in a pass, in which the display waits and macOS may end the job: from step "
            f"{entry.after_step + 1} on it runs with {changed.describe()}; the gradients are the same"
        )


def shorten(settings: BatchSettings, slow: SlowPass) -> BatchSettings:
    """Halve the tokens of a pass, or the pieces of a pair that is too long alone, until `slow` would have taken as long as it may."""
    share = LONGEST_SECONDS / slow.seconds
    if slow.pairs > 1:
        tokens = _halve(slow.tokens, share * slow.tokens, SAMPLE_TOKENS)
        return replace(settings, batch_tokens=min(settings.batch_tokens, tokens or settings.batch_tokens))
    chunk = _halve(slow.longest, share * slow.longest, SHORTEST_CHUNK)
    return replace(settings, chunk_tokens=min(settings.chunk_tokens, chunk or settings.chunk_tokens))


def _halve(size: int, most: float, least: int) -> int | None:
    """Halve `size` until it is at most `most`, but for what would be below `least`; None where it cannot be halved at all."""
    halved = size
    while halved > most and halved // 2 >= least:
        halved //= 2
    return None if halved == size else halved
