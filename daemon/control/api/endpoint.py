"""Endpoint is what a route is made from: how it is asked, what answers, and what that answer looks like.

FastAPI would do this and the OpenAPI document. Tried with version 0.165 and all of these routes (medians of 15 starts on
Linux, each in its turn with today's), the idle daemon has 60.9 MB instead of 53.5, and it listens after 632 ms instead of
512, for 480 ms of CPU instead of 390. It would bring opentelemetry-api along, and what a request is refused with would
still be written here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.control.answers import Acted
from prefd.daemon.control.status import Status
from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobNotFound
from prefd.daemon.runs.pair_answers import PairsState
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.edited_spec import EditRequest
from prefd.daemon.specs.live_spec import LiveModel
from prefd.daemon.text.json_output import dump_compact

MAX_JOB_ID = 2**63 - 1
"""SQLite's largest."""


class Controlled(Protocol):
    """Controlled is what the API can ask of the daemon."""

    @property
    def home(self) -> Home:
        """Returns the home that the daemon runs on."""
        ...

    @property
    def max_spec_bytes(self) -> int:
        """Says how large a spec that is posted may be."""
        ...

    def status(self) -> Status:
        """Returns what the daemon does now."""
        ...

    def request_stop(self) -> None:
        """Asks the daemon to stop; a second time, without waiting."""
        ...

    def act(self, action: str, job_id: int) -> Job:
        """Does one of JOB_ACTIONS. Raises JobNotFound, IllegalTransition."""
        ...

    @property
    def max_list_bytes(self) -> int:
        """Says how large a list of jobs that is posted may be."""
        ...

    async def act_on_jobs(self, action: str, job_ids: Sequence[int]) -> None:
        """Does one of JOBS_ACTIONS to all of these jobs, or to none. Raises JobNotFound, IllegalTransition, NotRemovable."""
        ...

    def score_pairs(self, job_id: int) -> PairsState:
        """Has the pairs of a finished job scored. Raises JobNotFound, NoTrainedPolicy, TooManyScorings, OSError."""
        ...

    async def discard(self, part: str, job_ids: Sequence[int]) -> None:
        """Deletes a part of the folders of ended jobs. Raises JobNotFound, NotRemovable, OSError."""
        ...

    async def edit(self, job_id: int, request: EditRequest) -> Job:
        """Changes what a job that waits is. Raises JobNotFound, NotEditable, SpecError, CatalogError, OSError."""
        ...

    def edit_settings(self, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
        """Changes the same keys of the specs of jobs that wait, of all or of none. Raises JobNotFound, NotEditable, SpecError."""
        ...

    def act_on_queue(self, action: str) -> Acted:
        """Does one of QUEUE_ACTIONS, and returns the queue as it is now and the jobs acted on."""
        ...

    async def catalog(self) -> Catalog:
        """Returns the losses and plugins as they are now. Raises CatalogError."""
        ...

    def open_live(self, model: LiveModel) -> Job:
        """Queues a model that a client of `prefd serve` holds, or returns the job that it is already. Raises ForeignFolder, OSError."""
        ...

    async def submit(self, data: bytes, name: str) -> list[Job]:
        """Queues the jobs of a spec file's bytes; its name has the suffix. Raises SpecError, CatalogError, OSError."""
        ...


class Refusal(PrefdError):
    """The request cannot be answered as asked. Each line tells the client what is wrong with it."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(*lines)
        self.http_status = status


class Query(BaseModel):
    """Query holds the parameters of a URL; an unknown one is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Body(BaseModel):
    """Body is the JSON object that is posted; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


B = TypeVar("B", bound=BaseModel)
Q = TypeVar("Q", bound=Query)
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """Endpoint is one route of the API, with what the OpenAPI document says of it."""

    method: Literal["GET", "POST"]
    path: str
    """`{job_id}` stands for a job's number; a parameter of another name, one of openapi.PARAMETERS, for text without a slash."""
    summary: str
    handle: Handler
    answer: Any
    """The type of the answer's JSON; for another media type, a description."""
    status: int = 200
    media: str = "application/json"
    query: type[Query] | None = None
    body: Sequence[str] = ()
    """The media types of a spec that is posted."""
    request: type[BaseModel] | None = None
    """The type of the JSON object that is posted."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """What else it may answer, and when."""
    of_daemon: bool | None = None
    """Whether the daemon's own process alone can answer it; None for what is posted, which changes something, and nothing else.
    What is false here, `prefd web` answers in its own process, also while no daemon runs."""

    of_page: bool = False
    """Whether `prefd web` alone serves it, and not the control socket."""

    @property
    def needs_daemon(self) -> bool:
        """Says whether only the daemon itself can answer, and not any process that reads the home."""
        return self.method == "POST" if self.of_daemon is None else self.of_daemon

    def route(self) -> Route:
        """Makes the route that Starlette serves."""
        return Route(self.path.replace("{job_id}", "{job_id:int}"), self.handle, methods=[self.method])


def respond(value: Any, status: int = 200) -> Response:
    """Answers with `value` as JSON."""
    return Response(dump_compact(value), status, media_type="application/json")


def respond_refusal(status: int, *lines: str) -> Response:
    """Answers with an error: `{"error": all of it, "lines": [one complete message each]}`."""
    return JSONResponse({"error": "\n".join(lines), "lines": list(lines)}, status)


def read_job_id(request: Request) -> int:
    """Reads the job's number from the path. Raises JobNotFound for a number that no job can have."""
    job_id: int = request.path_params["job_id"]
    if job_id > MAX_JOB_ID:
        raise JobNotFound(f"there is no job {job_id}")
    return job_id


async def read_bytes(request: Request, limit: int, what: str = "a spec") -> bytes:
    """Reads the whole body. Raises Refusal (413) as soon as it is larger than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refusal(413, f"{what} has at most {limit // 1024} KiB")
    return bytes(body)


async def read_body(request: Request, limit: int, body_type: type[B]) -> B:
    """Reads the JSON object that is posted, typed. Raises Refusal (413, 422) with a line for each thing that is wrong."""
    data = await read_bytes(request, limit, "what is posted here")
    try:
        return body_type.model_validate_json(data)
    except ValidationError as error:
        raise Refusal(422, *_list_faults(error)) from None


def _list_faults(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}, got {str(each['input'])[:100]!r}".removeprefix(": ")
        for each in error.errors()
    ]


def read_query(request: Request, query_type: type[Q]) -> Q:
    """Reads the URL's parameters, typed. Raises Refusal (422) with a line for each that is wrong."""
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = query_type.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Refusal(422, f"{name}: given twice")
        else:
            values[name] = value
    try:
        return query_type.model_validate(values)
    except ValidationError as error:
        raise Refusal(422, *_list_faults(error)) from None
