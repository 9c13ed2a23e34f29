"""Sessions are the clients' sessions: which models and samplers each holds, when it was last heard of, and that it outlives this process."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.files import read_json, write_json

SESSION_ID = re.compile(r"[0-9a-f]{32}")
HEARTBEAT_SECONDS = 10.0
"""Between two heartbeats of a client."""
SILENT_SECONDS = 1.5 * HEARTBEAT_SECONDS
"""Without a word for so long, a client is silent: a heartbeat has not come."""
MAX_OPEN = 100
MAX_MODELS = 100
"""So many models may a session hold, each with its worker."""
MAX_SAMPLERS = 10_000
"""And so many samplers: a client that samples as it trains opens one for each step."""


MAX_SNAPSHOTS = 32
"""And so many saved weights that its client gave no name: each is an adapter on the disk."""
OF_THIS_PROCESS = ("heard_at", "noted_silent", "kept", "released")
"""What is not kept of a session."""


@dataclass
class OpenSampler:
    """OpenSampler is what a client samples with: the base model, or weights that were saved."""

    host: str
    """The model whose worker answers."""
    base_model: str
    model_path: str | None = None
    """`tinker://…`; None for the base model."""
    folder: str | None = None
    """The weights' folder."""


@dataclass
class Session:
    """Session is one client's session."""

    id: str
    created_at: float
    key: str = ""
    """The idempotency key that it was made with: a request that comes again makes no second one."""
    models: dict[str, int] = field(default_factory=dict)
    """Each model's job, by the model's id."""
    samplers: dict[str, OpenSampler] = field(default_factory=dict)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    """What its client notes of it."""
    display_name: str | None = None
    """What its client calls it."""
    ended: str = ""
    """Why it has ended; empty while it has not."""
    heard_at: float = 0.0
    """When its client was last heard of, on the monotonic clock of this process."""
    noted_silent: bool = True
    """Whether its models' folders may say that it is silent."""
    kept: bool = True
    """Whether its file is as it is: a full disk may have refused it."""
    released: bool = False
    """Whether this process has told the workers of its models that it has ended."""

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        samplers = {name: vars(each) for name, each in self.samplers.items()}
        fields = {name: each for name, each in vars(self).items() if name not in OF_THIS_PROCESS}
        return {**fields, "samplers": samplers}


class Sessions:
    """Sessions holds the sessions of one home, each in a file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_id: dict[str, Session] = {}

    def load(self) -> None:
        """Read what an earlier process kept; each session has its full time to be heard of again. Raises OSError."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for path in self.folder.glob("*.json"):
            document = read_json(path)
            if not isinstance(document, dict) or not SESSION_ID.fullmatch(path.stem):
                continue
            samplers = {name: OpenSampler(**each) for name, each in document.pop("samplers", {}).items()}
            self.by_id[path.stem] = Session(**document, samplers=samplers, heard_at=time.monotonic())

    @property
    def open(self) -> list[Session]:
        """List the sessions that have not ended."""
        return [session for session in self.by_id.values() if not session.ended]

    def create(self, key: str, user_metadata: dict[str, Any], display_name: str | None) -> Session:
        """Make a session, or return the one that was made with this key. Raises RefusedCall (429) where there are too many, and OSError."""
        if key and (session := next((each for each in self.by_id.values() if each.key == key), None)) is not None:
            self.keep_changes(session)
            return session
        if len(self.open) >= MAX_OPEN:
            raise RefusedCall(429, f"{MAX_OPEN} sessions are open already: end one, or wait until one is released")
        session = Session(uuid.uuid4().hex, time.time(), key, heard_at=time.monotonic())
        session.user_metadata, session.display_name = user_metadata, display_name
        self.by_id[session.id] = session
        self.keep(session)
        return session

    def keep(self, session: Session) -> None:
        """Write a session down for good. Raises OSError; then it is written when its client asks again."""
        session.kept = False
        write_json(self.folder / f"{session.id}.json", session.to_json())
        session.kept = True

    def keep_changes(self, session: Session) -> None:
        """Write a session down that could not be written. Raises OSError."""
        if not session.kept:
            self.keep(session)

    def forget(self, session: Session) -> None:
        """Forget a session that has ended, for good. Raises OSError."""
        (self.folder / f"{session.id}.json").unlink(missing_ok=True)
        del self.by_id[session.id]

    def find(self, session_id: Any) -> Session:
        """Return an open session, which is heard of now. Raises RefusedCall (404, or 410 for one that has ended), OSError."""
        session = self.by_id.get(session_id) if isinstance(session_id, str) else None
        if session is None:
            raise RefusedCall(404, f"there is no session {str(session_id)[:100]!r}")
        if session.ended:
            raise RefusedCall(410, f"session {session.id} has ended: {session.ended}")
        session.heard_at = time.monotonic()
        self.keep_changes(session)
        return session

    def find_of_model(self, model_id: str) -> Session:
        """Return the open session that holds a model. Raises RefusedCall (404, 410)."""
        session = self.find(model_id.partition(":")[0])
        if model_id not in session.models:
            raise RefusedCall(404, f"there is no model {model_id[:100]!r} in session {session.id}")
        return session

    def find_held(self, model_id: str) -> Session | None:
        """Return the session that holds a model, which is not heard of by that; None where there is none."""
        session = self.by_id.get(model_id.partition(":")[0])
        return session if session is not None and model_id in session.models else None

    def find_of_sampler(self, sampler_id: str) -> tuple[Session, OpenSampler]:
        """Return a sampler, and the open session that holds it. Raises RefusedCall (404, 410)."""
        session = self.find(sampler_id.partition(":")[0])
        if (sampler := session.samplers.get(sampler_id)) is None:
            raise RefusedCall(
                404,
                f"there is no sampling session {sampler_id[:100]!r}: of weights that were saved without a name, the "
                f"{MAX_SNAPSHOTS} last used are kept; save by name what you go back to",
            )
        return session, sampler

    def list_models(self) -> Iterator[tuple[str, int]]:
        """Yield every model that a session has held, with its job."""
        for session in self.by_id.values():
            yield from session.models.items()

    def find_job(self, model_id: str) -> int | None:
        """Return the job of a model, also of a session that has ended; None where there is none."""
        session = self.by_id.get(model_id.partition(":")[0])
        return None if session is None else session.models.get(model_id)


def check_room(held: Mapping[str, Any], most: int, what: str) -> None:
    """Raise RefusedCall (400) where a session holds as many as it may; a client would ask again for ever after 429."""
    if len(held) >= most:
        raise RefusedCall(400, f"the session holds {most} {what} already: begin another")
