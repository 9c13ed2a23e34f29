"""SamplesLog is a job's file samples.jsonl: what its policy answered while it trained, a line an answer, appended as each is drawn.

What a policy answered before its first step stands in the lines of step 0, and is repeated beside each later answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from prefd.cache.segments.durable import flush, whole_file
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.text.document_model import DocumentModel

Ending = Literal["stop", "length", "time"]
"""The model ended it; it has max_tokens; or the time of the sampling was over."""


class DrawnAnswer(DocumentModel):
    """DrawnAnswer is what a policy said to a prompt."""

    text: str
    tokens: int
    ended: Ending


class DrawnSample(DocumentModel):
    """DrawnSample is one answer of the policy as it was after `step`, beside that of its start."""

    step: int
    number: int
    """Of the prompt, from 1."""
    place: str
    """Where the prompt's row stands."""
    prompt: str
    start: DrawnAnswer | None = None
    """What the policy answered before its first step; null in its own line, of step 0, and where that could not be drawn."""
    answer: DrawnAnswer | None = None
    """Null where it could not be drawn."""
    fault: str = ""
    """Why it could not be drawn."""
    seconds: float = 0.0
    """That drawing it took."""
    ulid: str = ""
    """The job's."""


class SamplesPage(DocumentModel):
    """SamplesPage holds the answers of some of a job's samplings."""

    job: int
    path: str
    """The file, samples.jsonl."""
    steps: Sequence[int]
    """After which steps answers were drawn; 0 is the start."""
    samples: Sequence[DrawnSample]


@dataclass(frozen=True)
class SamplesLog:
    """SamplesLog is the file samples.jsonl of the job with the ULID `job`; empty where any job's lines are read."""

    path: Path
    job: str = ""

    def read(self) -> list[DrawnSample]:
        """Read every whole line of the job's own, in their order; a line that a crash has cut is passed over."""
        return [sample for _, sample in self._read_lines()]

    def append(self, sample: DrawnSample) -> None:
        """Append one answer, in one call. Raises OSError."""
        line = sample.model_copy(update={"ulid": self.job}) if self.job else sample
        with self.path.open("ab") as file:
            file.write(line.model_dump_json().encode() + b"\n")

    def flush(self) -> None:
        """Flush to disk what was appended, so that a checkpoint never outlives the lines before it."""
        if self.path.exists():
            flush(self.path)

    def resume_after(self, step: int) -> list[DrawnSample]:
        """Drop the lines past `step`, which a resumed run draws again, and cut ones; return those that are kept."""
        earlier = [(line, sample) for line, sample in self._read_lines() if sample.step <= step]
        if self.path.exists():
            with whole_file(self.path, self.path.with_suffix(".partial"), durable=False) as file:
                file.write(b"".join(line for line, _ in earlier))
        return [sample for _, sample in earlier]

    def read_page(self, job_id: int, step: int | None = None, every_step: bool = False) -> SamplesPage:
        """Read the answers after `step`, or the newest ones; or those of `every_step`."""
        samples = self.read()
        steps = sorted({sample.step for sample in samples})
        wanted = steps if every_step else [step] if step is not None else steps[-1:]
        return SamplesPage(
            job=job_id,
            path=str(self.path),
            steps=steps,
            samples=[sample for sample in samples if sample.step in wanted],
        )

    def note_attempt(self, step: int, number: int) -> int:
        """Note that this answer is about to be drawn, and return how many workers have died of it before."""
        noted: Any = read_json(self._attempts)
        key = [step, number, self.job]
        deaths = noted["deaths"] if isinstance(noted, dict) and noted.get("of") == key else 0
        write_json(self._attempts, {"of": key, "deaths": deaths + 1}, flush=False)
        return int(deaths)

    def forget_attempt(self) -> None:
        """Forget the note: its worker lives."""
        self._attempts.unlink(missing_ok=True)

    @property
    def _attempts(self) -> Path:
        return self.path.with_name(".samples.json")

    def _read_lines(self) -> Iterator[tuple[bytes, DrawnSample]]:
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        for line in lines:
            try:
                sample = DrawnSample.model_validate_json(line)
            except ValidationError:
                continue
            if line.endswith(b"\n") and sample.ulid in ("", self.job or sample.ulid):
                yield line, sample
