"""SamplesSpec is the `eval_samples:` block of a spec: which answers are drawn while a policy trains, to be read beside those of its start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prefd.daemon.text.strict_model import SpecModel, Text


class SamplesSpec(SpecModel):
    """Says which prompts the policy answers while it trains, how often, and for how long at most."""

    prompts: Annotated[int, Field(ge=1, le=64)] | Text = Field(
        4,
        description="how many of the held-out prompts, or a file of prompts: text with one a line, or rows with a column prompt",
        examples=[4, "./prompts.txt"],
    )
    every: int | None = Field(
        None, ge=1, description="optimizer steps between samplings; default: with each evaluation (steps_per_eval)"
    )
    max_tokens: int = Field(128, ge=1, le=8192, description="of one answer")
    temperature: float = Field(0.0, ge=0, le=10, description="0: the likeliest token each time")
    seconds: float = Field(60.0, gt=0, le=3600, description="one sampling takes no longer: its answers are cut there")
    seed: int = Field(0, ge=0, lt=2**32, description="of what is drawn at a temperature above 0")

    @property
    def file(self) -> str | None:
        """Returns the file of prompts; None where they are held-out ones."""
        return self.prompts if isinstance(self.prompts, str) else None
