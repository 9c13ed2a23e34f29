"""SourceSpec is one dataset as a spec lists it; Source is one with all that decides which of its rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from prefd.daemon.text.strict_model import SpecModel, Text


class SourceSpec(SpecModel):
    """Names one dataset of several. What it leaves out is as `data` says beside `path`."""

    path: Text = Field(description="as data.path")
    weight: float = Field(
        1.0,
        description="share of its pairs that is used, the same ones in every job; above 0, at most 1",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": 1},
    )
    split: Text | None = Field(None, description="as data.split, of this dataset")
    config: Text | None = Field(None, description="as data.config, of this dataset")
    data_dir: Text | None = Field(None, description="as data.data_dir, of this dataset")
    revision: Text | None = Field(None, description="as data.revision, of this dataset")

    @field_validator("weight")
    @classmethod
    def check_weight(cls, value: float) -> float:
        """Refuses a weight that is no share: it must be above 0 and at most 1."""
        if value > 1:
            reason = "it is the share of this dataset that is used, and no pair is repeated within an epoch"
            raise ValueError(f"must be at most 1, got {value:g}: {reason} (training.epochs repeats them all)")
        if value <= 0:
            raise ValueError(f"must be above 0, got {value:g}: leave the dataset out instead")
        return value


def _shape_of_paths(value: Any) -> str:
    return "(several)" if isinstance(value, list) else "(one)"


def _shape_of_entry(value: Any) -> str:
    return "(source)" if isinstance(value, dict | SourceSpec) else "(path)"


Entry = Annotated[
    Annotated[Text, Tag("(path)")] | Annotated[SourceSpec, Tag("(source)")], Discriminator(_shape_of_entry)
]
Paths = Annotated[
    Annotated[Text, Tag("(one)")] | Annotated[list[Entry], Field(min_length=1, max_length=100), Tag("(several)")],
    Discriminator(_shape_of_paths),  # by shape, so that a fault in one is not told as a fault of the other
]


@dataclass(frozen=True)
class Source:
    """Source is one dataset, with all that decides which of its rows are read."""

    key: str
    """The field of the spec that names it, for messages."""
    path: str
    """A file, a folder, or a hub id."""
    splits: tuple[str, ...] = ("train",)
    """Names of acceptable splits, the best first."""
    config: str | None = None
    data_dir: str | None = None
    revision: str | None = None
    weight: float = 1.0

    @property
    def split_key(self) -> str:
        """Returns the name of the setting that says which split is read."""
        if self.key.startswith("data.validation"):
            return "data.validation_split"
        return "data.split" if self.key == "data.path" else f"{self.key}.split"

    @property
    def config_key(self) -> str:
        """Returns the name of the setting that says which subset is read."""
        return f"{self.key}.config" if self.key.startswith("data.path[") else "data.config"

    @property
    def local(self) -> Path | None:
        """Returns the file or folder here that is read; None for a dataset on the hub."""
        path = Path(self.path)
        if not path.exists():
            return None
        return path / self.data_dir if self.data_dir else path
