"""Look is one endpoint that a look child answers, a worker that stays and keeps what it has loaded (worker_tasks/look_child.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, respond
from prefd.daemon.control.api.posted_spec import MEDIA
from prefd.daemon.home.layout import Home
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import LookQuestion
from prefd.daemon.worker_tasks.look_child import LookChild

REFUSALS = {
    409: "a newer question of the same kind took its place",
    503: "the worker that looks at it ended, and why; the next question starts another",
}
"""What every look may be refused for."""


@dataclass(frozen=True)
class Look:
    """Look is one endpoint: the question that is made of a request, and what the child answers to it."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    query: type[Query]
    make_question: Callable[[Home, Request], Awaitable[LookQuestion]]
    answer: type[DocumentModel]
    errors: Mapping[int, str]
    """Status → when it is refused so, beside what every look is refused for."""

    def make_endpoint(self, home: Home, child: LookChild) -> Endpoint:
        """Makes the endpoint that `child` answers."""

        async def answer(request: Request) -> Response:
            question = await self.make_question(home, request)
            return respond((await child.ask(question, self.answer)).to_json())

        return Endpoint(
            self.method,
            self.path,
            self.summary,
            answer,
            self.answer,
            query=self.query,
            body=MEDIA if self.method == "POST" else (),
            errors={**REFUSALS, **self.errors},
            of_daemon=False,
        )
