"""Defines what crosses the plugin boundary of a reporter: the run that it is told of, its rows of metrics, and its end.

Nothing heavy is imported: a reporter's process needs no model library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from prefd.plugins.metrics import EVAL, TIME

STEP = "step"


class LastSteps(NamedTuple):
    """LastSteps says up to which step a run's rows are with a reporter; 0 where there is none yet."""

    train: int = 0
    held_out: int = 0

    def after(self, row: MetricsRow) -> LastSteps:
        """Returns the last steps when `row` has been logged too."""
        if row.held_out:
            return self._replace(held_out=max(self.held_out, row.step))
        return self._replace(train=max(self.train, row.step))

    def have(self, row: MetricsRow) -> bool:
        """Says whether `row` was logged already: a resumed job writes the rows since its checkpoint again."""
        return row.step <= (self.held_out if row.held_out else self.train)


NOTHING = LastSteps()


@dataclass(frozen=True)
class ReportedRun:
    """ReportedRun is a training as a reporter is told of it."""

    id: str
    """Letters and digits, unlike every other run's. A job that is resumed or retried goes on under the same one; one that
    begins anew (`prefd retry --fresh`) has another.
    """
    title: str
    """What to call it where people look: the job's name with the end of its id, so that no two runs share it."""
    name: str
    """The job's name."""
    group: str
    """The group of jobs that it belongs to; may be empty."""
    project: str
    """What its daemon calls the project (`report.project` in config.toml)."""
    spec: Mapping[str, Any]
    """The job's whole spec, as it was frozen: what such tools call the config."""
    folder: Path
    """A folder of this reporter in the job's own, in which it may keep what it likes. It exists."""
    last: LastSteps = NOTHING
    """The last steps that prefd has noted as logged."""


@dataclass(frozen=True)
class MetricsRow:
    """MetricsRow is one line of metrics.jsonl: the numbers of a training step, or of an evaluation on the held-out pairs."""

    step: int
    metrics: Mapping[str, float]
    """By name, `eval_` before those of the held-out pairs; the step and the time are not among them."""
    time: float | None = None
    """When the line was written, in Unix time; lines of versions before 0.3 have none."""

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> MetricsRow | None:
        """Makes a row of a line of metrics.jsonl; None where it has no step."""
        step, time = line.get(STEP), line.get(TIME)
        if not isinstance(step, int):
            return None
        metrics = {name: float(value) for name, value in line.items() if name not in (STEP, TIME) and value is not None}
        return cls(step, metrics, None if time is None else float(time))

    @property
    def held_out(self) -> bool:
        """Says whether it is of the held-out pairs."""
        return any(name.startswith(EVAL) for name in self.metrics)


@dataclass(frozen=True)
class RunEnd:
    """RunEnd says how a job ended."""

    state: Literal["done", "failed", "cancelled"]
    reason: str = ""
    """In words."""


class Report(Protocol):
    """Report is a run that a reporter has begun, or goes on with.

    These two methods are all that it needs. It may have two more things:

    - `place`: a string that says where to look for the run, a command or an address.
    - `last_steps() -> LastSteps | None`: the last steps that are really there, for tools that can be asked. Without it, or
      where it gives None, what prefd has noted counts; a process that was killed may then have logged a row more.
    """

    def log(self, row: MetricsRow) -> None:
        """Logs one row. Rows come once each, in the order of their steps."""

    def close(self, end: RunEnd | None) -> None:
        """Writes what is still to be written. `end`: how the job has ended; None where it goes on later."""


def find_last_steps(report: Report) -> LastSteps | None:
    """Asks the tool up to which step it has the run; None where it cannot be asked, or does not know."""
    ask: Callable[[], LastSteps | None] = getattr(report, "last_steps", lambda: None)
    return ask()


class RunReporter(Protocol):
    """Tells a tool of runs. It is called in a process of its own, so it may be slow, and it may fail.

    It may say of itself, as class variables:

    - `library`: the module that it needs; a spec that names the reporter is refused where that is not installed.
    - `install`: what to install then, in the words of pip.
    """

    def open(self, run: ReportedRun) -> Report:
        """Begins `run`, or goes on with it where it has begun before."""
