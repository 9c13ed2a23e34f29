"""What every block of a spec is: strict, frozen, and able to refuse a value at its own place."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Text = Annotated[str, Field(min_length=1)]
"""Where "" would be taken for the spec's own folder, or for a name that nothing has."""


class SpecModel(BaseModel):
    """Unknown keys, wrong types, NaN and infinities are errors; nothing changes after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Fault = tuple[tuple[str | int, ...], str, Any]
"""Where below the block that refuses, what is wrong, and the value given."""


def refuse(faults: list[Fault]) -> None:
    """Raise the error that names each fault's place, for a validator that looks at several fields; none if none."""
    if faults:
        details = [
            InitErrorDetails(type=PydanticCustomError("value_error", "{said}", {"said": said}), loc=loc, input=value)
            for loc, said, value in faults
        ]
        raise ValidationError.from_exception_data("spec", details)
