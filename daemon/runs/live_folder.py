"""LiveFolder is `runs/<id>/live/`: what a client asks of a model, what its worker answers, and what the worker has saved.

`prefd serve` writes the session, the requests and the end; the worker writes the results, its state and the weights. Neither
speaks to the other, so each may die, and the other still knows where things stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.machine.files import read_json

NUMBER_DIGITS = 9


@dataclass(frozen=True)
class LiveFolder:
    """LiveFolder names each file in the folder of one model that a client holds."""

    root: Path

    @property
    def session(self) -> Path:
        """What the client asked for when it made the model."""
        return self.root / "session.json"

    @property
    def requests(self) -> Path:
        """The folder of the requests, a file each, in the order in which they are to be done."""
        return self.root / "requests"

    @property
    def held(self) -> Path:
        """The folder of requests that have come before one that is to be done before them."""
        return self.root / "held"

    @property
    def results(self) -> Path:
        """The folder of the results, by the requests' numbers."""
        return self.root / "results"

    @property
    def weights(self) -> Path:
        """The folder of saved states, with the optimizer's, by name."""
        return self.root / "weights"

    @property
    def sampler_weights(self) -> Path:
        """The folder of saved adapters, in mlx-lm's format, by name."""
        return self.root / "sampler_weights"

    @property
    def applied(self) -> Path:
        """The file that says which requests' effects the saved state holds."""
        return self.root / "state" / "applied.json"

    @property
    def closed(self) -> Path:
        """The file that says that the client is gone: the worker does what is pending, and ends."""
        return self.root / "closed.json"

    def request(self, number: int) -> Path:
        """Return the file of a request."""
        return self.requests / f"{number:0{NUMBER_DIGITS}}.json"

    def result(self, number: int) -> Path:
        """Return the file of a request's result."""
        return self.results / f"{number:0{NUMBER_DIGITS}}.json"

    def create(self) -> None:
        """Create the folders that both sides write to."""
        for folder in (self.requests, self.held, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    def read_applied(self) -> int:
        """Return the number of the last request whose effect the saved state holds; 0 where there is none."""
        document = read_json(self.applied)
        number = document.get("applied") if isinstance(document, dict) else None
        return number if isinstance(number, int) else 0
