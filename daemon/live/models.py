"""Models are the models that clients hold: each is a job, and a folder in which its requests are journaled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.live.jobs import ClientJobs
from prefd.daemon.live.journal import Journal
from prefd.daemon.live.promises import Promise, digest_content, write_body
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.sessions import MAX_MODELS, Session, Sessions, check_room
from prefd.daemon.machine.files import read_json
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker_tasks.live_requests import InfoResult, parse_result

CREATE = "create"
"""In place of a number, of the request that a model begins with: it is answered once the model is loaded."""


@dataclass(frozen=True)
class ClientModel:
    """ClientModel is a model that a client holds."""

    id: str
    job_id: int
    journal: Journal

    @property
    def folder(self) -> LiveFolder:
        """Return its folder."""
        return self.journal.folder

    def read_session(self) -> Mapping[str, Any]:
        """Return what was asked for when it was made. Raises RefusedCall (404) where its folder is gone."""
        return read_session(self.folder, self.id)

    def read_info(self) -> InfoResult | None:
        """Return what its worker says of it; None before it is loaded."""
        content = self.journal.read_result(1)
        result = None if content is None else parse_result(InfoResult, content)
        return result if isinstance(result, InfoResult) else None


class Models:
    """Models opens clients' models and finds them again. `names`: the models that may be trained, by the clients' names."""

    def __init__(self, home: Home, sessions: Sessions, jobs: ClientJobs, names: Mapping[str, str]) -> None:
        self.home = home
        self.sessions = sessions
        self.jobs = jobs
        self.names = names
        self._open: dict[str, ClientModel] = {}

    def locate(self, base_model: str) -> str:
        """Return the folder or the hub id of a model. Raises RefusedCall (404) for one that config.toml does not name."""
        if base_model in self.names:
            return self.names[base_model]
        there = ", ".join(self.names) or "none: name some under [serve] models in config.toml"
        raise RefusedCall(404, f"there is no model {base_model[:200]!r} here; there are {there}")

    async def open(
        self,
        session: Session,
        model_id: str,
        base_model: str,
        *,
        content: bytes,
        lora: Mapping[str, Any] | None = None,
        from_state: Path | None = None,
        with_optimizer: bool = False,
        user_metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Promise:
        """Have a model queued, and promise that it will be there. Raises RefusedCall, OSError.

        `content`: of the request, by which one that comes again is known. `context`: of the promise's answer.
        """
        session_document = {
            "session_id": session.id,
            "model_id": model_id,
            "base_model": base_model,
            "model": self.locate(base_model),
            "lora": None if lora is None else dict(lora),
            "from_state": None if from_state is None else str(from_state),
            "with_optimizer": with_optimizer,
            "user_metadata": dict(user_metadata or {}),
        }
        if model_id not in session.models:
            check_room(session.models, MAX_MODELS, "models")
            job_id = await self.jobs.open(session_document)
            session.models[model_id] = job_id
            self.sessions.keep(session)
        model = await self.find(model_id)
        promise = Promise(f"{model_id}:{CREATE}", CREATE, digest_content(content), context=dict(context or {}))
        return await model.journal.submit(promise, write_body({"kind": "get_info"}))

    async def find(self, model_id: str) -> ClientModel:
        """Return a model that an open session holds. Raises RefusedCall (404, 410), OSError."""
        session = self.sessions.find_of_model(model_id)
        if (model := self._open.get(model_id)) is None:
            job_id = session.models[model_id]
            journal = Journal(RunDir(self.home.job(job_id)).live)
            read_session(journal.folder, model_id)
            await run_in_thread(journal.load)
            model = self._open.setdefault(model_id, ClientModel(model_id, job_id, journal))
            await model.journal.resume()
        return model

    def list_open(self) -> list[ClientModel]:
        """List the models whose journals are open."""
        return list(self._open.values())

    def close(self, model_id: str) -> None:
        """Forget a model whose session has ended."""
        self._open.pop(model_id, None)

    def forget_removed(self, seconds: float) -> None:
        """Forget the sessions that ended so long ago, and whose models' jobs were all removed. Raises OSError."""
        now = time.monotonic()
        for session in list(self.sessions.by_id.values()):
            has_ended = session.ended and now - session.heard_at > seconds
            if has_ended and not any(self.home.job(job_id).exists() for job_id in session.models.values()):
                self.sessions.forget(session)

    def find_folder(self, model_id: str) -> LiveFolder:
        """Return the folder of a model, also of one whose session has ended. Raises RefusedCall (404)."""
        job_id = self.sessions.find_job(model_id)
        folder = None if job_id is None else RunDir(self.home.job(job_id)).live
        if folder is None or not folder.session.exists():
            raise RefusedCall(404, f"there is no model {model_id[:100]!r}")
        return folder

    def list_folders(self) -> list[tuple[str, LiveFolder]]:
        """List the models that are trained or were, each with its folder where that is still there."""
        folders = []
        for model_id, job_id in self.sessions.list_models():
            folder = RunDir(self.home.job(job_id)).live
            document = read_json(folder.session)
            if isinstance(document, dict) and document.get("model_id") == model_id and document.get("lora") is not None:
                folders.append((model_id, folder))
        return folders


def read_session(folder: LiveFolder, model_id: str) -> Mapping[str, Any]:
    """Return what was asked for when a model was made. Raises RefusedCall (404) where the folder is gone or holds another."""
    document = read_json(folder.session)
    if not isinstance(document, dict) or document.get("model_id") != model_id:
        raise RefusedCall(404, f"the folder of {model_id} is gone, or is another's")
    return document
