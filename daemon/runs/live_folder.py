"""LiveFolder names what is in `runs/<id>/live/`, where the server of a live session and its worker meet."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.machine.files import read_json

SNAPSHOT = "_snapshot-"
"""How the folders of snapshots begin for which the client has no name: it samples from them, and cannot ask for them later."""


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

    @property
    def held(self) -> Path:
        """Return the folder of requests that came before one that is to be done before them; the server's own."""
        return self.root / "held"

    @property
    def promises(self) -> Path:
        """Return the server's own list of what it promised, a JSON object a line."""
        return self.root / "promises.jsonl"

    @property
    def applied(self) -> Path:
        """Return the file in which the worker says of which request the effects are saved."""
        return self.state / "applied.json"

    @property
    def closed(self) -> Path:
        """Return the file that says that the client is gone: the worker does what is pending, and ends."""
        return self.root / "closed.json"

    @property
    def silence(self) -> Path:
        """Return the file that is there while the client is not heard of, and says since when."""
        return self.root / "silence.json"

    def create(self) -> None:
        """Create the folders that the server writes to, and that of the results."""
        for folder in (self.requests, self.held, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    def read_applied(self) -> int:
        """Return the number of the last request whose effects are saved; 0 where none are."""
        document = read_json(self.applied)
        number = document.get("applied") if isinstance(document, dict) else None
        return number if isinstance(number, int) else 0

    def forget_session(self) -> None:
        """Delete what only an open session needs: its requests and results, its exact state, and snapshots without a name.

        What the client saved by name stays. Raises OSError.
        """
        for folder in (self.requests, self.results, self.held, self.state):
            if folder.is_dir():
                shutil.rmtree(folder)
        for folder in self.sampler_weights.glob(f"{SNAPSHOT}*"):
            shutil.rmtree(folder)
        for file in (self.promises, self.silence):
            file.unlink(missing_ok=True)

    def read_silence(self) -> float | None:
        """Return since when (Unix time) the client is not heard of; None where it is."""
        document = read_json(self.silence)
        since = document.get("since") if isinstance(document, dict) else None
        return since if isinstance(since, float) else None

    def request(self, n: int) -> Path:
        """Return the file of request `n`."""
        return self.requests / f"{n:09d}.json"

    def result(self, n: int) -> Path:
        """Return the file of the result of request `n`."""
        return self.results / f"{n:09d}.json"
