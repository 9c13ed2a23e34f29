"""What clients send as JSON, typed. Fields that are not known are left, for other versions of a client send others."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prefd.daemon.live.refusal import RefusedCall

MAX_SEQ = 999_999_999
"""The highest number of a request, a model or a sampler."""
MAX_METADATA = 16_000
"""Characters of JSON that a client may note of a model or a checkpoint."""
LEAST_TTL, MOST_TTL = 3600, 10 * 366 * 24 * 3600
"""Seconds that a checkpoint may be given after it was saved: the protocol's."""


class ClientRequest(BaseModel):
    """ClientRequest is the base of them."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), defer_build=True)


def check_metadata(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a client notes of its own; raise ValueError where it is more than a note."""
    if value is not None and len(json.dumps(value)) > MAX_METADATA:
        raise ValueError(f"it has more than {MAX_METADATA:,} characters as JSON")
    return value


Metadata = Annotated[dict[str, Any] | None, AfterValidator(check_metadata)]


class LoraConfig(ClientRequest):
    """LoraConfig is the adapter that a client asks for."""

    rank: int = Field(32, ge=1, le=4096)
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class OptimizerChoice(ClientRequest):
    """OptimizerChoice names the optimizer of a model."""

    type: str = "adamw"

    def check(self) -> None:
        """Raise RefusedCall (400) for another optimizer than there is."""
        if self.type not in ("adamw", "adam"):
            raise RefusedCall(400, f"the optimizer {self.type!r} is not supported here: there is adamw")


class CreateSession(ClientRequest):
    """CreateSession begins a client's session."""

    user_metadata: Metadata = None
    display_name: str | None = Field(None, max_length=1000)


class CreateModel(ClientRequest):
    """CreateModel asks for a LoRA model to train."""

    session_id: str
    model_seq_id: int = Field(ge=0, le=MAX_SEQ)
    base_model: str
    lora_config: LoraConfig | None = None
    user_metadata: Metadata = None
    optimizer_config: OptimizerChoice = OptimizerChoice()


class LoadWeights(ClientRequest):
    """LoadWeights asks for a new model that begins with saved weights, or has an old one go on with them."""

    path: str
    optimizer: bool = False
    session_id: str | None = None
    model_seq_id: int | None = Field(None, ge=0, le=MAX_SEQ)
    base_model: str | None = None
    user_metadata: Metadata = None
    optimizer_config: OptimizerChoice = OptimizerChoice()
    model_id: str | None = None
    seq_id: int | None = Field(None, ge=0, le=MAX_SEQ)


class ModelRequest(ClientRequest):
    """ModelRequest is about one model."""

    model_id: str


class OrderedRequest(ModelRequest):
    """OrderedRequest has its number among a model's requests."""

    seq_id: int = Field(ge=0, le=MAX_SEQ)


class AdamSettings(ClientRequest):
    """AdamSettings are one step's settings."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0


class OptimStep(OrderedRequest):
    """OptimStep asks for one step of the optimizer."""

    adam_params: AdamSettings | None = None
    optimizer_params: dict[str, Any] | None = None


class SaveWeights(OrderedRequest):
    """SaveWeights asks for a state to be saved, with the optimizer's."""

    path: str | None = None
    ttl_seconds: float | None = Field(None, gt=0)
    overwrite: bool = False
    user_metadata: Metadata = None


class SaveForSampler(SaveWeights):
    """SaveForSampler asks for an adapter to be saved, under a name or for a sampler of its own."""

    sampling_session_seq_id: int | None = Field(None, ge=0, le=MAX_SEQ)


class CreateSampler(ClientRequest):
    """CreateSampler asks for a sampler of the base model, or of saved weights."""

    session_id: str
    sampling_session_seq_id: int = Field(ge=0, le=MAX_SEQ)
    base_model: str | None = None
    model_path: str | None = None


class SamplingSettings(ClientRequest):
    """SamplingSettings say how tokens are drawn."""

    max_tokens: int | None = Field(None, ge=0)
    seed: int | None = None
    stop: str | list[str] | list[int] | None = None
    temperature: float = Field(1.0, ge=0)
    top_k: int = -1
    top_p: float = Field(1.0, ge=0, le=1)


class SampleCall(ClientRequest):
    """SampleCall asks for continuations, or for the log-probabilities of a prompt."""

    sampling_session_id: str
    seq_id: int = Field(ge=0)
    prompt: dict[str, Any]
    num_samples: int = Field(1, ge=1, le=1024)
    sampling_params: SamplingSettings = SamplingSettings()
    prompt_logprobs: bool | None = None
    prompt_logprobs_last_n: int | None = Field(None, ge=1)
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: Any = None
    prompt_alt_tokens_k: int = 0
    record_stability_info: bool | None = None

    def check(self) -> None:
        """Raise RefusedCall (400) for what is not supported here."""
        names = ("topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs", "prompt_alt_tokens_k")
        for name in (*names, "record_stability_info"):
            if getattr(self, name):
                raise RefusedCall(400, f"{name} is not supported here: leave it out")


class FinishReason(ClientRequest):
    """FinishReason says how a client's session went."""

    type: str = "success"


class FinishSession(ClientRequest):
    """FinishSession ends a session."""

    reason: FinishReason = FinishReason()


class RetrieveFuture(ClientRequest):
    """RetrieveFuture asks for the result of a request."""

    request_id: str


class CheckpointEnd(ClientRequest):
    """CheckpointEnd says how long a checkpoint stays from now on; None: for ever."""

    ttl_seconds: float | None = Field(None, ge=LEAST_TTL, le=MOST_TTL)


class WeightsInfo(ClientRequest):
    """WeightsInfo asks what saved weights are of."""

    tinker_path: str
