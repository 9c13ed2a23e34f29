"""Runs the phase `live`: does a session's requests as they come, until its client is gone or the worker is asked to stop."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeGuard

import mlx.core as mx
from pydantic import ValidationError

from prefd.daemon.errors import EXPECTED
from prefd.daemon.machine.files import DISK_TROUBLE, read_json
from prefd.daemon.runs.live_folder import SNAPSHOT, LiveFolder
from prefd.daemon.runs.phase_outcomes import LiveOutcome
from prefd.daemon.runs.phase_summaries import LiveSummary
from prefd.daemon.text.wording import pluralize
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.device_trouble import raise_if_device_failed
from prefd.daemon.worker.errors import Interrupted, JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.live.loading import LoadedSession, load_session
from prefd.daemon.worker.live.questions import Question
from prefd.daemon.worker.live.references import Counts
from prefd.daemon.worker.live.request_files import RequestFiles
from prefd.daemon.worker.live.state import Noted
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker_tasks.live_requests import (
    AnyRequest,
    ComputeLogprobsRequest,
    ErrorCategory,
    FailedResult,
    LiveResult,
    LiveSession,
    SampleRequest,
    SampleResult,
    SaveSamplerRequest,
    SaveStateRequest,
)
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.005, 0.1
"""Between two looks for the next request, the longer the longer none has come."""


def serve_session(job: RunningJob, stop: StopEvent, timing: Timing = USUAL) -> LiveOutcome:
    """Serve the session of `job` to its end.

    Raises `Stopped` when asked to stop, with all that was done saved, and `JobError` for a session that cannot be loaded.
    """
    began, folder = time.monotonic(), job.run.live
    session = read_session(folder)
    if folder.closed.exists() and not is_anything_to_be_saved(RequestFiles(folder, folder.read_applied())):
        noted = Noted.read(folder)
        ended = _summarize(folder, noted.applied, noted.steps, Counts(noted.ref_hits, noted.ref_scored))
        folder.forget_session()
        return ended
    loaded = load_session(job, folder, session, stop, timing)
    folder.results.mkdir(exist_ok=True)
    serving = Serving(loaded, RequestFiles(folder, loaded.state.applied), stop, timing)
    serving.run()
    serving.save()
    if stop.is_set():
        raise Stopped(f"stopped behind request {serving.requests.done}; the session's state is saved")
    answering = loaded.answering
    ended = _summarize(folder, serving.requests.done, answering.steps.steps, answering.questions.references.counts)
    folder.forget_session()
    return _add_measurements(ended, time.monotonic() - began)


def read_session(folder: LiveFolder) -> LiveSession:
    """Read `session.json`. Raises `JobError` where it is none that this version can read."""
    try:
        return LiveSession.model_validate_json(folder.session.read_bytes())
    except (OSError, ValidationError) as error:
        raise JobError(f"{folder.session} is no session that this version of prefd can load: {error}") from error


@dataclass
class Serving:
    """Serving is a session whose requests are done as they come."""

    loaded: LoadedSession
    requests: RequestFiles
    stop: StopEvent
    timing: Timing = USUAL
    last_crowd: int = 0
    """How many questions were last answered together."""

    def run(self) -> None:
        """Do requests until the client is gone or a stop is requested; a request that a stop interrupts is left undone."""
        self.loaded.answering.steps.write_progress()
        wait = SHORTEST_WAIT_S
        with suppress(Interrupted):
            while not self.stop.is_set():
                closed = self.requests.folder.closed.exists()  # looked for first: what came before it is done
                if self._do_waiting():
                    wait = SHORTEST_WAIT_S
                elif closed:
                    return
                else:
                    if wait == LONGEST_WAIT_S:
                        self.requests.require_no_gap()
                    time.sleep(wait)
                    wait = min(2 * wait, LONGEST_WAIT_S)
                if self.loaded.state.is_due():
                    self.save()

    def save(self) -> None:
        """Save the effect of all that was done; its results are on the disk before."""
        self.requests.flush()
        answering = self.loaded.answering
        self.loaded.state.save(self.requests.done, answering.learner, answering.questions.references.counts)

    def _do_waiting(self) -> bool:
        """Do the next request, or the next questions together; False where none is there."""
        request = self.requests.read_next()
        if request is None:
            return False
        if isinstance(request, FailedResult):
            self.requests.finish(request)
        elif isinstance(failed := self.requests.read_result(request, LiveResult), FailedResult):
            self.requests.finish(failed)  # its client was told so already, here or by the server
        elif is_question(request):
            if not self._take_up_answer(request):
                self._answer_questions()
        else:
            self.requests.finish(self._try(request))
        self.loaded.answering.steps.write_progress()
        return True

    def _take_up_answer(self, question: Question) -> bool:
        """Pass over a question that was answered before a crash, with what was counted for it; False for any other."""
        result = self.requests.read_result(question, SampleResult)
        if result is None:
            return False
        if isinstance(result, SampleResult):
            references = self.loaded.answering.questions.references
            references.counts = references.counts.plus(result.ref_hits, result.ref_scored)
        self.requests.finish(result)
        return True

    def _answer_questions(self) -> None:
        """Answer the questions that wait; where one of them cannot be answered, each by itself."""
        self._gather()
        questions = self.requests.read_run(is_question)
        self.last_crowd = len(questions)
        log.info("%s asked at once", pluralize(len(questions), "question"))
        try:
            for result in self.loaded.answering.questions.answer(questions):
                self.requests.finish(result)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, each question is told its own
            raise_if_passing(error)
            for question in questions:
                if question.n > self.requests.done:
                    self.requests.finish(self._try(question))

    def _gather(self) -> None:
        """Wait until no further request comes for a moment: what is asked at once is answered at once."""
        last, began = self.requests.done + 1, time.monotonic()
        came, quiet = began, self.timing.session_gather_crowd if self.last_crowd > 1 else self.timing.session_gather
        while time.monotonic() - came < quiet and time.monotonic() - began < self.timing.session_gather_most:
            if self.requests.folder.request(last + 1).exists():
                last, came = last + 1, time.monotonic()
            else:
                time.sleep(SHORTEST_WAIT_S)

    def _try(self, request: AnyRequest) -> LiveResult:
        """Do a request; where it cannot be done, say why."""
        try:
            return self.loaded.answering.answer(request)
        except Interrupted:
            raise
        except EXPECTED as error:
            raise_if_passing(error)
            log.warning("request %d (%s): %s", request.n, request.kind, error)
            category: ErrorCategory = "server" if isinstance(error.__cause__, OSError) else "user"
            return FailedResult(n=request.n, category=category, error=str(error))
        except Exception as error:
            raise_if_passing(error)
            log.exception("request %d (%s)", request.n, request.kind)
            reason = f"{describe_exception(error)} (the traceback is in the job's worker.log)"
            return FailedResult(n=request.n, category="server", error=reason)


def is_anything_to_be_saved(requests: RequestFiles) -> bool:
    """Say whether a request waits that leaves weights with a name: nobody fetches other results once the client is gone."""
    pending = requests.read_run(is_any)
    return any(
        isinstance(each, SaveStateRequest | SaveSamplerRequest) and not each.name.startswith(SNAPSHOT)
        for each in pending
    )


def is_any(request: AnyRequest) -> TypeGuard[AnyRequest]:
    """Say that any request fits."""
    return True


def is_question(request: AnyRequest) -> TypeGuard[Question]:
    """Say whether the request changes nothing and may be answered beside others."""
    return isinstance(request, ComputeLogprobsRequest | SampleRequest)


def raise_if_passing(error: BaseException) -> None:
    """Raise `error` again where it is the machine's, and passes: a full disk, no memory. Another worker does the request again."""
    raise_if_device_failed(error)
    for each in (error, error.__cause__):
        if isinstance(each, OSError) and each.errno in DISK_TROUBLE:
            raise error


def _summarize(folder: LiveFolder, requests: int, steps: int, counts: Counts) -> LiveOutcome:
    """Say what the client has had done, and how its session ended."""
    closed = read_json(folder.closed)
    ending = closed.get("reason", "") if isinstance(closed, dict) else ""
    done = f"{pluralize(requests, 'request')}, {pluralize(steps, 'step')}"
    line = f"{done}; references: {counts.hits} from the cache, {counts.scored} scored"
    summary = LiveSummary(steps=steps, requests=requests, ref_hits=counts.hits, ref_scored=counts.scored, line=line)
    return LiveOutcome(ok=True, reason="; ".join(filter(None, [line, ending])), summary=summary)


def _add_measurements(outcome: LiveOutcome, seconds: float) -> LiveOutcome:
    """Add what was measured of this process to the summary of a session that has ended."""
    measured = {"seconds": seconds, "peak_memory_gb": mx.get_peak_memory() / 1e9, "machine": describe_machine()}
    return outcome.model_copy(update={"summary": outcome.summary.model_copy(update=measured)})
