"""LiveFolder names what is in `runs/<id>/live/`, where the server of a live session and its worker meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LiveFolder:
    """LiveFolder is the folder of one session: requests in, results out, and what the worker keeps and saves."""

    root: Path

    @property
    def session(self) -> Path:
        """Return the file that says what the session loads."""
        return self.root / "session.json"

    @property
    def requests(self) -> Path:
        """Return the folder of the requests, which the server writes."""
        return self.root / "requests"

    @property
    def results(self) -> Path:
        """Return the folder of the results, which the worker writes and the server deletes."""
        return self.root / "results"

    @property
    def state(self) -> Path:
        """Return the folder of the worker's exact checkpoints."""
        return self.root / "state"

    @property
    def weights(self) -> Path:
        """Return the folder of the states that were saved by name."""
        return self.root / "weights"

    @property
    def sampler_weights(self) -> Path:
        """Return the folder of the adapters that were saved by name."""
        return self.root / "sampler_weights"

    def request(self, n: int) -> Path:
        """Return the file of request `n`."""
        return self.requests / f"{n:09d}.json"

    def result(self, n: int) -> Path:
        """Return the file of the result of request `n`."""
        return self.results / f"{n:09d}.json"
