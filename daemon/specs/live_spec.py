"""LiveSpec is what makes a job of a model that a client of `prefd serve` holds: `live` in the job's spec.

A client brings tokens, so such a job has no data; NO_DATA stands there.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.text.strict_model import SpecModel, Text

NO_DATA = DataSpec.model_construct({"path"}, path=[], validation=0.0)
"""The data of a job to which its client brings the tokens."""


class ClientLora(SpecModel):
    """ClientLora is the adapter that a client asks for."""

    rank: int = Field(ge=1, le=4096, description="the rank of each LoRA layer")
    seed: int | None = Field(None, description="what its first values are drawn with")
    train_mlp: bool = Field(True, description="adapt the MLP's layers")
    train_attn: bool = Field(True, description="adapt attention's layers")
    train_unembed: bool = Field(True, description="adapt the output layer")


class LiveSpec(SpecModel):
    """LiveSpec says which model a client holds. `prefd serve` makes it; no spec file may have it."""

    session_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="the client's session")
    model_id: str = Field(
        pattern=r"^[0-9a-f]{32}:(train|sample):[0-9]{1,9}$",
        description="what the client calls the model: the session, what it is for, and its number there",
    )
    base_model: Text = Field(max_length=200, description="the model's name in config.toml, or its hub id")
    lora: ClientLora | None = Field(None, description="the adapter that is trained; none where the client only samples")
    from_state: Text | None = Field(None, description="the folder of the saved weights that it begins with")
    with_optimizer: bool = Field(False, description="whether it begins with the optimizer's state too")
    user_metadata: dict[str, Any] = Field({}, description="what the client notes of it, in words of its own")


class LiveModel(LiveSpec):
    """LiveModel is what `prefd serve` asks the daemon for: a client's model, and where its weights are."""

    model: Text = Field(description="HF id or folder of the base model")
    name: str = Field("", max_length=200, description="the job's name; default: the model's")

    @property
    def source(self) -> str:
        """Names where the job comes from, as the table of jobs keeps it: there is one for each model."""
        return f"live:{self.model_id}"

    def make_live_spec(self) -> LiveSpec:
        """Returns the part that the job's spec has under `live`."""
        return LiveSpec(**self.model_dump(include=set(LiveSpec.model_fields)) | {"lora": self.lora})
