"""The requests that a live session's worker does in their order, and its results: the seam between `prefd serve` and the worker.

The server writes `session.json` once, then `requests/<n>.json` for n = 1, 2, 3, … without a gap; the worker writes `results/<n>.json`
(runs/live_folder.py has the paths). A request names checkpoints by their folders: what a `tinker://` path means is the server's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, FiniteFloat, TypeAdapter

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput

ALPHA = 32.0
"""LoRA's α of the protocol: the scale of an adapter is α / rank."""


class LiveLora(WorkerInput):
    """LiveLora says which adapter a session trains, in the protocol's words."""

    rank: int = Field(ge=1)
    seed: int | None = None
    """None: a seed of the session's own, made from its id."""
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True
    alpha: float = Field(ALPHA, gt=0)


class LiveSession(WorkerInput):
    """LiveSession is `session.json`: what the worker of a session loads."""

    session_id: str
    model_id: str
    base_model: str
    """The name that clients know the model by."""
    model: str
    """A model folder or a hub id."""
    lora: LiveLora | None = None
    """None: the session trains nothing, and answers with the base model and saved adapters."""
    from_state: str | None = None
    """The folder of a saved state to begin from, `weights/<name>` of this session or another."""
    with_optimizer: bool = True
    """Whether the optimizer goes on from `from_state` too, or begins anew."""
    user_metadata: Mapping[str, Any] = {}
    """What the client notes of it: the server's matter."""
    created_at: float = 0.0


class LiveRequest(WorkerInput):
    """LiveRequest is the base of the requests. `n` is its place in the session, from 1."""

    n: int = Field(ge=1)
    seq_id: int | None = None
    """The client's own number, for the log."""


class Datum(WorkerInput):
    """Datum is one sequence: `targets[i]` is what `tokens[: i + 1]` are to predict. All lists have one length."""

    tokens: Sequence[int]
    targets: Sequence[int]
    weights: Sequence[FiniteFloat] | None = None
    """cross_entropy: loss:sum is Σ −logprob · weight. None: 1 everywhere."""
    advantages: Sequence[FiniteFloat] | None = None
    """importance_sampling: its loss is Σ −exp(logprob − logprobs) · advantage."""
    logprobs: Sequence[FiniteFloat] | None = None
    """importance_sampling: what the sampler gave the targets."""


class _LossRequest(LiveRequest):
    data: Sequence[Datum]
    loss_fn: str = "cross_entropy"
    loss_fn_config: Mapping[str, Any] = {}


class ForwardRequest(_LossRequest):
    """ForwardRequest asks for a loss and the log-probability of every target; no gradient is left."""

    kind: Literal["forward"] = "forward"


class ForwardBackwardRequest(_LossRequest):
    """ForwardBackwardRequest adds the loss's gradient to the accumulated one."""

    kind: Literal["forward_backward"] = "forward_backward"


class AdamParams(WorkerInput):
    """AdamParams are one step's settings, with torch's meaning: bias-corrected, decoupled decay, eps outside the root."""

    learning_rate: FiniteFloat = Field(1e-4, ge=0)
    beta1: FiniteFloat = Field(0.9, ge=0, lt=1)
    beta2: FiniteFloat = Field(0.95, ge=0, lt=1)
    eps: FiniteFloat = Field(1e-12, ge=0)
    weight_decay: FiniteFloat = Field(0.0, ge=0)
    grad_clip_norm: FiniteFloat = Field(0.0, ge=0)
    """0: not clipped."""


class OptimStepRequest(LiveRequest):
    """OptimStepRequest takes one AdamW step along the accumulated gradient, which is then none."""

    kind: Literal["optim_step"] = "optim_step"
    adam_params: AdamParams = AdamParams()


class SaveStateRequest(LiveRequest):
    """SaveStateRequest saves adapter and optimizer to `weights/<name>`."""

    kind: Literal["save_state"] = "save_state"
    name: str
    overwrite: bool = False


class SaveSamplerRequest(LiveRequest):
    """SaveSamplerRequest saves the adapter to `sampler_weights/<name>`, which `mlx_lm.generate` loads as it is."""

    kind: Literal["save_sampler"] = "save_sampler"
    name: str
    overwrite: bool = False


class LoadStateRequest(LiveRequest):
    """LoadStateRequest goes on from the state in the folder `path`; an accumulated gradient is dropped."""

    kind: Literal["load_state"] = "load_state"
    path: str
    with_optimizer: bool = False


class SamplingParams(WorkerInput):
    """SamplingParams say how tokens are drawn."""

    max_tokens: int | None = Field(None, ge=0)
    """None: to the end of what the model can take."""
    seed: int | None = None
    """None: a seed made from the session's id and the request's number."""
    stop: str | Sequence[str] | Sequence[int] | None = None
    """Texts or token ids that end a sequence, as the model's own end tokens always do; what ends it is part of it."""
    temperature: float = Field(1.0, ge=0)
    top_k: int = -1
    """-1: all."""
    top_p: float = Field(1.0, ge=0, le=1)


class SampleRequest(LiveRequest):
    """SampleRequest asks for continuations of a prompt, and with `prompt_logprobs` for the log-probability of its own tokens."""

    kind: Literal["sample"] = "sample"
    tokens: Sequence[int]
    num_samples: int = Field(1, ge=1)
    params: SamplingParams = SamplingParams()
    prompt_logprobs: bool = False
    prompt_logprobs_last_n: int | None = Field(None, ge=1)
    """Only those of so many tokens at the end; None: all but the first's."""
    path: str | None = None
    """The folder of the sampler weights to sample with; None: the base model."""


class ComputeLogprobsRequest(LiveRequest):
    """ComputeLogprobsRequest asks for the log-probability of each token of a sequence: a reference's numbers, from the cache."""

    kind: Literal["compute_logprobs"] = "compute_logprobs"
    tokens: Sequence[int]
    prompt_logprobs_last_n: int | None = Field(None, ge=1)
    path: str | None = None


class GetInfoRequest(LiveRequest):
    """GetInfoRequest asks what the worker has loaded."""

    kind: Literal["get_info"] = "get_info"


AnyRequest = (
    ForwardRequest
    | ForwardBackwardRequest
    | OptimStepRequest
    | SaveStateRequest
    | SaveSamplerRequest
    | LoadStateRequest
    | SampleRequest
    | ComputeLogprobsRequest
    | GetInfoRequest
)
_ADAPTER: TypeAdapter[AnyRequest] = TypeAdapter(Annotated[AnyRequest, Field(discriminator="kind")])


def parse_request(content: bytes | str) -> AnyRequest:
    """Parse the JSON of a request. Raises pydantic's ValidationError."""
    return _ADAPTER.validate_json(content)


ErrorCategory = Literal["user", "server"]


class LiveResult(DocumentModel):
    """LiveResult is the base of the results, `results/<n>.json`."""

    n: int
    ok: bool = True


class FailedResult(LiveResult):
    """FailedResult says in a sentence why a request was not done; it has changed nothing, and the session goes on."""

    ok: bool = False
    category: ErrorCategory
    """user: the request cannot be done as it is; server: something here failed."""
    error: str


class DatumResult(DocumentModel):
    """DatumResult has, for each target of a datum, its log-probability and its part of the loss."""

    logprobs: Sequence[float]
    elementwise_loss: Sequence[float]


class LossResult(LiveResult):
    """LossResult answers `forward` and `forward_backward`."""

    loss_fn_outputs: Sequence[DatumResult]
    metrics: Mapping[str, float]
    """`loss:sum`, `tokens:sum`."""


class OptimStepResult(LiveResult):
    """OptimStepResult answers `optim_step`."""

    metrics: Mapping[str, float]
    """`optim/grad_norm:last`, before it is clipped, and `optim/step:last`, the number of the step."""


class SavedResult(LiveResult):
    """SavedResult answers `save_state`, `save_sampler` and `load_state`."""

    path: str
    """The folder that was written or read."""


class SampledSequence(DocumentModel):
    """SampledSequence is one continuation, with the log-probability of each token under the model itself."""

    stop_reason: Literal["stop", "length"]
    tokens: Sequence[int]
    logprobs: Sequence[float]


class SampleResult(LiveResult):
    """SampleResult answers `sample` and `compute_logprobs`, the latter without sequences."""

    sequences: Sequence[SampledSequence] = ()
    prompt_logprobs: Sequence[float | None] | None = None
    """One for each token of the prompt; None for the first, and for those that were not asked for."""
    ref_hits: int = 0
    """Sequences that the cache had."""
    ref_scored: int = 0
    """Sequences that the model scored now, and the cache has from now on."""


class InfoResult(LiveResult):
    """InfoResult answers `get_info`."""

    arch: str
    """config.json's `model_type`."""
    model: str
    tokenizer: str
    """The local folder of the tokenizer."""
    rank: int | None
    scale: float | None
    adapted_modules: Sequence[str]
    """Those of one layer, and what is adapted outside the layers."""
    notes: Sequence[str] = ()
    """What the session does otherwise than was asked for, in sentences."""


Result = TypeVar("Result", bound=LiveResult)


def parse_result(kind: type[Result], content: bytes | str) -> Result | FailedResult:
    """Parse the JSON of a result to a request whose answer is `kind`. Raises pydantic's ValidationError."""
    if not LiveResult.model_validate_json(content).ok:
        return FailedResult.model_validate_json(content)
    return kind.model_validate_json(content)
