"""MetricsLog is a job's file metrics.jsonl, and tells it from one that was copied over it.

The digest of the first line that the job wrote lies beside the file. A line has its time and its numbers, so no other run has
the same one.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from prefd.cache.segments.durable import flush, whole_file
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.strange_metrics import keep_strange_metrics
from prefd.plugins.metrics import TIME

START = ".metrics.json"
"""The file beside metrics.jsonl with the digest of its first line; null where the job has written none yet."""


@dataclass(frozen=True)
class MetricsLog:
    """MetricsLog is the file metrics.jsonl: one object a line, written in one call."""

    path: Path

    def append(self, line: dict[str, float]) -> None:
        """Append `line`, the metrics of a step, and when that is."""
        text = json.dumps(line | {TIME: round(time.time(), 3)}) + "\n"
        if not self._has_lines():
            self._note_start(text.encode())
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def flush(self) -> None:
        """Flush to disk what was appended, so that a checkpoint never outlives the lines before it."""
        if self.path.exists():
            flush(self.path)

    def resume_after(self, step: int) -> str | None:
        """Drop lines past `step` (and any cut line): a resumed run writes them again.

        A file that the job has not written is kept under another name instead, and a remark on it returned.
        """
        remark = self._keep_strange()
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                if json.loads(line)["step"] <= step:
                    lines.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        self._note_start(lines[0].encode() if lines else None)
        with whole_file(self.path, self.path.with_suffix(".partial"), durable=False) as file:
            file.write("".join(lines).encode())
        return remark

    def _has_lines(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def _note_start(self, line: bytes | None) -> None:
        """Write down which line the job's metrics begin with."""
        digest = None if line is None else hashlib.sha256(line).hexdigest()
        write_json(self.path.with_name(START), {"first_line_sha256": digest}, flush=False)

    def _keep_strange(self) -> str | None:
        """Rename a file whose first line is not the job's, and return a remark; None where it is, or an earlier version's."""
        start = read_json(self.path.with_name(START))
        if not isinstance(start, dict) or not self._has_lines():
            return None
        with self.path.open("rb") as file:
            line = file.readline()
        if not line.endswith(b"\n") or hashlib.sha256(line).hexdigest() == start.get("first_line_sha256"):
            return None
        aside = keep_strange_metrics(self.path)
        return f"{self.path} was not written by this job: it is kept as {aside.name}, and the job's metrics begin anew"
