"""BatchRecord keeps in a run folder what was decided about how much of a job runs at once.

The worker writes down what it chose for the memory that there is, so that a run that goes on cuts its batches alike, on which the
last digits depend; and from which step on passes that took long are shorter. The supervisor counts how often an end for want of
memory has halved them, and how often one by the GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from prefd.daemon.machine.files import read_json, write_json

HalvingCause = Literal["memory", "device"]
"""Why batches were halved: memory ran out, or a GPU ended passes."""
CAUSES: tuple[HalvingCause, ...] = get_args(HalvingCause)
CHOICE, HALVINGS, SHORTER = "batch.json", "halvings.json", "shorter_passes.json"


@dataclass(frozen=True)
class BatchSettings:
    """BatchSettings holds the sizes in which a training step runs. None of it changes a gradient by more than rounding."""

    batch_tokens: int
    """The most tokens in a micro-batch, but for a pair that is longer alone."""
    grad_checkpoint: bool
    """Whether layers are computed again in the backward pass, which keeps a quarter of the activations."""
    chunk_tokens: int
    """Longer prompts and answers run in pieces of this many tokens."""

    def describe(self) -> str:
        """Say the settings in the words of a spec."""
        layers = "true" if self.grad_checkpoint else "false"
        return f"batch_tokens {self.batch_tokens:,}, grad_checkpoint {layers}, chunk_tokens {self.chunk_tokens:,}"


@dataclass(frozen=True)
class ShorterPasses:
    """ShorterPasses says in which sizes a run goes on after a step, because its passes took long."""

    after_step: int
    batch_tokens: int
    chunk_tokens: int
    seconds: float
    """How long a layer took, in the pass that was too long."""


@dataclass(frozen=True)
class BatchRecord:
    """BatchRecord reads and writes the files of one run folder."""

    folder: Path

    def read_choice(self) -> BatchSettings | None:
        """Return the settings that were chosen; None where none were, or the file is damaged."""
        choice = read_json(self.folder / CHOICE)
        match choice:
            case {"batch_tokens": int(tokens), "grad_checkpoint": bool(recompute), "chunk_tokens": int(chunk)}:
                return BatchSettings(tokens, recompute, chunk)
        return None

    def write_choice(self, settings: BatchSettings) -> None:
        """Write down the settings that were chosen."""
        write_json(self.folder / CHOICE, asdict(settings))

    def read_shorter_passes(self) -> list[ShorterPasses]:
        """Return since when passes have been shorter, in the order of the steps; none where the file is damaged."""
        from pydantic import TypeAdapter, ValidationError  # here: most commands that look at a run read no batches

        try:
            return TypeAdapter(list[ShorterPasses]).validate_python(read_json(self.folder / SHORTER) or [])
        except ValidationError:
            return []

    def add_shorter_passes(self, entry: ShorterPasses) -> None:
        """Write down that passes are shorter from the next step on."""
        write_json(self.folder / SHORTER, [asdict(each) for each in [*self.read_shorter_passes(), entry]])

    @property
    def halvings(self) -> int:
        """Return how many times the batches have been halved, for whatever cause."""
        return sum(self._read_halvings().values())

    def count_halvings(self, cause: HalvingCause) -> int:
        """Return how many times the batches have been halved for this cause."""
        return self._read_halvings()[cause]

    def add_halving(self, cause: HalvingCause) -> int:
        """Count one more halving, and return how many there are for this cause."""
        counts = self._read_halvings()
        counts[cause] += 1
        write_json(self.folder / HALVINGS, counts)
        return counts[cause]

    def _read_halvings(self) -> dict[HalvingCause, int]:
        """Read the counts; none where the file is damaged. An earlier version wrote their sum alone."""
        document = read_json(self.folder / HALVINGS)
        counts = document if isinstance(document, dict) else {"memory": document}
        numbers = {cause: counts.get(cause) for cause in CAUSES}
        return {cause: max(0, number) if type(number) is int else 0 for cause, number in numbers.items()}
