"""Does the requests of a session: what each kind of request does to the policy, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.learner import Learner
from prefd.daemon.worker.live.questions import Questions
from prefd.daemon.worker.live.saved_weights import find_folder, load_state, save_sampler, save_state
from prefd.daemon.worker.live.step_log import StepLog
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker_tasks.live_requests import (
    AnyRequest,
    ComputeLogprobsRequest,
    ForwardBackwardRequest,
    ForwardRequest,
    GetInfoRequest,
    InfoResult,
    LiveResult,
    LiveSession,
    LoadStateRequest,
    OptimStepRequest,
    OptimStepResult,
    SampleRequest,
    SavedResult,
    SaveSamplerRequest,
    SaveStateRequest,
)


@dataclass
class Answering:
    """Answering is a loaded session. `learner` is None where it trains nothing."""

    folder: LiveFolder
    session: LiveSession
    source: ModelSource
    learner: Learner | None
    questions: Questions
    steps: StepLog

    def answer(self, request: AnyRequest) -> LiveResult:
        """Do one request. Raises `JobError` for one that cannot be done: nothing has changed then. Raises `Interrupted` at a stop."""
        match request:
            case ComputeLogprobsRequest() | SampleRequest():
                return next(self.questions.answer([request]))
            case GetInfoRequest():
                return self._describe(request)
            case ForwardRequest() | ForwardBackwardRequest():
                return self._require_learner(request).compute_loss(request)
            case OptimStepRequest():
                return self._take_step(request)
            case SaveStateRequest() | SaveSamplerRequest():
                return self._save(request)
            case LoadStateRequest():
                learner = self._require_learner(request)
                load_state(Path(request.path), learner.policy, request.with_optimizer)
                learner.drop_gradient()
                return SavedResult(n=request.n, path=request.path)

    def _take_step(self, request: OptimStepRequest) -> OptimStepResult:
        learner = self._require_learner(request)
        loss, tokens = learner.loss, learner.tokens
        metrics = learner.take_step(request.adam_params)
        norm, rate = metrics["optim/grad_norm:last"], request.adam_params.learning_rate
        self.steps.note_step({"step": learner.steps, "loss": loss, "grad_norm": norm, "learning_rate": rate}, tokens)
        return OptimStepResult(n=request.n, metrics=metrics)

    def _save(self, request: SaveStateRequest | SaveSamplerRequest) -> SavedResult:
        learner = self._require_learner(request)
        is_state = isinstance(request, SaveStateRequest)
        folder = find_folder(self.folder.weights if is_state else self.folder.sampler_weights, request.name)
        origin = {"model_id": self.session.model_id, "request": request.n, "steps": learner.steps}
        save = save_state if is_state else save_sampler
        save(folder, learner.policy, self.source, origin, request.overwrite)
        return SavedResult(n=request.n, path=str(folder))

    def _describe(self, request: GetInfoRequest) -> InfoResult:
        fine_tune = None if self.learner is None else self.learner.policy.fine_tune
        lora = {} if fine_tune is None else fine_tune.lora_parameters
        return InfoResult(
            n=request.n,
            arch=str(self.source.config().get("model_type", "")),
            model=self.source.model,
            tokenizer=str(self.source.config_folder.absolute()),
            rank=lora.get("rank"),
            scale=lora.get("scale"),
            adapted_modules=lora.get("keys", ()),
            notes=() if self.learner is None else self.learner.policy.notes,
        )

    def _require_learner(self, request: AnyRequest) -> Learner:
        if self.learner is None:
            raise JobError(f"{request.kind}: this session only samples; make a training client of the model")
        return self.learner
